//! Dialects by name: presets, and those that a settings file declares.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Dialect;
use super::atproto::AtprotoDialect;
use super::error::{DialectError, Fault};
use super::graphql_ws::GraphqlDialect;
use super::jetstream::JetstreamDialect;
use super::json::JsonDialect;
use super::json_rpc::JsonRpcDialect;
use super::mastodon::MastodonDialect;
use super::mqtt::MqttDialect;
use super::nats::NatsDialect;
use super::nostr::NostrDialect;
use super::poll::PollDialect;
use super::qsys::QsysDialect;
use super::sse::SseDialect;
use crate::config::BackfillSettings;

/// A declaration that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name in settings.
    pub name: &'static str,
    /// The declaration, as a settings file would have it under `[dialects.NAME]`.
    pub toml: &'static str,
}

macro_rules! preset {
    ($name:literal) => {
        Preset { name: $name, toml: include_str!(concat!("presets/", $name, ".toml")) }
    };
}

const PRESETS: &[Preset] = &[
    preset!("atproto"),
    preset!("binance"),
    preset!("bitfinex"),
    preset!("bitget"),
    preset!("bithumb"),
    preset!("bitmex"),
    preset!("bitstamp"),
    preset!("bitz"),
    preset!("bybit"),
    preset!("coinbase"),
    preset!("coinbase-advanced"),
    preset!("deribit"),
    preset!("dydx"),
    preset!("ethereum"),
    preset!("ftx"),
    preset!("gate"),
    preset!("gemini"),
    preset!("graphql-transport-ws"),
    preset!("huobi"),
    preset!("jetstream"),
    preset!("kraken"),
    preset!("kraken-futures"),
    preset!("kraken-v1"),
    preset!("kucoin"),
    preset!("mastodon"),
    preset!("mexc"),
    preset!("mqtt"),
    preset!("nats"),
    preset!("nostr"),
    preset!("okx"),
    preset!("okx-v3"),
    preset!("qsys"),
    preset!("solana"),
    preset!("upbit"),
    preset!("wikimedia"),
    preset!("zb"),
    preset!("zbg"),
];

/// All presets, by name.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

type Read = fn(toml::Table) -> Result<Arc<dyn Dialect>, Fault>;

macro_rules! kind {
    ($name:literal, $dialect:ty) => {
        ($name, |table| <$dialect>::from_table(table).map(|dialect| Arc::new(dialect) as _))
    };
}

/// Natures of dialects, and what reads their declarations.
const KINDS: &[(&str, Read)] = &[
    kind!("json", JsonDialect),
    kind!("json_rpc", JsonRpcDialect),
    kind!("atproto", AtprotoDialect),
    kind!("graphql_transport_ws", GraphqlDialect),
    kind!("jetstream", JetstreamDialect),
    kind!("mastodon", MastodonDialect),
    kind!("nostr", NostrDialect),
    kind!("mqtt", MqttDialect),
    kind!("nats", NatsDialect),
    kind!("poll", PollDialect),
    kind!("qsys", QsysDialect),
    kind!("sse", SseDialect),
];

/// Their names, for people.
fn kinds() -> String {
    KINDS.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The key of a dialect's range queries.
const BACKFILL: &str = "backfill";

/// The longest chain of `extends`; more is a circle or a mistake.
const EXTENDS_MAX: usize = 8;

/// The dialect of a name: a declared one, else a preset.
///
/// # Errors
/// When there is none of this name, or its declaration has a mistake.
pub fn build(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<Arc<dyn Dialect>, DialectError> {
    let mut table = resolve(name, declared)?;
    // No dialect's own business: how the same provider is asked over HTTP.
    table.remove(BACKFILL);
    let built: Result<Arc<dyn Dialect>, Fault> = if let Some(other) = table.remove("kind") {
        match other.as_str().and_then(|kind| KINDS.iter().find(|(name, _)| *name == kind)) {
            Some((_, read)) => read(table),
            None => Err(Fault::new("kind", format!("is {other}; it is one of {}", kinds()))),
        }
    } else {
        let reason = format!("is missing; it is one of {}, or say `extends = \"a preset\"`", kinds());
        Err(Fault::new("kind", reason))
    };
    built.map_err(|fault| fault.of(name))
}

/// How what was not seen is asked for over HTTP, as a dialect declares it: its table `backfill`, or several of them.
///
/// # Errors
/// When there is no dialect of this name, or the declaration has a mistake.
pub fn backfills(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<Vec<BackfillSettings>, DialectError> {
    #[derive(serde::Deserialize)]
    struct Declared {
        #[serde(default, deserialize_with = "crate::config::units::one_or_many")]
        backfill: Vec<BackfillSettings>,
    }
    let mut table = resolve(name, declared)?;
    let Some(backfill) = table.remove(BACKFILL) else { return Ok(Vec::new()) };
    let only = toml::Table::from_iter([(BACKFILL.to_owned(), backfill)]);
    super::declared::read_table::<Declared>(only).map(|read| read.backfill).map_err(|fault| fault.of(name))
}

/// A dialect's declaration, with everything that it extends under it.
///
/// # Errors
/// When there is none of this name.
pub fn declaration(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<toml::Table, DialectError> {
    resolve(name, declared)
}

/// A dialect's table with everything that it extends under it.
fn resolve(name: &str, declared: &BTreeMap<String, toml::Table>) -> Result<toml::Table, DialectError> {
    let mut layers = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(layer) = next {
        if layers.len() == EXTENDS_MAX {
            return Err(Fault::new("extends", "leads through too many dialects, or in a circle").of(name));
        }
        // A declared dialect may have the name of the preset that it extends.
        let again = layers.iter().any(|(known, _)| *known == layer);
        let mut table = match (declared.get(&layer).filter(|_| !again), preset(&layer)) {
            (Some(own), _) => own.clone(),
            (None, Some(preset)) => preset,
            (None, None) if again => return Err(Fault::new("extends", "leads in a circle").of(name)),
            (None, None) => return Err(unknown(&layer, declared)),
        };
        next = match table.remove("extends") {
            None => None,
            Some(toml::Value::String(base)) => Some(base),
            Some(other) => return Err(Fault::new("extends", format!("is {other}; it is a dialect's name")).of(name)),
        };
        layers.push((layer, table));
    }
    let mut table = toml::Table::new();
    for (_, layer) in layers.into_iter().rev() {
        overlay(&mut table, layer);
    }
    Ok(table)
}

/// Tables are merged key by key; everything else, lists too, is replaced.
fn overlay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn preset(name: &str) -> Option<toml::Table> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    Some(preset.toml.parse().expect("a test reads every preset"))
}

fn unknown(name: &str, declared: &BTreeMap<String, toml::Table>) -> DialectError {
    let mut known: Vec<&str> = declared.keys().map(String::as_str).chain(PRESETS.iter().map(|row| row.name)).collect();
    known.sort_unstable();
    known.dedup();
    let nearest = known
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), *other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    DialectError::Unknown {
        name: name.to_owned(),
        nearest: nearest.map(|(_, other)| other.to_owned()),
        known: known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(toml: &str) -> BTreeMap<String, toml::Table> {
        toml::from_str(toml).unwrap()
    }

    fn error(name: &str, toml: &str) -> String {
        build(name, &declared(toml)).unwrap_err().to_string()
    }

    #[test]
    fn what_presets_declare_for_backfill_can_be_asked_for() {
        let upstream = url::Url::parse("wss://example.org/ws").unwrap().into();
        for (name, topic) in [
            ("binance", "btcusdt@aggTrade"),
            ("binance", "btcusdt@trade"),
            ("coinbase", "matches:BTC-USD"),
            ("ethereum", r#"logs {"address":"0x1"}"#),
            ("ethereum", "logs"),
            ("ethereum", "newHeads"),
        ] {
            let own = [BackfillSettings::default()];
            let presets = backfills(name, &BTreeMap::new()).unwrap();
            let found = crate::recovery::backfill::Declaration::for_topic(&own, &presets, &upstream, topic);
            assert!(found.unwrap_or_else(|error| panic!("{name} {topic}: {error}")).is_some(), "{name} {topic}");
        }
        let mistake = declared("[x]\nextends = \"binance\"\nbackfill = { pathh = \"/\" }");
        assert!(backfills("x", &mistake).unwrap_err().to_string().contains("`backfill"), "with its place");
    }

    #[test]
    fn every_preset_is_read_and_has_event_rules() {
        for preset in presets() {
            let dialect = build(preset.name, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
            assert!(!dialect.default_event_rules().is_empty(), "{}", preset.name);
            assert!(dialect.limits().topics_per_link > 0);
        }
    }

    #[test]
    fn every_preset_and_every_kind_has_a_row_in_the_feed_guide() {
        let guide = include_str!("../../docs/feeds.md");
        let has_row = |name: &str| guide.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
        for name in presets().iter().map(|preset| preset.name).chain(KINDS.iter().map(|(name, _)| *name)) {
            assert!(has_row(name), "docs/feeds.md has no row `{name}`");
        }
        for table in guide.split("\n\n").filter(|part| part.starts_with('|')) {
            let cells = |line: &str| line.matches(" |").count();
            let head = table.lines().next().unwrap_or_default();
            for line in table.lines() {
                assert_eq!(cells(line), cells(head), "{line}");
            }
        }
    }

    #[test]
    fn a_dialect_extends_another_and_overrides_its_keys() {
        let own = declared(
            "[binance]\nextends = \"binance\"\nlimits = { topics_per_link = 200 }\n[futures]\nextends = \"binance\"",
        );
        for name in ["binance", "futures"] {
            let limits = build(name, &own).unwrap().limits();
            assert_eq!(limits.topics_per_link, 200);
            assert_eq!(limits.send_interval.as_millis(), 250, "what is not said stays");
        }
    }

    #[test]
    fn an_unknown_dialect_is_answered_with_the_nearest() {
        let text = error("binnance", "[mine]\nkind = \"json\"");
        assert!(text.contains("no dialect is called `binnance`; did you mean `binance`?"), "{text}");
        assert!(text.contains("`mine`") && text.contains("`solana`"), "{text}");
        assert!(!error("zzz", "").contains("did you mean"));
    }

    #[test]
    fn a_point_to_go_on_from_that_the_upstream_would_not_be_told_is_refused() {
        let own = |more: &str| error("mine", &format!("[mine]\nextends = \"binance\"\n{more}"));
        let text = own("resume = { token = \"/data/E\" }");
        assert!(text.contains("`resume`: names neither a `query` nor"), "{text}");
        let text = own("resume = { token = \"x\", query = \"since\" }");
        assert!(text.contains("`resume.token`") && text.contains("JSON Pointer"), "{text}");
        let topics = |from: &str| {
            own(&format!(
                "resume = {{ token = \"/E\" }}\ntopics = [{{ form = \"{{topic}}\", subscribe = '[{{topics}}]', subscribe_from = '{from}' }}]"
            ))
        };
        assert!(topics("[{topics}]").contains("has no `{resume}`"));
        assert!(topics("[{topic},{resume}]").contains("must name the same parts"));
    }

    #[test]
    fn mistakes_name_their_key() {
        for (toml, expected) in [
            ("", "`kind`: is missing"),
            ("kind = \"xml\"", "`kind`: is \"xml\""),
            ("extends = \"x\"", "`extends`: leads in a circle"),
            ("kind = \"json\"", "`topics`: is missing"),
            ("extends = \"binance\"\nlimits = { topics_per_link = 0 }", "`limits.topics_per_link`: is 0"),
            ("extends = \"binance\"\nlimit = 3", "unknown field `limit`"),
            (
                "extends = \"binance\"\nlimits = { send_interval = \"3\" }",
                "`limits.send_interval`: `3` is not a duration",
            ),
            (
                "extends = \"binance\"\nroutes = [{ topic = \"{stream}\" }]",
                "`routes[0].topic`: `stream` is no JSON Pointer",
            ),
            ("extends = \"binance\"\nroutes = [{ topic = \"{/stream\" }]", "never closed"),
            (
                "extends = \"binance\"\ntopics = [{ form = \"{a}{b}\", subscribe = \"x\" }]",
                "`topics[0].form`: has two parts",
            ),
            (
                "extends = \"binance\"\ntopics = [{ form = \"{a}\", subscribe = '{\"x\":{b}}' }]",
                "`topics[0].subscribe`: knows no `{b}`",
            ),
            (
                "extends = \"binance\"\ntopics = [{ form = \"{a}\", subscribe = '{\"x\":' }]",
                "`topics[0].subscribe`: is no JSON",
            ),
            ("extends = \"binance\"\nping = { send = \"{\", interval = \"1s\" }", "`ping.send`: is no JSON"),
            ("extends = \"binance\"\ncontrols = [{ answer = \"x\" }]", "`controls[0].when`: is missing"),
            ("extends = \"ethereum\"\nnotification = { channel = \"/x\" }", "`notification`: needs either"),
        ] {
            let toml = format!("[x]\n{toml}");
            let text = error("x", &toml);
            assert!(text.starts_with("dialect `x`: ") && text.contains(expected), "{toml}: {text}");
        }
    }
}
