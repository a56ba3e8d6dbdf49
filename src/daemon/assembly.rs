//! Makes upstreams ready out of settings: their dialects and rosters. Also what `config check` does beyond the types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::units::{Place, Places, UnitKey, divide};
use crate::config::units::show_duration;
use crate::config::{KeyPath, MonitorSettings, Settings, UpstreamSettings};
use crate::dialect::{Dialect, DialectError, Resumption, Transport, registry};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Pause, Roster, RosterError, RosterParts};
use crate::pipeline::dedupe::TTL_MAX;
use crate::recovery::backfill::Declaration;
use crate::rollout::Paths;

/// Settings that fit their types and each other, but not what they are about.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A dialect.
    #[error("`upstreams.{upstream}.dialect`: {source}")]
    Dialect {
        /// Which upstream.
        upstream: String,
        /// Why.
        source: DialectError,
    },
    /// An address of the wrong kind.
    #[error(
        "`upstreams.{upstream}.url`: its dialect is not spoken over `{scheme}:`; write {}",
        .spoken.iter().map(|scheme| format!("`{scheme}://HOST`")).collect::<Vec<_>>().join(" or ")
    )]
    Scheme {
        /// Which upstream.
        upstream: String,
        /// What the address has.
        scheme: String,
        /// What it may have.
        spoken: Vec<&'static str>,
    },
    /// A port that nobody can guess.
    #[error("`upstreams.{upstream}.url`: says no port; write `{scheme}://HOST:PORT`")]
    Port {
        /// Which upstream.
        upstream: String,
        /// What the address has.
        scheme: String,
    },
    /// A monitor's rules.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// A header that no request can carry.
    #[error("the dialect of `upstreams.{upstream}` has a header `{name}` that HTTP does not allow: {reason}")]
    Header {
        /// Which upstream.
        upstream: String,
        /// The header.
        name: String,
        /// Why.
        reason: String,
    },
    /// A dialect that goes back further than ids are remembered.
    #[error(
        "the dialect of `upstreams.{upstream}` is taken up again {} before its last event, and ids are remembered for {} only, \
         so events would come twice: shorten its `resume.overlap`, or raise `dedupe.ttl`",
        show_duration(*overlap), show_duration(*window)
    )]
    Overlap {
        /// Which upstream.
        upstream: String,
        /// How far it goes back.
        overlap: Duration,
        /// How long ids are remembered.
        window: Duration,
    },
    /// What is fetched over HTTP.
    #[error("`monitors.{monitor}.{key}`: {reason}")]
    Fetched {
        /// Whose.
        monitor: String,
        /// `backfill` or `poll`.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// A topic's wording.
    #[error("`monitors.{monitor}.topics`: `{topic}`: {reason}")]
    Topic {
        /// Whose.
        monitor: String,
        /// Which.
        topic: String,
        /// Its place in the list.
        index: usize,
        /// Why.
        reason: String,
    },
}

impl AssemblyError {
    /// The setting that it is about.
    pub fn key(&self) -> KeyPath {
        match self {
            Self::Dialect { upstream, .. } | Self::Header { upstream, .. } | Self::Overlap { upstream, .. } => {
                KeyPath::from(["upstreams", upstream, "dialect"])
            }
            Self::Scheme { upstream, .. } | Self::Port { upstream, .. } => {
                KeyPath::from(["upstreams", upstream, "url"])
            }
            Self::Roster(RosterError::Rule { monitor, rule, source }) => {
                KeyPath::from(["monitors", monitor, "event"]).index(rule - 1).key(source.key)
            }
            Self::Roster(RosterError::Redundant { monitor, .. }) => KeyPath::from(["monitors", monitor, "upstream"]),
            Self::Roster(RosterError::NoRule { monitor, .. }) => KeyPath::from(["monitors", monitor]),
            Self::Fetched { monitor, key, .. } => KeyPath::from(["monitors", monitor, key]),
            Self::Topic { monitor, index, .. } => KeyPath::from(["monitors", monitor, "topics"]).index(*index),
        }
    }
}

/// An upstream's dialect and monitors.
#[derive(Debug)]
pub(super) struct Assembled {
    /// How it speaks.
    pub(super) dialect: Arc<dyn Dialect>,
    /// Who watches it.
    pub(super) roster: Arc<Roster>,
}

/// An upstream that is at work and stays so.
pub(super) struct Before {
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) roster: Arc<Roster>,
}

/// What else units are assembled from, beside settings.
pub(super) struct AssemblyParts<'a> {
    /// Monitors that take nothing for now.
    pub(super) pauses: &'a BTreeMap<String, Pause>,
    /// Where monitors are.
    pub(super) places: &'a Places,
    /// Who is taken by the other path as well, to be compared.
    pub(super) paths: &'a Paths,
    /// Hashes ids.
    pub(super) hasher: &'a IdHasher,
    /// Tells of units that are at work and stay so: their topics keep their numbers.
    pub(super) before: &'a dyn Fn(&UnitKey) -> Option<Before>,
}

/// Whether settings fit what they are about. Nothing is kept of it.
///
/// # Errors
/// When a dialect is unknown, a topic cannot be asked for, or a rule cannot be used.
pub fn check(settings: &Settings) -> Result<(), AssemblyError> {
    // The hasher's key does not matter for it, and a rule that can be used on one path can be on the other.
    let (hasher, mut identities) = (IdHasher::new(0), Identities::default());
    let (pauses, places, paths) = (BTreeMap::new(), Places::new(), Paths::default());
    let parts = AssemblyParts { pauses: &pauses, places: &places, paths: &paths, hasher: &hasher, before: &|_| None };
    assemble(settings, &parts, &mut identities).map(drop)
}

/// Makes every unit of every upstream that a monitor watches ready.
///
/// # Errors
/// When a dialect is unknown, a topic cannot be asked for, or a rule cannot be used.
pub(super) fn assemble(
    settings: &Settings,
    parts: &AssemblyParts<'_>,
    identities: &mut Identities,
) -> Result<BTreeMap<UnitKey, Assembled>, AssemblyError> {
    let AssemblyParts { pauses, places, paths, hasher, before } = *parts;
    for (name, upstream) in &settings.upstreams {
        check_upstream(settings, name, upstream)?;
    }
    let crossing = |(name, place): (&String, &Place)| match place {
        Place::Both(crossing) => Some((name.clone(), Arc::clone(crossing))),
        _ => None,
    };
    let crossings = places.iter().filter_map(crossing).collect();
    let mut dialects: BTreeMap<&str, Arc<dyn Dialect>> = BTreeMap::new();
    let mut assembled = BTreeMap::new();
    let units = divide(&settings.monitors, places, paths);
    for (key, monitors) in &units {
        let Some(upstream) = settings.upstreams.get(&key.upstream) else { continue };
        let before = before(key);
        let dialect = match (&before, dialects.get(&*key.upstream)) {
            (Some(before), _) => Arc::clone(&before.dialect),
            (None, Some(known)) => Arc::clone(known),
            (None, None) => build(settings, &key.upstream, upstream)?,
        };
        dialects.entry(&key.upstream).or_insert_with(|| Arc::clone(&dialect));
        let parts = RosterParts {
            upstream: &key.upstream,
            monitors,
            pauses,
            path: key.path(),
            crossings: &crossings,
            default_rules: dialect.default_event_rules(),
            quarantine: &settings.quarantine,
            hasher,
            previous: before.as_ref().map(|before| &*before.roster),
        };
        let roster = Arc::new(Roster::new(&parts, identities)?);
        assembled.insert(key.clone(), Assembled { dialect, roster });
    }
    Ok(assembled)
}

fn build(settings: &Settings, name: &str, upstream: &UpstreamSettings) -> Result<Arc<dyn Dialect>, AssemblyError> {
    registry::build(&upstream.dialect, &settings.dialects)
        .map_err(|source| AssemblyError::Dialect { upstream: name.to_owned(), source })
}

/// Whether an upstream can be spoken to as its settings say, and asked for what its monitors want.
fn check_upstream(settings: &Settings, name: &str, upstream: &UpstreamSettings) -> Result<(), AssemblyError> {
    let dialect = build(settings, name, upstream)?;
    check_address(name, upstream.url.reveal(), dialect.transports())?;
    check_headers(name, &dialect.handshake_headers())?;
    if let Some(overlap) = dialect.resumption().map(Resumption::overlap)
        && overlap >= dedupe_ttl(settings)
    {
        return Err(AssemblyError::Overlap { upstream: name.to_owned(), overlap, window: dedupe_ttl(settings) });
    }
    for (monitor, watched) in settings.monitors.iter().filter(|(_, monitor)| monitor.watches(name)) {
        for (index, topic) in watched.topics.iter().enumerate() {
            dialect.check_topic(topic).map_err(|reason| AssemblyError::Topic {
                monitor: monitor.clone(),
                topic: topic.clone(),
                index,
                reason,
            })?;
        }
        check_fetched(settings, upstream, monitor, watched)?;
    }
    Ok(())
}

/// Whether what a monitor fetches over HTTP can be asked for, at least for one of its topics.
fn check_fetched(
    settings: &Settings,
    upstream: &UpstreamSettings,
    name: &str,
    monitor: &MonitorSettings,
) -> Result<(), AssemblyError> {
    let polled = monitor.poll.as_ref().map(|poll| poll.requests(&monitor.backfill));
    let declared = [("backfill", Some(&monitor.backfill).filter(|list| !list.is_empty())), ("poll", polled.as_ref())];
    for (key, own) in declared {
        let Some(own) = own else { continue };
        let refused = |reason: String| AssemblyError::Fetched { monitor: name.to_owned(), key, reason };
        let of_dialect =
            registry::backfills(&upstream.dialect, &settings.dialects).map_err(|error| refused(error.to_string()))?;
        let mut any = false;
        for topic in &monitor.topics {
            let declaration = Declaration::for_topic(own, &of_dialect, &upstream.url, topic);
            let declaration = declaration.map_err(|error| refused(error.to_string()))?;
            if key == "backfill" && declaration.as_ref().is_some_and(|declaration| !declaration.has_range()) {
                return Err(refused("`range` is missing; it says what a span is measured by".into()));
            }
            any |= declaration.is_some();
        }
        // Of a redundant monitor another upstream may be the one that is asked.
        if !any && !monitor.is_redundant() {
            let reason = format!(
                "it is for none of the monitor's topics, and the dialect `{}` declares nothing for them; declare `url`, `range` and how answers are read",
                upstream.dialect
            );
            return Err(refused(reason));
        }
    }
    Ok(())
}

/// How long ids are remembered.
pub(super) fn dedupe_ttl(settings: &Settings) -> Duration {
    settings.dedupe.ttl.mul_f64(settings.cache.ttl_multiplier).min(TTL_MAX)
}

/// An address must fit what its dialect is spoken over.
fn check_address(upstream: &str, url: &url::Url, transports: &[Transport]) -> Result<(), AssemblyError> {
    let (upstream, scheme) = (upstream.to_owned(), url.scheme().to_owned());
    if Transport::of(transports, &scheme).is_none() {
        let spoken = transports.iter().flat_map(|transport| transport.schemes()).collect();
        return Err(AssemblyError::Scheme { upstream, scheme, spoken });
    }
    if url.port_or_known_default().is_none() {
        return Err(AssemblyError::Port { upstream, scheme });
    }
    Ok(())
}

/// A value that no request can carry would else be found out at every attempt to connect.
fn check_headers(upstream: &str, headers: &[(String, String)]) -> Result<(), AssemblyError> {
    for (name, value) in headers {
        let refused =
            |reason: String| AssemblyError::Header { upstream: upstream.to_owned(), name: name.clone(), reason };
        name.parse::<HeaderName>().map_err(|error| refused(error.to_string()))?;
        value.parse::<HeaderValue>().map_err(|error| refused(error.to_string()))?;
    }
    Ok(())
}
