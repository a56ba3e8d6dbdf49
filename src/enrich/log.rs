//! Answers on their way into the journal, as events of the daemon's own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::answer::AnswerRecord;
use super::look_up::LookUp;
use super::subject::values_of;
use crate::clock::ReceivedClock;
use crate::journal::{
    AccountDelta, BlockBuilder, EncodedBlock, Encoder, EventId, Journal, MonitorIdentity, NewEvent, Part, Path,
    SourceSlot,
};
use crate::telemetry;

/// The topic of answers in the journal.
const TOPIC: &str = "enrichments";

/// Answers of a block, and bytes from which on it is closed.
const BLOCK_ANSWERS_MAX: usize = 256;
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Answers that wait for the journal. What comes beyond is not on record: the oldest go.
const WAITING_MAX: usize = 4096;

#[derive(Debug)]
struct Waiting {
    key: String,
    payload: Vec<u8>,
}

/// The log.
#[derive(Debug)]
pub(super) struct AnswerLog {
    monitor: Arc<MonitorIdentity>,
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    waiting: Mutex<VecDeque<Waiting>>,
}

impl AnswerLog {
    pub(super) fn new(monitor: Arc<MonitorIdentity>, journal: Arc<Journal>, clock: Arc<ReceivedClock>) -> Self {
        Self { monitor, journal, clock, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new or changed answer.
    pub(super) fn note(&self, look_up: &LookUp, key: &str, fields: Option<&str>) {
        let values: Vec<String> = values_of(key).into_iter().map(str::to_owned).collect();
        let record = AnswerRecord {
            monitor: look_up.monitor.clone(),
            look_up: look_up.name.clone(),
            on: look_up.subject.names().into_iter().map(str::to_owned).collect(),
            key: values,
            fields: fields.and_then(|fields| RawValue::from_string(fields.to_owned()).ok()),
        };
        // Texts and what was checked to be JSON: serialization has nothing to refuse.
        let payload = serde_json::to_vec(&record).unwrap_or_default();
        let mut waiting = self.lock();
        waiting.push_back(Waiting { key: record.key.join(","), payload });
        if waiting.len() > WAITING_MAX {
            waiting.pop_front();
            telemetry::own_event_refused();
        }
    }

    /// Gives the journal what it takes. What it does not take now waits.
    pub(super) fn flush(&self) {
        loop {
            let taken: Vec<Waiting> = {
                let mut waiting = self.lock();
                let mut bytes = 0;
                let fits = waiting.iter().take(BLOCK_ANSWERS_MAX).take_while(|entry| {
                    bytes += entry.payload.len();
                    bytes <= BLOCK_BYTES_MAX
                });
                let count = fits.count();
                waiting.drain(..count).collect()
            };
            if taken.is_empty() {
                return;
            }
            if self.journal.try_submit_own(self.block(&taken)).is_err() {
                let mut waiting = self.lock();
                for entry in taken.into_iter().rev() {
                    waiting.push_front(entry);
                }
                return;
            }
        }
    }

    fn block(&self, answers: &[Waiting]) -> EncodedBlock {
        let mut builder = BlockBuilder::new(Path::Smart);
        let source = builder.source(&self.monitor, TOPIC, SourceSlot(0));
        builder.account(&self.monitor, AccountDelta { messages: answers.len() as u64, ..AccountDelta::default() });
        let received = self.clock.stamp();
        for Waiting { key, payload } in answers {
            builder.push(&NewEvent {
                source,
                received,
                event_time: None,
                payload,
                id: EventId::None,
                key: Some(Part::Literal(key.as_bytes())),
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        builder.finish(&mut Encoder::new())
    }
}
