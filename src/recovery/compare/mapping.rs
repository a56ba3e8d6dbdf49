//! Which column of a table, or which JSON Pointer into a line, is what of an event. Where nothing is said it is the name that sluice's own
//! sinks use.

use std::collections::BTreeMap;

use crate::config::{TimeUnit, suggestion};

/// A part of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The id, of several columns joined by `:`.
    Id,
    /// The key.
    Key,
    /// The payload.
    Payload,
    /// When it was received.
    Time,
    /// The monitor.
    Monitor,
    /// The domain.
    Domain,
    /// The topic.
    Topic,
    /// The path.
    Path,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Id, Self::Key, Self::Payload, Self::Time, Self::Monitor, Self::Domain, Self::Topic, Self::Path];

    /// As a parameter names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Key => "key",
            Self::Payload => "payload",
            Self::Time => "time",
            Self::Monitor => "monitor",
            Self::Domain => "domain",
            Self::Topic => "topic",
            Self::Path => "path",
        }
    }

    /// As sluice's own sinks name it.
    pub fn column(self) -> &'static str {
        match self {
            Self::Time => "received_time",
            other => other.as_str(),
        }
    }
}

/// What a person said of a source's columns.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    table: Option<String>,
    time_unit: Option<TimeUnit>,
    /// An empty list: there is none, whatever columns are there.
    named: BTreeMap<Part, Vec<String>>,
}

/// What is written where a source has no such column.
const NOTHING: &str = "-";

impl Mapping {
    /// Whether a parameter of this name is one of ours.
    pub fn knows(name: &str) -> bool {
        ["table", "time_unit"].contains(&name) || Part::ALL.iter().any(|part| part.as_str() == name)
    }

    /// Takes a parameter: `id=trade_id`. Of `id` there may be several, one parameter each or with commas between.
    ///
    /// # Errors
    /// When it is none.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("`{name}` is empty; name a column, or write `{name}={NOTHING}` where there is none"));
        }
        if name == "table" {
            self.table = Some(value.to_owned());
            return Ok(());
        }
        if name == "time_unit" {
            let unit = serde_json::from_value(serde_json::Value::String(value.to_owned()));
            self.time_unit =
                Some(unit.map_err(|_| format!("`{value}` is no time unit; write s, ms, us, ns, rfc3339 or hex_s"))?);
            return Ok(());
        }
        let Some(part) = Part::ALL.into_iter().find(|part| part.as_str() == name) else {
            let known: Vec<&str> = Part::ALL.iter().map(|part| part.as_str()).chain(["table", "time_unit"]).collect();
            return Err(format!("`{name}` is no part of a mapping{}", suggestion(name, known)));
        };
        let columns = self.named.entry(part).or_default();
        match (value, part) {
            (NOTHING, _) => columns.clear(),
            (many, Part::Id) => columns.extend(many.split(',').map(str::to_owned)),
            (one, _) => *columns = vec![one.to_owned()],
        }
        if columns.iter().any(String::is_empty) {
            return Err(format!("`{name}={value}` has an empty name in it"));
        }
        Ok(())
    }

    /// The table, if one was named.
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// What numbers in the column of times count, if that was said.
    pub fn time_unit(&self) -> Option<TimeUnit> {
        self.time_unit
    }

    /// Whether a person named it.
    pub fn names(&self, part: Part) -> bool {
        self.named.get(&part).is_some_and(|columns| !columns.is_empty())
    }

    /// What was said of a part: nothing, or the names of its columns, of which there may be none.
    pub fn said(&self, part: Part) -> Option<&[String]> {
        self.named.get(&part).map(Vec::as_slice)
    }

    /// Which of the columns that `what` has is which part. Parts that nobody named and that are not there are left out.
    ///
    /// # Errors
    /// When a named one is not there, or an id is needed and there is none.
    pub fn resolve(&self, what: &str, known: &[String], needs_id: bool) -> Result<Columns, String> {
        let names = || known.iter().map(String::as_str);
        let mut by_part = BTreeMap::new();
        for part in Part::ALL {
            let columns: Vec<usize> = match self.said(part) {
                Some(named) => {
                    let find = |name: &String| {
                        known.iter().position(|column| column == name).ok_or_else(|| {
                            format!(
                                "{what} has no column `{name}` for `{}`{}",
                                part.as_str(),
                                suggestion(name, names())
                            )
                        })
                    };
                    named.iter().map(find).collect::<Result<_, _>>()?
                }
                None => known.iter().position(|column| column == part.column()).into_iter().collect(),
            };
            if !columns.is_empty() {
                by_part.insert(part, columns);
            }
        }
        if needs_id && !by_part.contains_key(&Part::Id) {
            return Err(format!(
                "{what} has no column `id`; name the one that has ids by `id=COLUMN`, or join by payloads{}",
                suggestion("id", names())
            ));
        }
        Ok(Columns { by_part })
    }
}

/// Which column is which part, by their numbers among those of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    by_part: BTreeMap<Part, Vec<usize>>,
}

impl Columns {
    /// The columns of a part; several only of the id.
    pub fn of(&self, part: Part) -> &[usize] {
        self.by_part.get(&part).map_or(&[], Vec::as_slice)
    }

    /// The column of a part that has one.
    pub fn one(&self, part: Part) -> Option<usize> {
        self.of(part).first().copied()
    }

    /// Whether there is one.
    pub fn has(&self, part: Part) -> bool {
        self.by_part.contains_key(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(parameters: &[(&str, &str)]) -> Mapping {
        let mut mapping = Mapping::default();
        parameters.iter().for_each(|(name, value)| mapping.set(name, value).unwrap());
        mapping
    }

    fn known(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_have_the_names_of_our_own_sinks_where_nothing_is_said() {
        let columns = Mapping::default().resolve("table t", &known(&["received_time", "id", "x", "payload"]), true);
        let columns = columns.unwrap();
        assert_eq!((columns.of(Part::Id), columns.one(Part::Payload)), ([1].as_slice(), Some(3)));
        assert_eq!((columns.one(Part::Time), columns.one(Part::Key)), (Some(0), None));
    }

    #[test]
    fn an_id_may_be_of_several_columns_and_a_part_may_be_said_to_be_absent() {
        let known = known(&["pair", "trade_id", "key", "id"]);
        for parameters in
            [&[("id", "pair,trade_id"), ("key", "-")][..], &[("id", "pair"), ("id", "trade_id"), ("key", "-")]]
        {
            let columns = mapping(parameters).resolve("table t", &known, true).unwrap();
            assert_eq!((columns.of(Part::Id), columns.one(Part::Key)), ([0, 1].as_slice(), None));
        }
    }

    #[test]
    fn a_mistake_is_told_with_what_was_meant() {
        let known = known(&["trade_id", "pair", "stamp"]);
        let error = |parameters: &[(&str, &str)]| mapping(parameters).resolve("table t", &known, true).unwrap_err();
        let told = error(&[("id", "trade_ids")]);
        assert!(told.contains("table t has no column `trade_ids` for `id`; did you mean `trade_id`?"), "{told}");
        let told = error(&[]);
        assert!(told.contains("name the one that has ids") && told.contains("`trade_id`"), "{told}");
        assert!(mapping(&[]).resolve("table t", &known, false).is_ok());
        let refused = |name, value| Mapping::default().set(name, value).unwrap_err();
        assert!(refused("tabel", "x").contains("did you mean `table`?"));
        assert!(refused("time_unit", "sec").contains("hex_s"));
        assert!(refused("id", "").contains("`id=-`") && refused("id", "a,").contains("empty name"));
    }
}
