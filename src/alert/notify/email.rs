//! Mail, by SMTP. `lettre` builds and sends it.

use std::fs;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor};
use percent_encoding::percent_decode_str;

use super::NotifierError;
use super::channel::Failure;
use super::document::Document;
use super::message::{Message, Wording, cut, one_line};
use super::poster::{scrub, secret_of};
use super::queue::Waiting;
use crate::config::{EmailSettings, Endpoint, NotifySettings, StartTls};

/// A server's own words are told up to here.
const WORDS_MAX: usize = 300;

/// Who is written to, and through whom.
pub(super) struct Email {
    url: Endpoint,
    settings: EmailSettings,
    from: Mailbox,
    to: Vec<Mailbox>,
    wording: Wording,
    timeout: Duration,
    tls: Tls,
}

/// Why a text is no address of mail, if it is none.
pub fn mailbox_fault(text: &str) -> Option<String> {
    mailbox(text).err()
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    if text.contains(char::is_control) {
        return Err("has characters that no address has".into());
    }
    text.parse().map_err(|error| {
        format!("is no address of mail: {error}; write `name@example.org` or `Name <name@example.org>`")
    })
}

impl Email {
    pub(super) fn new(notify: &NotifySettings, url: &Endpoint, from: &str) -> Result<Self, NotifierError> {
        let settings = notify.email.clone();
        let to: Result<_, _> = settings.to.iter().flatten().map(|to| mailbox(to)).collect();
        Ok(Self {
            url: url.clone(),
            from: mailbox(from).map_err(NotifierError::Settings)?,
            to: to.map_err(NotifierError::Settings)?,
            wording: Wording::new(notify, settings.subject.as_ref(), settings.body.as_ref()),
            timeout: notify.timeout,
            tls: tls(&settings, url)?,
            settings,
        })
    }

    pub(super) async fn send(&self, waiting: &Waiting) -> Result<(), Failure> {
        self.deliver(self.mail(waiting)).await
    }

    /// Sends a document as an attachment.
    pub(super) async fn send_document(&self, document: &Document) -> Result<(), Failure> {
        let media = ContentType::parse(document.media_type);
        let media = media.map_err(|error| Failure::never(format!("the document has no media type: {error}")))?;
        let file = Attachment::new(document.file_name.clone()).body(document.text.clone(), media);
        let said = SinglePart::plain(format!("{} is attached.", document.title));
        let to = self.to.iter().fold(Mail::builder().from(self.from.clone()), |mail, to| mail.to(to.clone()));
        let mail = to
            .subject(one_line(&document.title))
            .message_id(Some(format!("<{}@sluice>", document.id)))
            .multipart(MultiPart::mixed().singlepart(said).singlepart(file));
        self.deliver(mail).await
    }

    async fn deliver(&self, mail: Result<Mail, lettre::error::Error>) -> Result<(), Failure> {
        let mail = mail.map_err(|error| Failure::never(format!("the mail cannot be written: {error}")))?;
        let url = self.url.reveal();
        let in_url = url.password().map(|password| percent_decode_str(password).decode_utf8_lossy().into_owned());
        let password = secret_of(self.settings.password_file.as_deref(), None)?.or(in_url);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port_of(&self.url))
            .timeout(Some(self.timeout))
            .tls(self.tls.clone());
        if !url.username().is_empty() {
            let user = percent_decode_str(url.username()).decode_utf8_lossy().into_owned();
            transport = transport.credentials(Credentials::new(user, password.clone().unwrap_or_default()));
        }
        let sent = transport.build().send(mail).await;
        sent.map(drop).map_err(|error| {
            let words = cut(&one_line(&told(&error)), WORDS_MAX);
            let reason = scrub(format!("{host}: {words}"), &[password.as_deref().unwrap_or_default()]);
            if error.is_permanent() { Failure::never(reason) } else { Failure::later(reason) }
        })
    }

    fn mail(&self, waiting: &Waiting) -> Result<Mail, lettre::error::Error> {
        let Message { subject, body, link, runbook } = self.wording.message(&waiting.notice);
        let alert = one_line(&waiting.notice.alert.id);
        let mail = self.to.iter().fold(Mail::builder().from(self.from.clone()), |mail, to| mail.to(to.clone()));
        mail.subject(subject.as_str())
            .message_id(Some(format!("<{}@sluice>", waiting.id)))
            // What is told of one alert is one conversation.
            .references(format!("<{alert}@sluice>"))
            .in_reply_to(format!("<{alert}@sluice>"))
            // So that nobody's absence answers it (RFC 3834).
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(body.clone(), html(&subject, &body, &[link, runbook])))
    }
}

/// The whole chain of causes.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// What a server of the scheme listens on where nothing is said: submission, with TLS from the start or not (RFC 8314).
fn port_of(url: &Endpoint) -> u16 {
    let url = url.reveal();
    url.port().unwrap_or(if url.scheme() == "smtps" { 465 } else { 587 })
}

fn tls(settings: &EmailSettings, url: &Endpoint) -> Result<Tls, NotifierError> {
    let refused = |reason: String| NotifierError::Settings(format!("TLS of `notify.email`: {reason}"));
    let url = url.reveal();
    let starttls = settings.starttls.unwrap_or(if url.username().is_empty() {
        StartTls::Opportunistic
    } else {
        // Who takes the offer away would be told the password.
        StartTls::Required
    });
    if url.scheme() != "smtps" && starttls == StartTls::None {
        return Ok(Tls::None);
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(path) = &settings.ca_file {
        let pem = fs::read(path).map_err(|error| refused(format!("{} cannot be read: {error}", path.display())))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| refused(format!("{} has no certificate: {error}", path.display())))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters.build_rustls().map_err(|error| refused(error.to_string()))?;
    Ok(match (url.scheme(), starttls) {
        ("smtps", _) => Tls::Wrapper(parameters),
        (_, StartTls::Opportunistic) => Tls::Opportunistic(parameters),
        _ => Tls::Required(parameters),
    })
}

/// The same text for those who read HTML.
fn html(subject: &str, body: &str, links: &[Option<String>]) -> String {
    let linked = |text: &str| {
        let text = escaped(text);
        let known = links.iter().flatten().map(|link| escaped(link)).find(|link| text.ends_with(link.as_str()));
        match known {
            Some(link) => text.replace(&link, &format!("<a href=\"{link}\">{link}</a>")),
            None => text,
        }
    };
    let shown: Vec<String> = body.lines().map(linked).collect();
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body><h3>{title}</h3>\n<p>{}</p>\n</body></html>\n",
        shown.join("<br>\n"),
        title = escaped(subject)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
