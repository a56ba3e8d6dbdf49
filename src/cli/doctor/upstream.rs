//! An upstream, as a link of the daemon would meet it: reached, logged in to, and asked for one topic. Nothing is journaled.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::finding::{Check, Finding, Verdict};
use super::reach::{Place, clock};
use crate::circuits::Circuits;
use crate::config::{Endpoint, PoolSettings, Settings, UpstreamSettings};
use crate::credentials::Credentials;
use crate::dialect::{Frame, Transport, registry};
use crate::upstream::{ConnectError, Heard, Tap, TapEnd, Watcher};

/// Looks at the upstream `name`.
pub(super) async fn look(name: &str, settings: &Settings, limit: Duration) -> Vec<Finding> {
    let Some(upstream) = settings.upstreams.get(name) else { return Vec::new() };
    let mut findings = Vec::new();
    let url = upstream.url.reveal();
    let pool = patient(&settings.pool, limit);
    let secrets = Check::new("credentials", name);
    let credentials = match Credentials::new(name, upstream, &pool, &Circuits::new(false, Vec::new())) {
        Ok(credentials) => credentials,
        Err(error) => return vec![secrets.broken(error.to_string())],
    };
    // With them come the proxy's; without, nothing can be reached.
    let proxy = match credentials.proxy() {
        Ok(proxy) => proxy,
        Err(error) => return vec![secrets.broken(error.to_string())],
    };
    let Some(place) = Place::of(name, url, default_port(url.scheme())) else {
        return vec![Check::new("connect", name).failed("its address has no port", "write `url` with one")];
    };
    let first = match (&proxy, upstream.proxy(&settings.pool)) {
        (Some(_), Some(proxy)) => Place::of(&format!("{name}'s proxy"), proxy.reveal(), Some(1080)),
        _ => Some(place.clone()),
    };
    let resolved = match &first {
        Some(first) => first.resolve(limit).await,
        None => None,
    };
    let nameless = resolved.as_ref().is_some_and(|name| name.result == Verdict::Failed);
    findings.extend(resolved);
    let stream = if nameless {
        findings.push(Check::new("connect", name).skipped("there is no address"));
        None
    } else {
        let (connected, stream) = place.connect(proxy.as_ref(), limit).await;
        findings.push(connected);
        stream
    };
    let Some(stream) = stream else {
        findings.push(Check::new("handshake", name).skipped("there is no connection"));
        findings.push(Check::new("subscription", name).skipped("there is no connection"));
        return findings;
    };
    if Transport::is_secure(url.scheme()) {
        let trust = (upstream.ca_file.as_deref(), credentials.identity());
        findings.push(place.certificate(stream, trust, limit).await);
    } else {
        drop(stream);
    }
    let (clock, spoken) = tokio::join!(clock(name, url, &credentials, limit), speak(name, upstream, settings, limit));
    findings.push(clock);
    findings.extend(spoken);
    findings
}

/// The port of a scheme that `url` knows none of.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "tcp" => Some(1883),
        "tls" => Some(8883),
        _ => None,
    }
}

/// With steps that end when the operator wants it.
fn patient(pool: &PoolSettings, limit: Duration) -> PoolSettings {
    PoolSettings {
        connect_timeout: pool.connect_timeout.min(limit),
        handshake_timeout: pool.handshake_timeout.min(limit),
        ..pool.clone()
    }
}

/// Opens a connection as a link does, and asks for the first topic of its monitors.
async fn speak(name: &str, upstream: &UpstreamSettings, settings: &Settings, limit: Duration) -> Vec<Finding> {
    let [handshake, login, subscription] = ["handshake", "login", "subscription"].map(|check| Check::new(check, name));
    let dialect = match registry::build(&upstream.dialect, &settings.dialects) {
        Ok(dialect) => dialect,
        Err(error) => return vec![handshake.broken(error.to_string())],
    };
    let monitors = settings.monitors.values().filter(|monitor| monitor.upstream.iter().any(|one| one == name));
    let topic = monitors.flat_map(|monitor| &monitor.topics).next();
    if let Some(topic) = topic
        && let Err(reason) = dialect.check_topic(topic)
    {
        return vec![subscription.failed(format!("topic `{topic}` {reason}"), "mend the monitor's `topics`")];
    }
    let mut own = upstream.clone();
    for timeout in [&mut own.pool.connect_timeout, &mut own.pool.handshake_timeout] {
        *timeout = timeout.map(|own| own.min(limit));
    }
    let topics: Vec<String> = topic.cloned().into_iter().collect();
    let tap = match Tap::new(name, &own, &patient(&settings.pool, limit), dialect, &topics) {
        Ok(tap) => tap,
        Err(error) => return vec![handshake.broken(error.to_string())],
    };
    let mut look = Look { began: Instant::now(), opened: None, asks: topic.is_some(), limit, received: 0 };
    let stop = CancellationToken::new();
    let heard = {
        let run = tap.run(&mut look, &stop);
        tokio::pin!(run);
        // Each step has its own limit; this is for what has none, such as asking for a token.
        tokio::select! {
            heard = &mut run => heard,
            () = sleep(limit * 4) => {
                stop.cancel();
                run.await
            }
        }
    };
    let has_login = !upstream.auth.is_empty();
    let mut findings = Vec::new();
    let (end, heard) = match heard {
        Ok(heard) => heard,
        Err(error) => {
            findings.extend(refused(&error, [&handshake, &login]));
            findings.push(subscription.skipped("there is no connection"));
            return findings;
        }
    };
    let Some(opened) = look.opened else {
        findings.push(
            handshake.failed(format!("it was not done within {:?}", limit * 4), "look at the upstream's status page"),
        );
        findings.push(subscription.skipped("there is no connection"));
        return findings;
    };
    let took = (opened - look.began).as_secs_f64() * 1000.0;
    findings.push(handshake.ok(format!("done in {took:.0} ms")));
    if has_login {
        findings.push(login.ok("it takes our credentials"));
    }
    findings.push(match topic {
        None => subscription.skipped("no monitor asks it for anything"),
        Some(topic) => asked(&subscription, topic, (&end, &heard), &look),
    });
    findings
}

/// Why no connection came about, by the step that it came to.
fn refused(error: &ConnectError, [handshake, login]: [&Check; 2]) -> Vec<Finding> {
    let said = error.to_string();
    match error.cause() {
        "login" => vec![handshake.ok("done"), login.broken(said)],
        "credentials" => vec![login.broken(said)],
        _ if error.refuses_us() => vec![login.broken(said)],
        "tls" => vec![handshake.failed(said, "see `certificate`")],
        "timeout" => {
            vec![handshake.failed(said, "check whether this port speaks what the dialect does; try a longer --timeout")]
        }
        _ => vec![handshake.failed(said, "check the address, and `dialect`")],
    }
}

/// What became of the topic that was asked for.
fn asked(check: &Check, topic: &str, (end, heard): (&TapEnd, &Heard), look: &Look) -> Finding {
    if let Some((_, reason)) = heard.refused.first() {
        let advice = "check the topic's name in the monitor's `topics`, and what the credentials are allowed";
        return check.failed(format!("`{topic}` was refused: {reason}"), advice);
    }
    match heard.topics.first() {
        Some(one) if one.messages > 0 => check.ok(format!("`{topic}`: data came")),
        Some(one) if one.in_force => check.ok(format!("`{topic}` was acknowledged")),
        _ => match end {
            TapEnd::Lost(reason) => {
                let advice = "check the topic's name, `dialect`, and what the credentials are allowed";
                check.failed(format!("`{topic}` was asked for, and the connection was lost: {reason}"), advice)
            }
            TapEnd::Enough => {
                let found = match look.received {
                    0 => format!("`{topic}`: nothing came within {:?}", look.limit),
                    frames => format!(
                        "`{topic}`: neither acknowledged nor any data of it within {:?}; {frames} other frames came",
                        look.limit
                    ),
                };
                let advice = "check the topic's name and `dialect`; for a feed that acknowledges nothing and is quiet now, \
                              try a longer --timeout";
                check.failed(found, advice)
            }
        },
    }
}

/// Waits until the topic is in force, refused, or waited for long enough.
struct Look {
    began: Instant,
    opened: Option<Instant>,
    /// Whether anything was asked for.
    asks: bool,
    limit: Duration,
    received: u64,
}

impl Watcher for Look {
    fn opened(&mut self, _address: &Endpoint) {
        self.opened = Some(Instant::now());
    }

    fn sent(&mut self, _frame: Frame<'_>) {}

    fn received(&mut self, _frame: Frame<'_>) -> ControlFlow<()> {
        self.received += 1;
        ControlFlow::Continue(())
    }

    fn beat(&mut self) -> ControlFlow<()> {
        let over = !self.asks || self.opened.is_some_and(|opened| opened.elapsed() >= self.limit);
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn heard(&mut self, heard: &Heard) -> ControlFlow<()> {
        let known = !heard.refused.is_empty() || heard.topics.iter().any(|topic| topic.in_force);
        if known { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn closed(&mut self, _reason: &str) {}
}
