//! Steps that every connection begins with, one by one.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use super::finding::{Check, Finding};
use crate::clock::UnixNanos;
use crate::credentials::Credentials;
use crate::proxy::Proxy;
use crate::retry_after::http_date;
use crate::tls::{self, ClientIdentity, Fault};

/// A certificate that ends sooner should be renewed by now. Source: authorities that renew by themselves do so 30 days before.
const RENEW_BEFORE: Duration = Duration::from_hours(14 * 24);

/// Clocks that differ by more are worth a word. Source: `Date` has whole seconds, and an answer takes its time.
const SKEW_WARNING: Duration = Duration::from_secs(3);

/// Clocks that differ by more have signed requests refused. Source: providers allow 5 to 60 s.
const SKEW_MAX: Duration = Duration::from_secs(30);

/// The most of an answer that is asked only for its date.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A host and a port to be reached.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Whose it is, for findings.
    pub(super) subject: String,
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Where an address leads; none where it has no port.
    pub(super) fn of(subject: &str, url: &Url, port: Option<u16>) -> Option<Self> {
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Self { subject: subject.to_owned(), host, port: url.port_or_known_default().or(port)? })
    }

    /// Finds addresses of the name, where it is one.
    pub(super) async fn resolve(&self, limit: Duration) -> Option<Finding> {
        if self.host.parse::<IpAddr>().is_ok() {
            return None;
        }
        let check = Check::new("name", &self.subject);
        let host = &self.host;
        let advice = "check the spelling of the host, and the name servers in /etc/resolv.conf";
        Some(match timeout(limit, tokio::net::lookup_host((host.as_str(), self.port))).await {
            Err(_) => check.failed(format!("{host} was not resolved within {limit:?}"), advice),
            Ok(Err(error)) => check.failed(format!("{host} cannot be resolved: {error}"), advice),
            Ok(Ok(addresses)) => {
                let mut ips: Vec<String> = addresses.map(|address: SocketAddr| address.ip().to_string()).collect();
                ips.dedup();
                let more = ips.len().saturating_sub(2);
                let shown = ips.iter().take(2).cloned().collect::<Vec<_>>().join(", ");
                check.ok(format!(
                    "{host} is {shown}{}",
                    if more > 0 { format!(" and {more} more") } else { String::new() }
                ))
            }
        })
    }

    /// Connects, through the proxy where there is one.
    pub(super) async fn connect(&self, proxy: Option<&Proxy>, limit: Duration) -> (Finding, Option<TcpStream>) {
        let check = Check::new("connect", &self.subject);
        let place = format!("{}:{}", self.host, self.port);
        let began = Instant::now();
        let connecting = async {
            match proxy {
                Some(proxy) => {
                    proxy.connect(&self.host, self.port).await.map_err(|error| format!("proxy {proxy}: {error}"))
                }
                None => TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string()),
            }
        };
        let advice = match proxy {
            Some(_) => "check the proxy, and whether it lets this host through",
            None => "check host and port, the firewall, and whether a proxy is needed (`pool.proxy`)",
        };
        match timeout(limit, connecting).await {
            Err(_) => (check.failed(format!("{place} did not answer within {limit:?}"), advice), None),
            Ok(Err(error)) => (check.failed(format!("{place}: {error}"), advice), None),
            Ok(Ok(stream)) => {
                let through = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
                let took = began.elapsed().as_secs_f64() * 1000.0;
                (check.ok(format!("{place}{through} in {took:.1} ms")), Some(stream))
            }
        }
    }

    /// Looks at the certificate of a server that speaks TLS from the first byte on.
    pub(super) async fn certificate(
        &self,
        stream: TcpStream,
        trust: (Option<&Path>, Option<&Arc<ClientIdentity>>),
        limit: Duration,
    ) -> Finding {
        let check = Check::new("certificate", &self.subject);
        let host = &self.host;
        let inspected = match timeout(limit, tls::inspect(stream, host, trust.0, trust.1)).await {
            Err(_) => {
                let advice = "check whether this port speaks TLS at all";
                return check.failed(format!("no TLS handshake within {limit:?}"), advice);
            }
            Ok(Err(error)) => {
                return check.failed(format!("no TLS handshake: {error}"), "check whether this port speaks TLS at all");
            }
            Ok(Ok(inspected)) => inspected,
        };
        let until = inspected.until.map_or_else(|| "an unknown time".to_owned(), |until| until.to_string());
        let now = UnixNanos::now();
        match inspected.fault {
            None if inspected.until.is_some_and(|until| until.since(now) < RENEW_BEFORE) => {
                check.warning(format!("it ends at {until}"), "have it renewed before that")
            }
            None => check.ok(format!("valid for {host} until {until}, a chain of {}", inspected.chain)),
            Some(Fault::Expired) => {
                let advice = "the server's operator must renew it; if the date is to come, mend this machine's clock";
                check.failed(format!("it ended at {until}"), advice)
            }
            Some(Fault::NotYet) => check.failed("it is not valid yet", "mend this machine's clock"),
            Some(Fault::Name) => {
                let advice = "write the address with the name that the certificate is for; if it is right, somebody else answers";
                check.failed(format!("it is not for {host}"), advice)
            }
            Some(Fault::Unknown) => {
                let advice = "name its authority by `ca_file`, or install the package ca-certificates; if there should be none, \
                              something on the way answers in the server's place";
                check.failed("nobody that this machine trusts vouches for it", advice)
            }
            Some(Fault::Other(reason)) => check.failed(reason, "the server's operator must mend it"),
        }
    }
}

/// Holds our clock against a server's.
pub(super) async fn clock(subject: &str, url: &Url, credentials: &Credentials, limit: Duration) -> Finding {
    let check = Check::new("clock", subject);
    let asked = match http_of(url) {
        Some(asked) => asked,
        None => return check.skipped("a server of this kind tells no time"),
    };
    let client = match credentials.http_client(limit, ANSWER_BYTES_MAX) {
        Ok(client) => client,
        Err(error) => return check.skipped(error.to_string()),
    };
    // Without credentials, without a path: any answer has a date.
    let Ok(request) = client.client().head(asked).build() else {
        return check.skipped("its address cannot be asked over HTTP");
    };
    let began = UnixNanos::now();
    let answer = match timeout(limit, client.open(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return check.skipped("the server gave no answer to a request for its time"),
    };
    let ended = UnixNanos::now();
    let text = |name| answer.headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(theirs) = text(header::DATE).and_then(http_date) else {
        return check.skipped("the server tells no time");
    };
    let age = text(header::AGE).and_then(|age| age.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    // It was written somewhere between, and has whole seconds.
    let theirs = theirs.saturating_add(age + Duration::from_millis(500));
    let ours = began.saturating_add(ended.since(began) / 2);
    let (ahead, behind) = (ours.since(theirs), theirs.since(ours));
    let (skew, word) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let found = format!("this machine's clock is {:.0} s {word} the server's", skew.as_secs_f64());
    let advice = "have the clock kept: `timedatectl set-ntp true`, or install chrony";
    match skew {
        skew if skew > SKEW_MAX => check.failed(found, advice),
        skew if skew > SKEW_WARNING => check.warning(found, advice),
        _ => check.ok("as the server's, to some seconds"),
    }
}

/// The root of a server that speaks HTTP.
fn http_of(url: &Url) -> Option<Url> {
    let scheme = match url.scheme() {
        "ws" | "http" => "http",
        "wss" | "https" => "https",
        _ => return None,
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Url::parse(&format!("{scheme}://{}{port}/", url.host_str()?)).ok()
}
