//! The journal against what others wrote, and the smart path against the legacy one.

use tokio::runtime::{self, Runtime};

use super::target::{Place, Table};
use super::{Args, usage};
use crate::cli::monitors_compare::compare_and_report;
use crate::cli::reporting::{compare_error, journal_of, source_error, unreadable};
use crate::cli::{CliError, Context, Exit};
use crate::recovery::compare::mapping::Part;
use crate::recovery::compare::source::{
    Ids, JournalSource, LinesSource, PostgresSource, Request, Selection, SqliteSource, StoreSource,
};
use crate::recovery::compare::{AgainstStore, Counted, Join, PayloadForm, SourceError, Span, Spans, Terms, compare};
use crate::rollout::shadow::PathsRequest;

impl Args {
    /// The legacy path against the smart one.
    pub(super) fn paths(self, context: &Context) -> Result<Exit, CliError> {
        if self.path.is_some() {
            return Err(usage("`--against legacy` is about both paths; leave `--path` out"));
        }
        let request = PathsRequest {
            monitors: self.monitor,
            domains: self.domain,
            topics: self.topic,
            span: Span { since: self.since, until: self.until },
            tolerance: self.comparing.tolerance,
            join: self.comparing.join(),
            payload: self.comparing.payload().unwrap_or_default(),
            ids_by_topic: std::collections::HashSet::new(),
        };
        compare_and_report(context, request, &self.comparing, &self.report)
    }

    /// A table of somebody else's.
    pub(super) fn table(self, context: &Context, table: Table) -> Result<Exit, CliError> {
        let room = self.comparing.room(context)?;
        let reader = journal_of(context)?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| CliError::new(Exit::No, "threads cannot be started", error))?;
        let selection = Selection {
            monitors: self.monitor.clone(),
            domains: self.domain.clone(),
            topics: self.topic.clone(),
            path: self.path,
        };
        let mut store = self.open(&runtime, table, selection.clone())?;
        let span = Span { since: self.since, until: self.until };
        let terms = self.terms(&*store, span)?;
        let read = if span.is_open() { span } else { span.widened(self.comparing.tolerance) };
        let mut journal = JournalSource::new(reader, "the journal", selection, read, Ids::All).map_err(unreadable)?;
        let mut shown = self.comparing.shown();
        let compared = compare(&mut journal, &mut *store, &terms, &room, &mut |progress| shown.look(progress));
        shown.end();
        let mut compared = compared.map_err(compare_error)?;
        if !store.has(Part::Time) {
            // That is no fault of its records.
            compared.untimed = 0;
        }
        if compared.total.left == 0 && compared.total.right == 0 {
            let words = "neither the journal nor the store has anything of what was asked for; nothing was compared";
            return Err(usage(words));
        }
        let against = AgainstStore::new(&store.name(), store.place_name(), (&terms, span), &compared);
        self.report.give(&against.report(), &against)?;
        Ok(if against.equal { Exit::Done } else { Exit::No })
    }

    fn open<'a>(
        &self,
        runtime: &'a Runtime,
        table: Table,
        selection: Selection,
    ) -> Result<Box<dyn StoreSource + 'a>, CliError> {
        let form = self.comparing.payload();
        let request = Request {
            mapping: table.mapping,
            selection,
            needs_id: self.comparing.join() == Join::Id,
            needs_payload: form != Some(PayloadForm::Ignored) || self.comparing.join() == Join::Payload,
        };
        let store: Result<Box<dyn StoreSource + 'a>, SourceError> =
            match table.place {
                Place::Sqlite(path) => SqliteSource::open(&path, request).map(|store| Box::new(store) as _),
                Place::Lines(path) => LinesSource::open(&path, form.unwrap_or(PayloadForm::Json), request)
                    .map(|store| Box::new(store) as _),
                Place::Postgres(url) => PostgresSource::open(runtime, &url, self.ca_file.as_deref(), request)
                    .map(|store| Box::new(store) as _),
            };
        store.map_err(source_error)
    }

    fn terms(&self, store: &dyn StoreSource, span: Span) -> Result<Terms, CliError> {
        let has = |part: Part| store.has(part);
        let join = self.comparing.join();
        let asked = self.comparing.payload();
        if !has(Part::Payload) && (join == Join::Payload || asked.is_some_and(PayloadForm::is_compared)) {
            return Err(usage(&format!("{} has no payload; name its column by `payload=COLUMN`", store.name())));
        }
        if !has(Part::Time) && !span.is_open() {
            return Err(usage(&format!(
                "{} has no time, and so no span of it can be told; name its column by `time=COLUMN`",
                store.name()
            )));
        }
        let payload = if has(Part::Payload) { asked.unwrap_or(store.payload_form()) } else { PayloadForm::Ignored };
        let counted = if span.is_open() { Counted::default() } else { Counted::within(span, self.comparing.tolerance) };
        Ok(Terms {
            join,
            by_monitor: has(Part::Monitor),
            by_key: has(Part::Key),
            payload,
            spans: Spans::Same(counted),
            ..Terms::default()
        })
    }
}
