//! Requests and what they carry: headers, parameters, holes of an address's path, and a proxy's own credentials.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::Dressed;
use super::values::{Fault, Scene, Values, template_of};
use crate::config::{Endpoint, HttpMethod};
use crate::dialect::template::{Fill as _, Template};
use crate::proxy::{Proxy, ProxyKind};

/// Headers and parameters.
#[derive(Debug)]
pub(super) struct Dress {
    headers: Vec<(HeaderName, Template)>,
    /// Those that need `{query}` last: it has the others then.
    query: Vec<(String, Template)>,
}

/// The hole whose content is all other parameters.
const QUERY: &str = "query";

impl Dress {
    /// `place` is where the two tables are, ended by a dot.
    pub(super) fn compile(
        place: &str,
        headers: &BTreeMap<String, String>,
        query: &BTreeMap<String, String>,
        values: &Values,
    ) -> Result<Self, Fault> {
        let read = |table: &str, name: &str, text: &str| {
            let at = format!("{place}{table}.{name}");
            let template = Template::plain(text).map_err(|reason| (at.clone(), reason))?;
            values.check(&template, &at)?;
            Ok::<_, Fault>(template)
        };
        let mut filled = Vec::new();
        for (name, text) in headers {
            let header =
                name.parse().map_err(|_| (format!("{place}headers.{name}"), "is no header's name".to_owned()))?;
            filled.push((header, read("headers", name, text)?));
        }
        let mut query = query
            .iter()
            .map(|(name, text)| Ok((name.clone(), read("query", name, text)?)))
            .collect::<Result<Vec<_>, Fault>>()?;
        query.sort_by_key(|(_, template)| values.uses(template, QUERY));
        if query.iter().filter(|(_, template)| values.uses(template, QUERY)).count() > 1 {
            let reason = "has two that need `{query}`; only the last one can sign all others".to_owned();
            return Err((format!("{place}query"), reason));
        }
        Ok(Self { headers: filled, query })
    }

    /// Fills all of it; the error is the key of what cannot stand in a header.
    pub(super) fn put_on(&self, scene: &mut Scene<'_>, url: &Url) -> Result<Dressed, String> {
        let mut url = url.clone();
        if let Some(path) = filled_path(&url, scene) {
            url.set_path(&path);
            url.path().clone_into(&mut scene.target.path);
        }
        for (name, template) in &self.query {
            // What is signed is what is sent, to the byte.
            url.query().unwrap_or_default().clone_into(&mut scene.target.query);
            let value = scene.render(template);
            url.query_pairs_mut().append_pair(name, &value);
        }
        if !self.query.is_empty() {
            url.query().unwrap_or_default().clone_into(&mut scene.target.query);
        }
        let headers = self.headers.iter().map(|(name, template)| {
            let mut value = HeaderValue::from_str(&scene.render(template)).map_err(|_| format!("headers.{name}"))?;
            value.set_sensitive(true);
            Ok((name.clone(), value))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        Ok(Dressed { url, headers })
    }
}

/// Names of holes in an address's path, as the address has them: `{token}` is `%7Btoken%7D` there.
fn path_holes(url: &Url) -> impl Iterator<Item = &str> {
    url.path().split("%7B").skip(1).filter_map(|piece| piece.split_once("%7D").map(|(name, _)| name))
}

/// Whether everything is known that the path of an address names.
pub(super) fn check_path(url: &Url, values: &Values) -> Result<(), Fault> {
    for name in path_holes(url) {
        let template = Template::plain(&format!("{{{name}}}")).map_err(|reason| ("url".to_owned(), reason))?;
        values.check(&template, "url")?;
    }
    Ok(())
}

fn filled_path(url: &Url, scene: &Scene<'_>) -> Option<String> {
    path_holes(url).next()?;
    let path = url.path().to_owned();
    Some(path_holes(url).fold(path, |path, name| {
        let value = scene.text(name).unwrap_or_default();
        let value = utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string();
        path.replacen(&format!("%7B{name}%7D"), &value, 1)
    }))
}

/// A request of our own, for a token.
#[derive(Debug)]
pub(super) struct RequestForm {
    url: Endpoint,
    method: HttpMethod,
    dress: Dress,
    body: Option<Template>,
}

/// What settings say of one.
pub(super) struct RequestSettings<'a> {
    /// The table it is in, ended by a dot.
    pub(super) place: &'a str,
    pub(super) url: &'a Endpoint,
    pub(super) method: HttpMethod,
    pub(super) headers: &'a BTreeMap<String, String>,
    pub(super) query: &'a BTreeMap<String, String>,
    pub(super) body: Option<&'a str>,
}

impl RequestForm {
    pub(super) fn compile(settings: &RequestSettings<'_>, values: &Values) -> Result<Self, Fault> {
        let RequestSettings { place, url, method, headers, query, body } = settings;
        let at = format!("{place}body");
        let body = body.map(template_of).transpose().map_err(|reason| (at.clone(), reason))?;
        if let Some(template) = &body {
            values.check(template, &at)?;
            if values.uses(template, "body") {
                return Err((at, "leads in a circle: it needs `{body}` itself".into()));
            }
        }
        Ok(Self { url: (*url).clone(), method: *method, dress: Dress::compile(place, headers, query, values)?, body })
    }

    /// Whether it needs something.
    pub(super) fn uses(&self, values: &Values, wanted: &str) -> bool {
        let Dress { headers, query } = &self.dress;
        let templates = headers.iter().map(|(_, template)| template).chain(query.iter().map(|(_, template)| template));
        templates.chain(&self.body).any(|template| values.uses(template, wanted))
    }

    /// The request; the error is the key of what cannot stand in a header.
    pub(super) fn fill(&self, scene: &mut Scene<'_>) -> Result<reqwest::Request, String> {
        let body = self.body.as_ref().map(|template| scene.render(template));
        scene.target.body = body.clone().unwrap_or_default();
        let Dressed { url, headers } = self.dress.put_on(scene, self.url.reveal())?;
        let method = match self.method {
            HttpMethod::Get => reqwest::Method::GET,
            HttpMethod::Post => reqwest::Method::POST,
            HttpMethod::Put => reqwest::Method::PUT,
        };
        let mut request = reqwest::Request::new(method, url);
        if let Some(body) = body {
            let json = body.trim_start().starts_with(['{', '[']);
            let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
            request.headers_mut().insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static(kind));
            *request.body_mut() = Some(body.into());
        }
        request.headers_mut().extend(headers);
        Ok(request)
    }

    /// How it is signed.
    pub(super) fn target(&self) -> super::Target {
        super::Target::of(self.method.as_str(), self.url.reveal())
    }
}

/// A proxy, whose user and password may be holes: `http://{user}:{password}@proxy:3128`.
#[derive(Debug)]
pub(super) struct ProxyForm {
    kind: ProxyKind,
    host: String,
    port: u16,
    login: Option<(Template, Template)>,
}

impl ProxyForm {
    pub(super) fn compile(proxy: &Endpoint, values: &Values) -> Result<Self, Fault> {
        let url = proxy.reveal();
        let fault = |reason: String| ("proxy".to_owned(), reason);
        let kind = if url.scheme() == "socks5" { ProxyKind::Socks5 } else { ProxyKind::Http };
        let part = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| fault("its user is not UTF-8".into()))?;
            let template = Template::plain(&text).map_err(fault)?;
            values.check(&template, "proxy")?;
            Ok::<_, Fault>(template)
        };
        let has_login = !url.username().is_empty() || url.password().is_some();
        let login =
            has_login.then(|| Ok::<_, Fault>((part(url.username())?, part(url.password().unwrap_or_default())?)));
        // Checked when it was read.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let default = if kind == ProxyKind::Socks5 { 1080 } else { 80 };
        Ok(Self { kind, host, port: url.port().unwrap_or(default), login: login.transpose()? })
    }

    pub(super) fn fill(&self, scene: &Scene<'_>) -> Proxy {
        let login = self.login.as_ref().map(|(user, password)| (scene.render(user), scene.render(password)));
        Proxy::new(self.kind, self.host.clone(), self.port, login)
    }
}
