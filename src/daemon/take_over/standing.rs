//! How the old side stands, for a process that wants to take over; and that it stays so until that is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::protocol::UpstreamNow;
use crate::daemon::live_settings::LiveSettings;
use crate::daemon::upstreams::Upstreams;
use crate::daemon::watched::{Watched, WatchedList};
use crate::journal::JournalId;
use crate::rollout::figures::CrossingRow;
use crate::upstream::{TopicState, unit_name};

/// How long monitors on their way between paths are waited for before a take-over begins: as long as the slowest of them may take
/// where nothing is wrong.
pub(super) const CROSSINGS_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether they have arrived.
const CROSSINGS_LOOK: Duration = Duration::from_millis(20);

/// Monitors that a message names; of more it says how many.
const NAMED_MAX: usize = 8;

/// A daemon, as who wants to take over from it sees it. Keeps nothing of it alive, since it starts again in this process when a
/// take-over fails.
pub(in crate::daemon) struct Standing {
    pub(in crate::daemon) journal: JournalId,
    pub(in crate::daemon) watched: Arc<WatchedList>,
    pub(in crate::daemon) live: Weak<LiveSettings>,
    pub(in crate::daemon) upstreams: Weak<Upstreams>,
}

impl Standing {
    /// Its upstreams, by unit.
    pub(super) fn upstreams(&self) -> BTreeMap<String, UpstreamNow> {
        let settings = self.live.upgrade().map(|live| live.settings());
        let of = |Watched { of, roster, status, .. }: Watched| {
            let upstream = settings.as_ref().and_then(|settings| settings.upstreams.get(&roster.upstream));
            let mut now = UpstreamNow {
                connected: status.is_connected(),
                address: upstream.map(|upstream| upstream.url.address()).unwrap_or_default(),
                ..UpstreamNow::default()
            };
            for (topic, details) in roster.topics.iter().zip(status.topic_details()) {
                if details.ids.all() {
                    now.told_apart.push(topic.name.to_string());
                }
                if matches!(details.state, TopicState::Refused(_)) {
                    now.refused.push(topic.name.to_string());
                }
            }
            (unit_name(&roster.upstream, of.as_deref()), now)
        };
        self.watched.now().into_iter().map(of).collect()
    }

    /// From here on nothing is changed, so that what the other process finds is what it will go on with. Returns when changes
    /// that were under way are made.
    pub(super) async fn hold_still(&self) -> HeldStill {
        let held = HeldStill(Weak::clone(&self.live));
        if let Some(live) = self.live.upgrade() {
            // A change waits for the journal. One that breaks is told where it was asked for.
            tokio::task::spawn_blocking(move || live.hold_still()).await.ok();
        }
        held
    }

    /// Waits until no monitor is on its way between paths, and what was told to let go has.
    ///
    /// # Errors
    /// When some are still on their way after [`CROSSINGS_MAX`]; in words.
    pub(super) async fn settled(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let Some(upstreams) = self.upstreams.upgrade() else { return Ok(()) };
            let crossings = upstreams.crossings();
            if crossings.is_empty() && !upstreams.is_ending() {
                if told {
                    tracing::info!(
                        seconds = begun.elapsed().as_secs_f64(),
                        "monitors have arrived: the take-over goes on"
                    );
                }
                return Ok(());
            }
            drop(upstreams);
            if begun.elapsed() >= CROSSINGS_MAX {
                return Err(format!(
                    "monitors are on their way between paths, still after {CROSSINGS_MAX:?}: {}; try again when `sluice monitors` shows \
                     them on one path",
                    in_words(&crossings)
                ));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(
                    "a take-over waits for monitors that are on their way between paths: {}",
                    in_words(&crossings)
                );
            }
            sleep(CROSSINGS_LOOK).await;
        }
    }
}

/// Who is on the way, and what each waits for.
fn in_words(crossings: &[CrossingRow]) -> String {
    if crossings.is_empty() {
        return "links that were told to end have not".into();
    }
    let one = |row: &CrossingRow| match &*row.waits_for {
        "" => format!("`{}`", row.monitor),
        waits_for => format!("`{}` (waits for {waits_for})", row.monitor),
    };
    let mut words: Vec<String> = crossings.iter().take(NAMED_MAX).map(one).collect();
    if crossings.len() > NAMED_MAX {
        words.push(format!("and {} more", crossings.len() - NAMED_MAX));
    }
    words.join(", ")
}

/// As long as this is there nothing is changed.
pub(in crate::daemon) struct HeldStill(Weak<LiveSettings>);

impl Drop for HeldStill {
    fn drop(&mut self) {
        if let Some(live) = self.0.upgrade() {
            live.let_change();
        }
    }
}
