//! What `--against` means. An address may have a password: it is in no error.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::Url;

use super::usage;
use crate::cli::CliError;
use crate::config::SinkSettings;
use crate::recovery::compare::mapping::Mapping;

/// What the journal is held against.
#[derive(Debug)]
pub(super) enum Target {
    /// The store of a sink, which need not be in the settings.
    Store(Box<SinkSettings>),
    /// The legacy path.
    Legacy,
    /// A table of somebody else's.
    Table(Table),
}

/// A table of somebody else's.
#[derive(Debug)]
pub(super) struct Table {
    /// Where.
    pub(super) place: Place,
    /// Which column is what.
    pub(super) mapping: Mapping,
}

/// Where a table is.
#[derive(Debug)]
pub(super) enum Place {
    /// In a file of SQLite.
    Sqlite(PathBuf),
    /// A file of JSON lines.
    Lines(PathBuf),
    /// In a PostgreSQL.
    Postgres(Url),
}

const FORMS: &str = "write legacy, sqlite:FILE?table=NAME, postgres:URL?table=NAME or jsonl:FILE, or, of a sink's store, \
                     sqlite:FOLDER, jsonl:FOLDER or postgres:URL";

/// Reads it. `maps` are further parts of a mapping, `id=trade_id`.
pub(super) fn parse(text: &str, maps: &[String]) -> Result<Target, CliError> {
    let (kind, rest) = match text.split_once(':') {
        None if text == "legacy" && maps.is_empty() => return Ok(Target::Legacy),
        None if text == "legacy" => return Err(usage("`--map` is about a table, and `legacy` is none")),
        None => return Err(usage(&format!("`--against` names a kind and a place; {FORMS}"))),
        Some(parts) => parts,
    };
    match kind {
        // The address may be given whole.
        "postgres" | "postgresql" => postgres(if rest.starts_with("//") { text } else { rest }, maps),
        "sqlite" | "jsonl" if !rest.is_empty() => file(kind, rest, maps),
        _ => Err(usage(&format!("`--against` knows no kind `{}`; {FORMS}", kind.escape_default()))),
    }
}

fn file(kind: &str, rest: &str, maps: &[String]) -> Result<Target, CliError> {
    // A name may have a question mark in it.
    let (path, query) = if Path::new(rest).exists() { (rest, None) } else { split_query(rest) };
    let place = Path::new(path);
    if query.is_none() && maps.is_empty() && !place.is_file() {
        return store(kind, Some(path), None);
    }
    if place.is_dir() {
        let hint = "compare one of its files; a sink's folder is compared as `--against` without a query or `--map`";
        return Err(usage(&format!("{path} is a folder; {hint}")));
    }
    let mapping = mapping(pairs(query.unwrap_or_default())?, maps)?;
    if kind == "jsonl" && mapping.table().is_some() {
        return Err(usage("a file of JSON lines has no tables; leave `table` out"));
    }
    let place = if kind == "sqlite" { Place::Sqlite(place.to_owned()) } else { Place::Lines(place.to_owned()) };
    Ok(Target::Table(Table { place, mapping }))
}

fn postgres(address: &str, maps: &[String]) -> Result<Target, CliError> {
    let refused = || usage("the address behind `postgres:` is none; write postgres://USER@HOST/DATABASE?table=NAME");
    let (plain, query) = split_query(address);
    let ours = |pair: &&str| Mapping::knows(pair.split_once('=').map_or(*pair, |(name, _)| name));
    let all: Vec<&str> = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    let (own, theirs): (Vec<&str>, Vec<&str>) = all.into_iter().partition(ours);
    let mut url = Url::parse(plain).map_err(|_| refused())?;
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err(refused());
    }
    url.set_query(if theirs.is_empty() { None } else { Some(theirs.join("&")) }.as_deref());
    let mapping = mapping(pairs(&own.join("&"))?, maps)?;
    if mapping.table().is_none() {
        if own.is_empty() && maps.is_empty() {
            return store("postgres", None, Some(url.as_str()));
        }
        return Err(usage("name the table: postgres:URL?table=NAME"));
    }
    Ok(Target::Table(Table { place: Place::Postgres(url), mapping }))
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, CliError> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((name.to_owned(), decoded(value).map_err(|_| usage(&format!("the value of `{name}` is no text")))?))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn mapping(pairs: Vec<(String, String)>, maps: &[String]) -> Result<Mapping, CliError> {
    let mut mapping = Mapping::default();
    for (name, value) in pairs {
        mapping.set(&name, &value).map_err(|why| usage(&why))?;
    }
    for map in maps {
        let Some((name, value)) = map.split_once('=') else {
            return Err(usage(&format!("`--map {map}` is not of the form PART=COLUMN")));
        };
        mapping.set(name, value).map_err(|why| usage(&why))?;
    }
    Ok(mapping)
}

/// A sink's store, by its place alone.
fn store(kind: &str, folder: Option<&str>, url: Option<&str>) -> Result<Target, CliError> {
    #[derive(Serialize)]
    struct Named<'a> {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        folder: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
    }
    let refused = || usage(&format!("`--against` cannot be used; {FORMS}"));
    let table = toml::to_string(&Named { kind, folder, url }).map_err(|_| refused())?;
    toml::from_str(&table).map(|store| Target::Store(Box::new(store))).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkKind;
    use crate::recovery::compare::mapping::Part;

    fn store_of(text: &str) -> SinkSettings {
        match parse(text, &[]) {
            Ok(Target::Store(store)) => *store,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn table_of(text: &str, maps: &[&str]) -> Table {
        let maps: Vec<String> = maps.iter().map(|map| (*map).to_owned()).collect();
        match parse(text, &maps) {
            Ok(Target::Table(table)) => table,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_sinks_store_is_named_by_its_kind_and_place() {
        assert_eq!(store_of("sqlite:/data/events").folder, Some("/data/events".into()));
        assert_eq!(store_of("jsonl:out").kind, SinkKind::Jsonl);
        for url in ["postgres://me@localhost/market", "postgres:postgres://me@localhost/market?sslmode=disable"] {
            assert_eq!(store_of(url).kind, SinkKind::Postgres, "{url}");
        }
    }

    #[test]
    fn a_table_is_named_by_its_place_and_mapping() {
        let table = table_of("sqlite:old.db?table=trades&id=pair,trade_id&time=ts&time_unit=ms", &["key=-"]);
        assert!(matches!(&table.place, Place::Sqlite(path) if path == Path::new("old.db")));
        assert_eq!(table.mapping.table(), Some("trades"));
        assert_eq!(table.mapping.said(Part::Id).unwrap(), ["pair", "trade_id"]);
        assert_eq!(table.mapping.said(Part::Key).unwrap().len(), 0);
        let table = table_of("postgres:postgres://me:pw@h/d?sslmode=disable&table=a.b&id=x%26y", &[]);
        assert!(matches!(&table.place, Place::Postgres(url) if url.as_str() == "postgres://me:pw@h/d?sslmode=disable"));
        assert_eq!(table.mapping.said(Part::Id).unwrap(), ["x&y"]);
        assert!(matches!(table_of("jsonl:a.jsonl.gz?id=/t", &[]).place, Place::Lines(_)));
        assert!(matches!(table_of("jsonl:a.jsonl", &["id=/t"]).place, Place::Lines(_)));
        assert!(matches!(parse("legacy", &[]), Ok(Target::Legacy)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_the_password() {
        for text in [
            "oracle:hunter2",
            "jsonl:",
            "nothing",
            "postgres:hunter2",
            "postgres:http://me:hunter2@h/d?table=t",
            "postgres:postgres://me:hunter2@h:port/d?table=t",
            "postgres://me:hunter2@h/d?id=x",
            "sqlite:a.db?tabel=x",
            "jsonl:a?table=x",
        ] {
            let error = parse(text, &[]).unwrap_err();
            assert_eq!(error.exit(), crate::cli::Exit::Usage, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
