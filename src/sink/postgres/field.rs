//! Declared fields: columns beside the payload, filled from it.
//!
//! A field that is absent, `null`, or of no value of the column's type is `NULL`: the payload beside it has it as it came, so
//! that no event is lost over a column.

use std::collections::{BTreeMap, HashMap};

use super::super::store::StoreError;
use super::numeric::put_numeric;
use super::table::{EVENT_COLUMNS, name_problem};
use crate::config::{FieldType, Settings, SinkSettings};
use crate::journal::{Event, OWN_DOMAIN};
use crate::scanner::{Fields, Pointer, PointerSet, Token, TokenKind, Utf8};

/// The server's limit is 1,600 columns, of which each event has some.
const FIELDS_MAX: usize = 1_600 - EVENT_COLUMNS.len();

/// A column of declared fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldColumn {
    pub(super) name: String,
    kind: FieldType,
}

impl FieldColumn {
    /// As the server calls its type.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            FieldType::Text => "text",
            FieldType::Numeric => "numeric",
            FieldType::Bigint => "bigint",
            FieldType::Double => "double precision",
            FieldType::Boolean => "boolean",
        }
    }
}

/// The columns of all monitors that a sink takes, and where each monitor's payloads have them.
#[derive(Debug)]
pub(super) struct DeclaredFields {
    columns: Vec<FieldColumn>,
    monitors: HashMap<String, MonitorFields>,
    found: Fields,
    misfits: Misfits,
}

#[derive(Debug)]
struct MonitorFields {
    domain: String,
    pointers: PointerSet,
    /// For each column, the slot of its pointer.
    slots: Vec<Option<usize>>,
}

/// Values that were of another type than their column.
#[derive(Debug, Default)]
struct Misfits {
    /// By column. Told once, for a feed that changed changes every event.
    told: Vec<bool>,
}

impl DeclaredFields {
    /// Of the monitors that the sink takes.
    ///
    /// # Errors
    /// When two monitors disagree on a column's type, or a name cannot be a column's.
    pub(super) fn of(sink: &SinkSettings, settings: &Settings) -> Result<Self, StoreError> {
        let taken = settings.monitors.iter().filter(|(name, monitor)| {
            (sink.monitors.is_empty() || sink.monitors.contains(name))
                && (sink.domains.is_empty() || sink.domains.contains(&monitor.domain))
        });
        let mut kinds = BTreeMap::<&str, (FieldType, &str)>::new();
        for (monitor, name, field) in
            taken.clone().flat_map(|(monitor, at)| at.fields.iter().map(move |(name, field)| (monitor, name, field)))
        {
            let refuse = |problem: String| {
                Err(StoreError::Stop(format!("`monitors.{monitor}.fields.{}` {problem}", name.escape_default())))
            };
            if let Some(problem) = name_problem(name) {
                return refuse(problem.into());
            }
            if EVENT_COLUMNS.iter().any(|(own, ..)| own == name) {
                return refuse("has the name of a column that every event has; choose another".into());
            }
            let (kind, first) = *kinds.entry(name).or_insert((field.kind, monitor));
            if kind != field.kind {
                return refuse(format!(
                    "has another type than `monitors.{first}.fields.{name}`; one column has one type: rename one of them"
                ));
            }
        }
        if kinds.len() > FIELDS_MAX {
            return Err(StoreError::Stop(format!(
                "the sink's monitors declare {} fields; a table holds {FIELDS_MAX} beside the columns that every event has",
                kinds.len()
            )));
        }
        let columns: Vec<_> =
            kinds.into_iter().map(|(name, (kind, _))| FieldColumn { name: name.to_owned(), kind }).collect();

        let mut monitors = HashMap::new();
        for (name, monitor) in taken.filter(|(_, monitor)| !monitor.fields.is_empty()) {
            let mut pointers = Vec::new();
            let mut slots = vec![None; columns.len()];
            for (slot, column) in slots.iter_mut().zip(&columns) {
                let Some(field) = monitor.fields.get(&column.name) else { continue };
                *slot = Some(pointers.len());
                pointers.push(Pointer::parse(&field.pointer).map_err(|error| {
                    StoreError::Stop(format!("`monitors.{name}.fields.{}.pointer`: {error}", column.name))
                })?);
            }
            let (domain, pointers) = (monitor.domain.clone(), PointerSet::new(&pointers));
            monitors.insert(name.clone(), MonitorFields { domain, pointers, slots });
        }
        let misfits = Misfits { told: vec![false; columns.len()] };
        Ok(Self { columns, monitors, found: Fields::default(), misfits })
    }

    /// In the order in which [`DeclaredFields::put`] fills them.
    pub(super) fn columns(&self) -> &[FieldColumn] {
        &self.columns
    }

    /// Appends the fields of an event, each with its length before it.
    pub(super) fn put(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.columns.is_empty() {
            return;
        }
        let monitor = self.monitors.get(event.monitor).filter(|at| at.domain == event.domain);
        // Payloads that are no JSON have no fields; the daemon's own have none declared.
        let scanned = monitor.filter(|at| {
            event.domain != OWN_DOMAIN && at.pointers.scan(event.payload, Utf8::Unchecked, &mut self.found).is_ok()
        });
        for (number, column) in self.columns.iter().enumerate() {
            let span = scanned.and_then(|at| at.slots[number]).and_then(|slot| self.found.get(slot));
            let token = span.map(|span| span.token(event.payload)).filter(|token| !token.is_null());
            if !put_sized(out, |out| token.is_some_and(|token| put_value(column.kind, token, out))) && token.is_some() {
                self.misfits.tell(number, column, event);
            }
        }
    }
}

impl Misfits {
    fn tell(&mut self, number: usize, column: &FieldColumn, event: &Event<'_>) {
        if !std::mem::replace(&mut self.told[number], true) {
            tracing::warn!(
                column = column.name,
                kind = column.kind_name(),
                monitor = event.monitor,
                offset = event.offset.0,
                "a field's value is not of its column's type: the column is NULL here, and wherever it is so again; the \
                 payload has the value. Mend `type` or `pointer` under `fields`, and the column"
            );
        }
    }
}

/// Appends a value with its length before it, or `NULL` where `put` says that there is none.
pub(super) fn put_sized(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    let there = put(out);
    if there {
        let len =
            i32::try_from(out.len() - start - 4).expect("a value is not longer than its message, which is bounded");
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    } else {
        out.truncate(start + 4);
    }
    there
}

/// Appends a token as a value of a type, in the server's binary form; false where it is none.
fn put_value(kind: FieldType, token: Token<'_>, out: &mut Vec<u8>) -> bool {
    match kind {
        FieldType::Text => {
            let text = token.text();
            // No text of the server holds it.
            let fits = !text.contains('\0');
            if fits {
                out.extend_from_slice(text.as_bytes());
            }
            fits
        }
        FieldType::Boolean => {
            let fits = token.kind() == TokenKind::Bool;
            if fits {
                out.push(u8::from(token.raw() == b"true"));
            }
            fits
        }
        FieldType::Numeric => number(token).is_some_and(|text| put_numeric(text.as_bytes(), out)),
        FieldType::Bigint => match number(token).and_then(|text| text.parse::<i64>().ok()) {
            Some(value) => {
                out.extend_from_slice(&value.to_be_bytes());
                true
            }
            None => false,
        },
        FieldType::Double => {
            let number = number(token).filter(|text| text.bytes().any(|byte| byte.is_ascii_digit()));
            match number.and_then(|text| text.parse::<f64>().ok()).filter(|value| value.is_finite()) {
                Some(value) => {
                    out.extend_from_slice(&value.to_be_bytes());
                    true
                }
                None => false,
            }
        }
    }
}

/// The text of a number, also where it is a string.
fn number(token: Token<'_>) -> Option<std::borrow::Cow<'_, str>> {
    matches!(token.kind(), TokenKind::Number | TokenKind::String).then(|| token.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: FieldType, token: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let there = put_sized(&mut out, |out| put_value(kind, Token::new(token.as_bytes()), out));
        assert_eq!(
            i32::from_be_bytes(out[..4].try_into().unwrap()),
            if there { i32::try_from(out.len()).unwrap() - 4 } else { -1 }
        );
        there.then(|| out.split_off(4))
    }

    #[test]
    fn a_value_that_is_not_of_its_type_is_null() {
        assert_eq!(value(FieldType::Text, r#""a\u00e9""#), Some("aé".into()));
        assert_eq!(value(FieldType::Text, "1.50"), Some("1.50".into()));
        assert_eq!(value(FieldType::Text, r#"{"a":1}"#), Some(r#"{"a":1}"#.into()));
        assert_eq!(value(FieldType::Text, r#""a\u0000""#), None);
        assert_eq!(value(FieldType::Boolean, "true"), Some(vec![1]));
        assert_eq!(value(FieldType::Boolean, "false"), Some(vec![0]));
        assert_eq!(value(FieldType::Boolean, r#""true""#), None);
        assert_eq!(value(FieldType::Boolean, "1"), None);
        assert_eq!(value(FieldType::Bigint, "-7"), Some((-7_i64).to_be_bytes().into()));
        assert_eq!(value(FieldType::Bigint, r#""9223372036854775807""#), Some(i64::MAX.to_be_bytes().into()));
        assert_eq!(value(FieldType::Bigint, "9223372036854775808"), None);
        assert_eq!(value(FieldType::Bigint, "1.0"), None);
        assert_eq!(value(FieldType::Double, r#""1.5""#), Some(1.5_f64.to_be_bytes().into()));
        assert_eq!(value(FieldType::Double, "1e400"), None);
        assert_eq!(value(FieldType::Double, r#""infinity""#), None);
        assert_eq!(value(FieldType::Double, r#""nan""#), None);
        assert_eq!(value(FieldType::Double, "[1]"), None);
        assert_eq!(value(FieldType::Numeric, "true"), None);
    }
}
