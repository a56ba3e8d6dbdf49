//! What must hold for `[notify]`.

use std::net::IpAddr;

use url::Host;

use super::Checker;
use crate::alert::notify::{mailbox_fault, reachable_by_few, secret_fault};
use crate::config::key::KeyPath;
use crate::config::{Endpoint, NoticeTemplate, NotifySettings, SecretText};

/// More do not wait in a queue. Source: a guess; nobody reads ten thousand messages.
const QUEUE_MAX: u32 = 10_000;
/// More is not tried. Source: a guess.
const ATTEMPTS_MAX: u32 = 100;
/// A rate counts no more calls: each is remembered for the rate's span.
const RATE_COUNT_MAX: u32 = 10_000;

impl Checker<'_> {
    pub(super) fn notify(&mut self, notify: &NotifySettings) {
        let key = |name: &str| KeyPath::from(["notify", name]);
        if !(1..=QUEUE_MAX).contains(&notify.queue) {
            self.refuse(&key("queue"), notify.queue, format!("must be from 1 to {QUEUE_MAX}"));
        }
        if !(1..=ATTEMPTS_MAX).contains(&notify.attempts) {
            self.refuse(&key("attempts"), notify.attempts, format!("must be from 1 to {ATTEMPTS_MAX}"));
        }
        self.duration(&key("give_up_after"), notify.give_up_after);
        self.duration(&key("timeout"), notify.timeout);
        self.without_sms_holes(&key("dashboard_url"), notify.dashboard_url.as_ref());
        self.without_sms_holes(&key("runbook_url"), notify.runbook_url.as_ref());
        self.without_sms_holes(&key("subject"), Some(&notify.subject));
        self.without_sms_holes(&key("body"), Some(&notify.body));

        let NotifySettings { email, webhook, slack, pagerduty, sms, .. } = notify;
        let routed = [
            ("email", email.min_severity.is_some() && !email.severities.is_empty(), email.rate),
            ("webhook", webhook.min_severity.is_some() && !webhook.severities.is_empty(), webhook.rate),
            ("slack", slack.min_severity.is_some() && !slack.severities.is_empty(), slack.rate),
            ("pagerduty", pagerduty.min_severity.is_some() && !pagerduty.severities.is_empty(), pagerduty.rate),
            ("sms", sms.min_severity.is_some() && !sms.severities.is_empty(), sms.rate),
        ];
        for (channel, both, rate) in routed {
            let key = key(channel);
            if both {
                let message = "says the same as `min_severity` in another way; leave one of them out";
                self.refuse_key(&key.key("severities"), message);
            }
            if rate.count.get() > RATE_COUNT_MAX {
                self.refuse(&key.key("rate"), rate, format!("must count at most {RATE_COUNT_MAX}"));
            }
        }
        for (channel, subject, body) in [
            ("email", email.subject.as_ref(), email.body.as_ref()),
            ("webhook", webhook.subject.as_ref(), webhook.body.as_ref()),
            ("slack", slack.subject.as_ref(), slack.body.as_ref()),
            ("pagerduty", pagerduty.subject.as_ref(), None),
            ("sms", None, sms.body.as_ref()),
        ] {
            self.without_sms_holes(&key(channel).key("subject"), subject);
            self.without_sms_holes(&key(channel).key("body"), body);
        }

        let addresses = email.from.iter().map(|from| (key("email").key("from"), from));
        let to = email.to.iter().flatten().enumerate().map(|(index, to)| (key("email").key("to").index(index), to));
        for (key, address) in addresses.chain(to) {
            if let Some(fault) = mailbox_fault(address) {
                self.refuse(&key, format!("{address:?}"), fault);
            }
        }
        if let Some(fault) = webhook.secret.as_ref().and_then(|secret| secret_fault(secret.reveal())) {
            self.refuse_key(&key("webhook").key("secret"), fault);
        }
        self.header(&key("slack").key("token"), slack.token.as_ref());
        self.header(&key("pagerduty").key("token"), pagerduty.token.as_ref());
        self.header(&key("sms").key("token"), sms.token.as_ref());
        let guarded = [
            ("webhook", webhook.enabled, webhook.allow_private, webhook.url.as_ref()),
            ("sms", sms.enabled, sms.allow_private, sms.url.as_ref()),
        ];
        for (channel, enabled, allowed, url) in guarded {
            let near = url.and_then(address_of).filter(|ip| enabled && !allowed && reachable_by_few(*ip));
            if let (Some(ip), Some(url)) = (near, url) {
                let message = format!(
                    "{ip} is an address of this host or its network, which is not told anything; \
                     set `notify.{channel}.allow_private = true` if it is meant"
                );
                self.refuse(&key(channel).key("url"), url, message);
            }
        }
    }

    /// What only a provider of short messages is told stands for nothing elsewhere.
    fn without_sms_holes(&mut self, key: &KeyPath, template: Option<&NoticeTemplate>) {
        for hole in ["phone", "text"] {
            if template.is_some_and(|template| template.wants(hole)) {
                self.refuse_key(key, format!("`{{{hole}}}` stands for something in `notify.sms.fields` only"));
            }
        }
    }

    fn header(&mut self, key: &KeyPath, secret: Option<&SecretText>) {
        if secret.is_some_and(|secret| {
            secret.reveal().is_empty() || secret.reveal().contains(|byte: char| !byte.is_ascii_graphic())
        }) {
            self.refuse_key(key, "is empty, or has characters that no token has");
        }
    }
}

fn address_of(url: &Endpoint) -> Option<IpAddr> {
    match url.reveal().host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}
