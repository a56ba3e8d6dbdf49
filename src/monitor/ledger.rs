//! The gap ledger as it stands now: which topics are in force for whom, and which are not, since when and why.
//!
//! There is one for the daemon. Links and keepers tell it what they find; it answers with what has to get into the journal,
//! because whoever asks has a way there that loses nothing: a link its batcher, everybody else [`GapLedger::later`]. Every
//! call is a short lock around tables; nothing waits.
//!
//! | moment                                      | call                                             |
//! |---------------------------------------------|--------------------------------------------------|
//! | acknowledged, or data came                  | [`GapLedger::covered`]                           |
//! | a link with the topic was lost, and so on   | [`GapLedger::lost`]                              |
//! | one monitor was stopped, put to rest        | [`GapLedger::monitor_lost`]                      |
//! | it is wanted again                          | [`GapLedger::awake`], or [`GapLedger::monitor_covered`] where its topic is in force already |
//! | it was deleted, or gave up a topic          | [`GapLedger::unwatch`]                           |
//! | a roster's next generation                  | [`GapLedger::adopted`]                           |
//! | a monitor leaves a path for the other one   | [`GapLedger::left`]                              |
//! | a sequence leaps                            | [`GapLedger::missed`]                            |
//! | the daemon stops, or finds that it had      | [`GapLedger::down`]                              |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::gap::{
    AmendedRecord, CoverageRecord, Filled, GapCause, GapOpenRecord, GapRecord, LedgerRecord, UnwatchedRecord,
    WatchedRecord,
};
use super::roster::{Monitor, Pause, Roster};
use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::journal::Path;

/// The live ledger.
#[derive(Debug, Default)]
pub struct GapLedger {
    state: Mutex<State>,
}

/// Where an upstream was asked to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumedFrom {
    /// As the dialect told the upstream.
    pub point: String,
    /// Whatever was missed since this moment comes again.
    pub oldest: UnixNanos,
}

/// A leap of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// When the last event before it was received.
    pub start: UnixNanos,
    /// When the first event behind it was.
    pub end: UnixNanos,
    /// How many are between, where it counts messages; 0 where a break of another kind turns out to have cost nothing.
    pub missing: Option<u64>,
}

/// A gap that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGap {
    /// Its number in the journal.
    pub id: u64,
    /// Whose.
    pub monitor: Arc<str>,
    /// From where.
    pub upstream: Arc<str>,
    /// Which topic.
    pub topic: Arc<str>,
    /// When it was lost.
    pub start: UnixNanos,
    /// Why.
    pub cause: GapCause,
}

/// A topic of a monitor as the ledger stands: what a snapshot holds, and what is read back at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingTopic {
    /// Whose.
    pub monitor: Arc<str>,
    /// From where.
    pub upstream: Arc<str>,
    /// Which.
    pub topic: Arc<str>,
    /// Since when it is watched.
    pub since: UnixNanos,
    /// What is open: number, start, cause. More than one only where an end did not become durable before a crash.
    pub open: Vec<(u64, UnixNanos, GapCause)>,
}

/// The whole ledger as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// No gap has this number or a higher one.
    pub next_id: u64,
    /// Every topic of every monitor.
    pub topics: Vec<StandingTopic>,
}

/// Figures of an upstream's gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GapFigures {
    /// Gaps that go on.
    pub open: usize,
    /// Of these, how many nobody has chosen, by cause.
    pub unwanted: BTreeMap<GapCause, usize>,
    /// Time in gaps that ended since the start of the process, by cause.
    pub closed: BTreeMap<GapCause, Duration>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    subjects: BTreeMap<Subject, Vec<Entry>>,
    /// Names, so that entries share them.
    upstreams: BTreeSet<Arc<str>>,
    closed: BTreeMap<(Arc<str>, GapCause), Duration>,
    outbox: Vec<LedgerRecord>,
    stopping: bool,
    /// Another process goes on with what is in force.
    handing_over: bool,
    taken_over: Option<TakenOver>,
}

/// What was missed when this process took over from another, or started.
#[derive(Debug)]
struct TakenOver {
    /// Numbers of the gaps.
    numbers: Range<u64>,
    /// The longest of those that ended, by upstream.
    longest: BTreeMap<Arc<str>, Duration>,
}

/// What of an upstream was missed when this process took over from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandOverSpan {
    /// Topics that are not in force again.
    pub open: usize,
    /// The longest that one was not, of those that are.
    pub longest: Duration,
}

/// What redundant upstreams bring the same of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    monitor: Arc<str>,
    topic: Arc<str>,
}

/// A subject as one upstream brings it.
#[derive(Debug)]
struct Entry {
    upstream: Arc<str>,
    watched: UnixNanos,
    /// Nothing was missed from here on, or up to where something is open: the first coverage, or the end of the last gap.
    covered: UnixNanos,
    open: Vec<Open>,
    last: Option<Closed>,
    /// An operator does not want it: data that still comes does not end its gap.
    resting: bool,
    lanes: Lanes,
}

/// Since when a subject is in force on each path. Both only while it changes paths, or one is lost and not yet let go.
#[derive(Debug, Clone, Copy, Default)]
struct Lanes {
    smart: Option<UnixNanos>,
    legacy: Option<UnixNanos>,
}

impl Lanes {
    fn of(&mut self, path: Path) -> &mut Option<UnixNanos> {
        match path {
            Path::Smart => &mut self.smart,
            Path::Legacy => &mut self.legacy,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Open {
    id: u64,
    start: UnixNanos,
    cause: GapCause,
}

/// The last gap that ended: more may become known of it.
#[derive(Debug, Clone, Copy)]
struct Closed {
    id: u64,
    start: UnixNanos,
    end: UnixNanos,
    by_other_upstream: bool,
    /// It was filled in one way or another.
    filled: bool,
    /// How many messages it missed, as far as a sequence has told.
    missing: Option<u64>,
}

impl GapLedger {
    /// As the journal has it.
    pub fn of(standing: Standing) -> Self {
        let mut state = State { next_id: standing.next_id, ..State::default() };
        for StandingTopic { monitor, upstream, topic, since, open } in standing.topics {
            let upstream = state.upstream(&upstream);
            let open: Vec<Open> = open.into_iter().map(|(id, start, cause)| Open { id, start, cause }).collect();
            let resting = open.iter().any(|gap| gap.cause.is_chosen());
            let entry =
                Entry { upstream, watched: since, covered: since, open, last: None, resting, lanes: Lanes::default() };
            state.subjects.entry(Subject { monitor, topic }).or_default().push(entry);
        }
        Self { state: Mutex::new(state) }
    }

    /// Topics are in force for all who want them: they were acknowledged, or their data came. Of a link that was taken up again,
    /// where. Gaps of monitors that an operator has put to rest go on.
    #[must_use = "it must get into the journal"]
    pub fn covered(
        &self,
        roster: &Roster,
        topics: impl IntoIterator<Item = TopicId>,
        at: UnixNanos,
        resumed: Option<&ResumedFrom>,
    ) -> Vec<LedgerRecord> {
        self.lock().cover(&roster.upstream, Some(roster.path), wanted(roster, topics), at, resumed, false)
    }

    /// As [`GapLedger::covered`], for one monitor alone, which is awake from then on: its topic is in force for others already.
    #[must_use = "it must get into the journal"]
    pub fn monitor_covered<'a>(
        &self,
        upstream: &str,
        monitor: &Arc<str>,
        topics: impl IntoIterator<Item = &'a Arc<str>>,
        at: UnixNanos,
    ) -> Vec<LedgerRecord> {
        self.lock().cover(upstream, None, of_one(monitor, topics), at, None, true)
    }

    /// Topics are no longer in force for anybody, or could not be got so. Of one that is lost already, that gap goes on.
    /// `start` is the last moment at which nothing of them can have been missed.
    #[must_use = "it must get into the journal"]
    pub fn lost(
        &self,
        roster: &Roster,
        topics: impl IntoIterator<Item = TopicId>,
        start: UnixNanos,
        cause: GapCause,
    ) -> Vec<LedgerRecord> {
        self.lock().lose(&roster.upstream, Some(roster.path), wanted(roster, topics), |_| start, cause)
    }

    /// As [`GapLedger::lost`], for one monitor alone. With a cause that an operator chose it stays so until it is
    /// [awake](GapLedger::awake).
    #[must_use = "it must get into the journal"]
    pub fn monitor_lost<'a>(
        &self,
        upstream: &str,
        monitor: &Arc<str>,
        topics: impl IntoIterator<Item = &'a Arc<str>>,
        start: UnixNanos,
        cause: GapCause,
    ) -> Vec<LedgerRecord> {
        self.lock().lose(upstream, None, of_one(monitor, topics), |_| start, cause)
    }

    /// A monitor is wanted again: its gaps end when its topics are in force.
    pub fn awake(&self, upstream: &str, monitor: &str) {
        let mut state = self.lock();
        for (_, entries) in state.subjects.iter_mut().filter(|(subject, _)| *subject.monitor == *monitor) {
            for entry in entries.iter_mut().filter(|entry| *entry.upstream == *upstream) {
                entry.resting = false;
            }
        }
    }

    /// Topics of monitors that change upstreams: what is watched over one that is not wanted any more, and wanted over another, is
    /// missed from now on until it is in force there. To be asked before [`GapLedger::unwatch`], with the names of all upstreams.
    #[must_use = "it must get into the journal"]
    pub fn moved<'a>(
        &self,
        wanted: impl Fn(&str, &str, &str) -> bool,
        upstreams: impl Iterator<Item = &'a str>,
        at: UnixNanos,
    ) -> Vec<LedgerRecord> {
        let mut state = self.lock();
        let mut records = Vec::new();
        for upstream in upstreams {
            for (subject, cause) in state.move_to(upstream, &wanted, at) {
                records.extend(state.lose(upstream, None, std::iter::once(subject), |_| at, cause));
            }
        }
        records
    }

    /// Topics that `wanted` does not know are not watched any more: what is open of them ends here.
    #[must_use = "it must get into the journal"]
    pub fn unwatch(&self, wanted: impl Fn(&str, &str, &str) -> bool, at: UnixNanos) -> Vec<LedgerRecord> {
        self.lock().unwatch(wanted, at)
    }

    /// A sequence leaps: a span that ended as it was found. Where a gap that is over lies in it, the count belongs to that one.
    #[must_use = "it must get into the journal"]
    pub fn missed(&self, upstream: &str, monitor: &Arc<str>, topic: &Arc<str>, missed: Missed) -> Vec<LedgerRecord> {
        self.lock().miss(upstream, monitor, topic, missed)
    }

    /// A gap that is over was filled after all. The record is the whole of it: the ledger keeps open gaps only.
    #[must_use = "it must get into the journal"]
    pub fn late(&self, id: u64, upstream: &str, monitor: &str, topic: &str, filled: Filled) -> LedgerRecord {
        LedgerRecord::Coverage(CoverageRecord::Amended(AmendedRecord {
            id,
            monitor: monitor.to_owned(),
            upstream: upstream.to_owned(),
            topic: topic.to_owned(),
            missing: None,
            filled: Some(filled),
            unfilled: false,
            ..AmendedRecord::default()
        }))
    }

    /// The daemon stops: what a link lets go from now on is lost to downtime.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// The daemon hands over to another process: what its links let go from now on that one goes on with, or misses on its own
    /// account.
    pub fn handing_over(&self) {
        self.lock().handing_over = true;
    }

    /// An upstream's roster has another generation: monitors that pause in it are lost at this moment, those that do no longer are
    /// awake. Their gaps end with [`GapLedger::covered`] of what is in force for them.
    #[must_use = "it must get into the journal"]
    pub fn adopted(&self, before: &Roster, after: &Roster, at: UnixNanos) -> Vec<LedgerRecord> {
        let mut records = Vec::new();
        for (index, monitor) in (0..).zip(&before.monitors).filter(|(_, monitor)| !monitor.shadow) {
            let name = &monitor.identity.name;
            let same = |other: &&Monitor| !other.shadow && other.identity.name == *name;
            let paused = after.monitors.iter().find(same).and_then(|other| other.pause);
            if let (None, Some(pause)) = (monitor.pause, paused) {
                let cause = match pause {
                    Pause::Resting => GapCause::Rest,
                    Pause::Stopped => GapCause::Stopped,
                };
                let topics = before.routes.iter().filter(|route| route.monitor == index);
                let topics = topics.map(|route| before.topic_name(route.topic));
                records.extend(self.monitor_lost(&before.upstream, name, topics, at, cause));
            }
        }
        for monitor in after.monitors.iter().filter(|monitor| monitor.pause.is_none() && !monitor.shadow) {
            self.awake(&after.upstream, &monitor.identity.name);
        }
        records
    }

    /// A path goes on without monitors that are not in its roster's next generation. Of topics that are in force here and not on the
    /// other path, a gap begins that ends when they are. `start` is the last moment at which nothing of them can have been missed.
    #[must_use = "it must get into the journal"]
    pub fn left(
        &self,
        before: &Roster,
        after: &Roster,
        topics: impl IntoIterator<Item = TopicId>,
        start: UnixNanos,
    ) -> Vec<LedgerRecord> {
        let stays = |monitor: &Monitor| {
            after.monitors.iter().any(|other| !other.shadow && other.identity.name == monitor.identity.name)
        };
        let gone = wanted_by(before, topics, |monitor| !stays(monitor));
        self.lock().lose(&before.upstream, Some(before.path), gone, |_| start, GapCause::Handover)
    }

    /// The other path has a monitor, and everything that this one has not brought: nothing is missed when it goes from here.
    pub fn handed_over(&self, (upstream, path): (&str, Path), monitor: &str) {
        let mut state = self.lock();
        for (_, entries) in state.subjects.iter_mut().filter(|(subject, _)| *subject.monitor == *monitor) {
            for entry in entries.iter_mut().filter(|entry| *entry.upstream == *upstream) {
                *entry.lanes.of(path) = None;
            }
        }
    }

    /// A path goes on without a topic of a monitor, and may not have brought what came before the other one was up.
    #[must_use = "it must get into the journal"]
    pub fn unproven(
        &self,
        (upstream, path): (&str, Path),
        monitor: &Arc<str>,
        topics: &[Arc<str>],
        start: UnixNanos,
    ) -> Vec<LedgerRecord> {
        self.lock().lose(upstream, Some(path), of_one(monitor, topics), |_| start, GapCause::Handover)
    }

    /// Whether a topic of a monitor is in force on a path of an upstream.
    pub fn is_in_force(&self, (upstream, path): (&str, Path), monitor: &str, topic: &str) -> bool {
        let mut state = self.lock();
        let subject = Subject { monitor: monitor.into(), topic: topic.into() };
        let entries = state.subjects.get_mut(&subject);
        let entry = entries.and_then(|entries| entries.iter_mut().find(|entry| *entry.upstream == *upstream));
        entry.is_some_and(|entry| entry.lanes.of(path).is_some())
    }

    /// Nothing is read any more: whatever is in force is lost to downtime, since what `start` says of an upstream's topic.
    #[must_use = "it must get into the journal"]
    pub fn down(&self, start: impl Fn(&str, &str) -> UnixNanos) -> Vec<LedgerRecord> {
        self.down_but(GapCause::Downtime, |upstream, _, topic| Some(start(upstream, topic)))
    }

    /// As [`GapLedger::down`], by this cause, and but for topics of which nothing was missed: those for which `start`, asked by
    /// upstream, monitor and topic, says none.
    #[must_use = "it must get into the journal"]
    pub fn down_but(
        &self,
        cause: GapCause,
        start: impl Fn(&str, &str, &str) -> Option<UnixNanos>,
    ) -> Vec<LedgerRecord> {
        let mut state = self.lock();
        let first = state.next_id;
        let mut in_force: BTreeMap<Arc<str>, Vec<Subject>> = BTreeMap::new();
        for (subject, entries) in &state.subjects {
            for entry in entries.iter().filter(|entry| entry.open.is_empty()) {
                in_force.entry(Arc::clone(&entry.upstream)).or_default().push(subject.clone());
            }
        }
        let lost = in_force.into_iter().map(|(upstream, subjects)| {
            let missed = |subject: &Subject| start(&upstream, &subject.monitor, &subject.topic);
            let mut by_start: BTreeMap<UnixNanos, Vec<Subject>> = BTreeMap::new();
            for subject in subjects {
                if let Some(start) = missed(&subject) {
                    by_start.entry(start).or_default().push(subject);
                }
            }
            let lose = |(start, subjects): (UnixNanos, Vec<Subject>)| {
                state.lose(&upstream, None, subjects.into_iter(), |_| start, cause)
            };
            by_start.into_iter().map(lose).collect::<Vec<_>>().concat()
        });
        let lost = lost.collect::<Vec<_>>().concat();
        state.taken_over = Some(TakenOver { numbers: first..state.next_id, longest: BTreeMap::new() });
        lost
    }

    /// What was missed of each upstream since [`GapLedger::down_but`] was called last.
    pub fn hand_over_spans(&self) -> BTreeMap<Arc<str>, HandOverSpan> {
        let state = self.lock();
        let Some(TakenOver { numbers, longest: ended }) = &state.taken_over else { return BTreeMap::new() };
        let mut spans: BTreeMap<Arc<str>, HandOverSpan> = BTreeMap::new();
        for (upstream, longest) in ended {
            spans.entry(Arc::clone(upstream)).or_default().longest = *longest;
        }
        for entry in state.subjects.values().flatten() {
            let open = entry.open.iter().filter(|gap| numbers.contains(&gap.id)).count();
            if open > 0 {
                spans.entry(Arc::clone(&entry.upstream)).or_default().open += open;
            }
        }
        spans
    }

    /// Leaves records with whoever journals the daemon's own events, for a caller that has no batcher. What waits there is not
    /// bounded by itself, so this is for what operators and keepers do, not for what feeds do.
    pub fn later(&self, records: Vec<LedgerRecord>) {
        self.lock().outbox.extend(records);
    }

    /// Whether anything that was left by [`GapLedger::later`] waits still.
    pub fn has_outbox(&self) -> bool {
        !self.lock().outbox.is_empty()
    }

    /// What was left by [`GapLedger::later`].
    pub fn take_outbox(&self) -> Vec<LedgerRecord> {
        std::mem::take(&mut self.lock().outbox)
    }

    /// Everything as it stands.
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        let topics = state.subjects.iter().flat_map(|(subject, entries)| {
            entries.iter().map(|entry| StandingTopic {
                monitor: Arc::clone(&subject.monitor),
                upstream: Arc::clone(&entry.upstream),
                topic: Arc::clone(&subject.topic),
                since: entry.watched,
                open: entry.open.iter().map(|gap| (gap.id, gap.start, gap.cause)).collect(),
            })
        });
        Standing { next_id: state.next_id, topics: topics.collect() }
    }

    /// Every gap that goes on, by monitor and topic.
    pub fn open(&self) -> Vec<OpenGap> {
        let state = self.lock();
        let mut open = Vec::new();
        for (subject, entries) in &state.subjects {
            for entry in entries {
                open.extend(entry.open.iter().map(|gap| OpenGap {
                    id: gap.id,
                    monitor: Arc::clone(&subject.monitor),
                    upstream: Arc::clone(&entry.upstream),
                    topic: Arc::clone(&subject.topic),
                    start: gap.start,
                    cause: gap.cause,
                }));
            }
        }
        open
    }

    /// Figures by upstream; of every one that was ever watched, so that a figure goes back to 0.
    pub fn figures(&self) -> BTreeMap<Arc<str>, GapFigures> {
        let state = self.lock();
        let mut figures: BTreeMap<Arc<str>, GapFigures> =
            state.upstreams.iter().map(|upstream| (Arc::clone(upstream), GapFigures::default())).collect();
        for entry in state.subjects.values().flatten() {
            let Some(gap) = entry.open.first() else { continue };
            let figures = figures.entry(Arc::clone(&entry.upstream)).or_default();
            figures.open += 1;
            if !gap.cause.is_chosen() {
                *figures.unwanted.entry(gap.cause).or_default() += 1;
            }
        }
        for ((upstream, cause), time) in &state.closed {
            figures.entry(Arc::clone(upstream)).or_default().closed.insert(*cause, *time);
        }
        figures
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Tables are whole between two steps: a panic elsewhere leaves at worst a gap open that is over.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Topics and who wants them, but for those who only compare.
fn wanted(roster: &Roster, topics: impl IntoIterator<Item = TopicId>) -> impl Iterator<Item = Subject> {
    wanted_by(roster, topics, |_| true)
}

fn wanted_by(
    roster: &Roster,
    topics: impl IntoIterator<Item = TopicId>,
    who: impl Fn(&Monitor) -> bool,
) -> impl Iterator<Item = Subject> {
    let subjects_of = move |topic: TopicId| {
        let monitors = roster.monitors_of(topic).filter(|monitor| !monitor.shadow && who(monitor));
        let subject = |monitor: &Monitor| Subject {
            monitor: Arc::clone(&monitor.identity.name),
            topic: Arc::clone(roster.topic_name(topic)),
        };
        monitors.map(subject).collect::<Vec<_>>()
    };
    topics.into_iter().flat_map(subjects_of)
}

fn of_one<'a, T>(monitor: &Arc<str>, topics: T) -> impl Iterator<Item = Subject> + use<'a, T>
where
    T: IntoIterator<Item = &'a Arc<str>>,
{
    let monitor = Arc::clone(monitor);
    topics.into_iter().map(move |topic| Subject { monitor: Arc::clone(&monitor), topic: Arc::clone(topic) })
}

fn names(topics: &[Arc<str>]) -> Vec<String> {
    topics.iter().map(ToString::to_string).collect()
}

/// Upstream, monitor, and until when its topics were watched.
type GivenUp = (Arc<str>, Arc<str>, UnixNanos);

impl State {
    fn upstream(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.upstreams.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.upstreams.insert(Arc::clone(&name));
        name
    }

    fn cover(
        &mut self,
        upstream: &str,
        path: Option<Path>,
        subjects: impl Iterator<Item = Subject>,
        at: UnixNanos,
        resumed: Option<&ResumedFrom>,
        awake: bool,
    ) -> Vec<LedgerRecord> {
        let upstream = self.upstream(upstream);
        let mut records = Vec::new();
        let mut first: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for subject in subjects {
            let entries = self.subjects.entry(subject.clone()).or_default();
            let Some(place) = entries.iter().position(|entry| entry.upstream == upstream) else {
                let upstream = Arc::clone(&upstream);
                entries.push(Entry {
                    upstream,
                    watched: at,
                    covered: at,
                    open: Vec::new(),
                    last: None,
                    resting: false,
                    lanes: Lanes::default(),
                });
                if let Some(path) = path {
                    *entries.last_mut().expect("pushed above").lanes.of(path) = Some(at);
                }
                first.entry(subject.monitor).or_default().push(subject.topic);
                continue;
            };
            entries[place].resting &= !awake;
            if entries[place].resting {
                continue;
            }
            if let Some(path) = path {
                entries[place].lanes.of(path).get_or_insert(at);
            }
            for gap in std::mem::take(&mut entries[place].open) {
                // Never empty: what begins after it can be told from it.
                let end = at.max(UnixNanos(gap.start.0.saturating_add(1)));
                let elsewhere = entries.iter().enumerate().any(|(index, other)| {
                    index != place && !other.resting && other.open.is_empty() && other.covered <= gap.start
                });
                let taken_up = resumed.is_some_and(|resumed| resumed.oldest <= gap.start);
                let filled = match (taken_up, elsewhere) {
                    (true, _) => Some(Filled::Resumed),
                    (false, true) => Some(Filled::OtherUpstream),
                    (false, false) => None,
                };
                let entry = &mut entries[place];
                entry.covered = entry.covered.max(end);
                let by_other_upstream = filled == Some(Filled::OtherUpstream);
                entry.last = Some(Closed {
                    id: gap.id,
                    start: gap.start,
                    end,
                    by_other_upstream,
                    filled: filled.is_some(),
                    missing: None,
                });
                let total = self.closed.entry((Arc::clone(&upstream), gap.cause)).or_default();
                *total = total.saturating_add(end.since(gap.start));
                if let Some(TakenOver { numbers, longest }) = &mut self.taken_over
                    && numbers.contains(&gap.id)
                {
                    let longest = longest.entry(Arc::clone(&upstream)).or_default();
                    *longest = end.since(gap.start).max(*longest);
                }
                records.push(LedgerRecord::Gap(GapRecord {
                    monitor: subject.monitor.to_string(),
                    upstream: upstream.to_string(),
                    topic: subject.topic.to_string(),
                    cause: gap.cause,
                    start: gap.start.to_string(),
                    end: end.to_string(),
                    resumed_from: resumed.map(|resumed| resumed.point.clone()),
                    id: Some(gap.id),
                    missing: None,
                    filled,
                }));
            }
        }
        records.extend(first.into_iter().map(|(monitor, topics)| {
            LedgerRecord::Coverage(CoverageRecord::Watched(WatchedRecord {
                monitor: monitor.to_string(),
                upstream: upstream.to_string(),
                since: at.to_string(),
                topics: names(&topics),
            }))
        }));
        records
    }

    /// Begins to watch over `upstream` what another one had that is not wanted any more. Gives it with why it is missed.
    fn move_to(
        &mut self,
        upstream: &str,
        wanted: &impl Fn(&str, &str, &str) -> bool,
        at: UnixNanos,
    ) -> Vec<(Subject, GapCause)> {
        let to = self.upstream(upstream);
        let mut moved = Vec::new();
        for (subject, entries) in &mut self.subjects {
            let (monitor, topic) = (&subject.monitor, &subject.topic);
            if entries.iter().any(|entry| entry.upstream == to) || !wanted(&to, monitor, topic) {
                continue;
            }
            let Some(from) = entries.iter().find(|entry| !wanted(&entry.upstream, monitor, topic)) else { continue };
            let chosen = from.open.iter().map(|gap| gap.cause).find(|cause| cause.is_chosen());
            moved.push((subject.clone(), chosen.unwrap_or(GapCause::Handover)));
            let upstream = Arc::clone(&to);
            let (open, lanes) = (Vec::new(), Lanes::default());
            entries.push(Entry { upstream, watched: at, covered: at, open, last: None, resting: false, lanes });
        }
        moved
    }

    fn lose(
        &mut self,
        upstream: &str,
        path: Option<Path>,
        subjects: impl Iterator<Item = Subject>,
        start_of: impl Fn(&str) -> UnixNanos,
        cause: GapCause,
    ) -> Vec<LedgerRecord> {
        let upstream = self.upstream(upstream);
        if self.handing_over && cause == GapCause::Handover {
            return Vec::new();
        }
        let cause = if self.stopping && !cause.is_chosen() { GapCause::Downtime } else { cause };
        let mut records = Vec::new();
        let mut lost: BTreeMap<(Arc<str>, UnixNanos), Vec<Arc<str>>> = BTreeMap::new();
        let mut between = Vec::new();
        for subject in subjects {
            let start = start_of(&subject.topic);
            let entries = self.subjects.entry(subject.clone()).or_default();
            let ends_by_itself = matches!(cause, GapCause::Handover | GapCause::Downtime);
            if ends_by_itself && entries.iter().all(|entry| entry.upstream != upstream) {
                // Given up before it was let go: there is nothing to miss.
                continue;
            }
            let place = entries.iter().position(|entry| entry.upstream == upstream).unwrap_or_else(|| {
                let upstream = Arc::clone(&upstream);
                let (watched, covered, open) = (start, start, Vec::new());
                let lanes = Lanes::default();
                entries.push(Entry { upstream, watched, covered, open, last: None, resting: false, lanes });
                entries.len() - 1
            });
            let entry = &mut entries[place];
            entry.resting |= cause.is_chosen();
            let (here, elsewhere) = match path {
                Some(path) => (entry.lanes.of(path).take(), *entry.lanes.of(path.other())),
                None => (std::mem::take(&mut entry.lanes).smart, None),
            };
            if let Some(since) = elsewhere {
                // What this path had not brought when the other one began is all that can be missed.
                if here.is_some() && start < since && cause != GapCause::Downtime {
                    between.push((subject, start, since));
                }
                continue;
            }
            // A link may be found lost after another one had its topic, was lost and came back: what it missed before that is
            // missed all the same. Spans may overlap then; readers count each moment once.
            let known_from = if cause == GapCause::Downtime { entry.covered } else { entry.watched };
            let start = start.max(known_from);
            let goes_on = entry.open.iter().any(|gap| cause == GapCause::Downtime || gap.start <= start);
            if goes_on {
                continue;
            }
            // Numbered below, when it is known with which others it is told.
            entry.open.push(Open { id: 0, start, cause });
            for other in entries.iter_mut().filter(|entry| entry.upstream != upstream) {
                if let Some(last) = &mut other.last
                    && last.by_other_upstream
                    && last.end > start
                {
                    last.by_other_upstream = false;
                    records.push(LedgerRecord::Coverage(CoverageRecord::Amended(AmendedRecord {
                        id: last.id,
                        monitor: subject.monitor.to_string(),
                        upstream: other.upstream.to_string(),
                        topic: subject.topic.to_string(),
                        missing: None,
                        filled: None,
                        unfilled: true,
                        ..AmendedRecord::default()
                    })));
                }
            }
            lost.entry((subject.monitor, start)).or_default().push(subject.topic);
        }
        for (subject, start, end) in between {
            records.push(self.ended(&upstream, &subject, cause, (start, end)));
        }
        for ((monitor, start), topics) in lost {
            let id = self.next_id;
            for topic in &topics {
                let subject = Subject { monitor: Arc::clone(&monitor), topic: Arc::clone(topic) };
                let entry = self
                    .subjects
                    .get_mut(&subject)
                    .and_then(|entries| entries.iter_mut().find(|entry| entry.upstream == upstream));
                if let Some(gap) = entry.and_then(|entry| entry.open.first_mut()) {
                    gap.id = self.next_id;
                }
                self.next_id += 1;
            }
            records.push(LedgerRecord::Coverage(CoverageRecord::GapOpen(GapOpenRecord {
                id,
                monitor: monitor.to_string(),
                upstream: upstream.to_string(),
                cause,
                start: start.to_string(),
                topics: names(&topics),
            })));
        }
        records
    }

    /// A gap that is over as it is found.
    fn ended(
        &mut self,
        upstream: &Arc<str>,
        subject: &Subject,
        cause: GapCause,
        (start, end): (UnixNanos, UnixNanos),
    ) -> LedgerRecord {
        let id = self.next_id;
        self.next_id += 1;
        let total = self.closed.entry((Arc::clone(upstream), cause)).or_default();
        *total = total.saturating_add(end.since(start));
        LedgerRecord::Gap(GapRecord {
            monitor: subject.monitor.to_string(),
            upstream: upstream.to_string(),
            topic: subject.topic.to_string(),
            cause,
            start: start.to_string(),
            end: end.to_string(),
            resumed_from: None,
            id: Some(id),
            missing: None,
            filled: None,
        })
    }

    fn unwatch(&mut self, wanted: impl Fn(&str, &str, &str) -> bool, at: UnixNanos) -> Vec<LedgerRecord> {
        let mut records = Vec::new();
        let mut dropped: BTreeMap<GivenUp, Vec<Arc<str>>> = BTreeMap::new();
        let closed = &mut self.closed;
        self.subjects.retain(|subject, entries| {
            entries.retain(|entry| {
                if wanted(&entry.upstream, &subject.monitor, &subject.topic) {
                    return true;
                }
                // What was down to the end is not missed: nobody says that it was wanted at the time.
                let down = entry.open.iter().filter(|gap| gap.cause == GapCause::Downtime).map(|gap| gap.start).min();
                for gap in entry.open.iter().filter(|gap| gap.cause != GapCause::Downtime && gap.start < at) {
                    let total = closed.entry((Arc::clone(&entry.upstream), gap.cause)).or_default();
                    *total = total.saturating_add(at.since(gap.start));
                    records.push(LedgerRecord::Gap(GapRecord {
                        monitor: subject.monitor.to_string(),
                        upstream: entry.upstream.to_string(),
                        topic: subject.topic.to_string(),
                        cause: gap.cause,
                        start: gap.start.to_string(),
                        end: at.to_string(),
                        resumed_from: None,
                        id: Some(gap.id),
                        missing: None,
                        filled: None,
                    }));
                }
                let key = (Arc::clone(&entry.upstream), Arc::clone(&subject.monitor), down.unwrap_or(at));
                dropped.entry(key).or_default().push(Arc::clone(&subject.topic));
                false
            });
            !entries.is_empty()
        });
        records.extend(dropped.into_iter().map(|((upstream, monitor, until), topics)| {
            LedgerRecord::Coverage(CoverageRecord::Unwatched(UnwatchedRecord {
                monitor: monitor.to_string(),
                upstream: upstream.to_string(),
                until: until.to_string(),
                topics: names(&topics),
            }))
        }));
        records
    }

    fn miss(&mut self, upstream: &str, monitor: &Arc<str>, topic: &Arc<str>, missed: Missed) -> Vec<LedgerRecord> {
        let Missed { start, end, missing } = missed;
        let subject = Subject { monitor: Arc::clone(monitor), topic: Arc::clone(topic) };
        let entries = self.subjects.get_mut(&subject);
        let last = entries
            .and_then(|all| all.iter_mut().find(|entry| *entry.upstream == *upstream))
            .and_then(|entry| entry.last.as_mut())
            .filter(|last| last.start < end && last.end > start);
        if let Some(last) = last {
            // That something is missing the gap says itself.
            let Some(missing) = missing else { return Vec::new() };
            let missing = last.missing.unwrap_or_default() + missing;
            last.missing = Some(missing);
            // Who was taken to have filled it had not all of it.
            let unfilled = missing > 0 && std::mem::take(&mut last.filled);
            last.by_other_upstream &= !unfilled;
            return vec![LedgerRecord::Coverage(CoverageRecord::Amended(AmendedRecord {
                id: last.id,
                monitor: monitor.to_string(),
                upstream: upstream.to_owned(),
                topic: topic.to_string(),
                missing: Some(missing),
                filled: None,
                unfilled,
                ..AmendedRecord::default()
            }))];
        }
        if missing == Some(0) {
            return Vec::new();
        }
        let id = self.next_id;
        self.next_id += 1;
        let upstream = self.upstream(upstream);
        let total = self.closed.entry((Arc::clone(&upstream), GapCause::Sequence)).or_default();
        *total = total.saturating_add(end.since(start));
        vec![LedgerRecord::Gap(GapRecord {
            monitor: monitor.to_string(),
            upstream: upstream.to_string(),
            topic: topic.to_string(),
            cause: GapCause::Sequence,
            start: start.to_string(),
            end: end.to_string(),
            resumed_from: None,
            id: Some(id),
            missing,
            filled: None,
        })]
    }
}

#[cfg(test)]
mod tests;
