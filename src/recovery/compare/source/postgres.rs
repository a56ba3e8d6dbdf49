//! Rows of a table in PostgreSQL as records.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use tokio::runtime::Runtime;
use url::Url;

use super::time::Times;
use super::{Request, StoreSource, joined_id};
use crate::config::TimeUnit;
use crate::journal::payload_of_text;
use crate::recovery::compare::mapping::{Columns, Part};
use crate::recovery::compare::payload::PayloadForm;
use crate::recovery::compare::record::{Record, Source, SourceError};
use crate::sink::postgres::{ForeignError, ForeignField, ForeignTable, ForeignTime, ForeignValue};

/// A table, read by one `COPY` within one snapshot: no more than a few rows are in memory.
#[derive(Debug)]
pub struct PostgresSource<'a> {
    runtime: &'a Runtime,
    table: ForeignTable,
    name: String,
    request: Request,
    columns: Columns,
    time_column: String,
    unit: Option<TimeUnit>,
}

impl From<ForeignError> for SourceError {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Named(text) => Self::Mapping(text),
            ForeignError::Unreachable(text) => Self::Unreachable(text),
        }
    }
}

impl<'a> PostgresSource<'a> {
    /// Connects, and sees to the table and its columns. The address's secrets are in no error.
    ///
    /// # Errors
    /// When the server cannot be reached, or there is no such table or column.
    pub fn open(
        runtime: &'a Runtime,
        url: &Url,
        ca_file: Option<&Path>,
        request: Request,
    ) -> Result<Self, SourceError> {
        let Some(table) = request.mapping.table() else {
            return Err(SourceError::Mapping("name the table: postgres:URL?table=NAME".into()));
        };
        let table = runtime.block_on(ForeignTable::open(url, ca_file, table))?;
        let known: Vec<String> = table.columns().iter().map(|(name, _)| name.clone()).collect();
        let columns =
            request.mapping.resolve(&table.shown(), &known, request.needs_id).map_err(SourceError::Mapping)?;
        Ok(Self {
            runtime,
            name: table.shown(),
            time_column: columns.one(Part::Time).map(|column| known[column].clone()).unwrap_or_default(),
            unit: request.mapping.time_unit(),
            table,
            request,
            columns,
        })
    }
}

impl StoreSource for PostgresSource<'_> {
    fn has(&self, part: Part) -> bool {
        self.columns.has(part)
    }

    /// A server that takes payloads apart gives them back otherwise than they came.
    fn payload_form(&self) -> PayloadForm {
        match self.columns.one(Part::Payload).map(|column| self.table.columns()[column].1.as_str()) {
            Some("jsonb" | "json") => PayloadForm::Json,
            _ => PayloadForm::Bytes,
        }
    }
}

/// In which order the parts of a row come.
struct Order {
    ids: usize,
    texts: Vec<Part>,
    time: bool,
    payload: bool,
}

impl Source for PostgresSource<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place_name(&self) -> &'static str {
        "row"
    }

    fn total(&self) -> Option<u64> {
        self.table.rows_estimated()
    }

    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let ids = self.columns.of(Part::Id);
        let texts = [Part::Key, Part::Monitor, Part::Domain, Part::Topic, Part::Path];
        let order = Order {
            ids: ids.len(),
            texts: texts.into_iter().filter(|part| self.columns.has(*part)).collect(),
            time: self.columns.has(Part::Time),
            payload: self.request.needs_payload && self.columns.has(Part::Payload),
        };
        let mut fields: Vec<ForeignField> = ids.iter().map(|column| ForeignField::Text(*column)).collect();
        fields.extend(order.texts.iter().filter_map(|part| self.columns.one(*part)).map(ForeignField::Text));
        fields.extend(self.columns.one(Part::Time).map(ForeignField::Time));
        fields.extend(self.columns.one(Part::Payload).filter(|_| order.payload).map(ForeignField::Payload));

        let (mut place, mut id, mut problem) = (0, String::new(), false);
        let (selection, mut times) = (&self.request.selection, Times::new(&self.time_column, self.unit));
        let mut give = |row: &[ForeignValue<'_>]| {
            place += 1;
            let text = |part: Part| {
                let at = order.texts.iter().position(|there| *there == part)?;
                row[order.ids + at].text()
            };
            let (key, monitor, topic) = (text(Part::Key), text(Part::Monitor), text(Part::Topic));
            if !selection.takes(monitor, text(Part::Domain), topic, text(Part::Path)) {
                return ControlFlow::Continue(());
            }
            let behind = order.ids + order.texts.len();
            let time = match row.get(behind).filter(|_| order.time).and_then(ForeignValue::time) {
                Some(ForeignTime::Moment(time)) => {
                    times.is_known();
                    Some(time)
                }
                Some(ForeignTime::Text { text, is_number }) => {
                    let Ok(time) = times.read(text, is_number) else {
                        problem = true;
                        return ControlFlow::Break(());
                    };
                    time
                }
                None => None,
            };
            let raw = row.get(behind + usize::from(order.time)).filter(|_| order.payload).and_then(ForeignValue::bytes);
            // What was no text when it came is what it was again.
            let unmarked = raw.and_then(payload_of_text);
            let has_id = joined_id(row[..order.ids].iter().map(ForeignValue::text), &mut id);
            take(&Record {
                place,
                done: place,
                monitor,
                topic,
                key,
                id: has_id.then_some(id.as_str()),
                time,
                payload: unmarked.as_deref().or(raw),
                repeats_dropped: has_id,
            })
        };
        self.runtime.block_on(self.table.read(&fields, &mut give))?;
        if problem {
            return Err(times.no_unit(&self.name));
        }
        if only.is_none() { times.check(&self.name) } else { Ok(()) }
    }

    fn notes(&self) -> Vec<String> {
        self.request.selection.blind_note(&self.columns).into_iter().collect()
    }
}
