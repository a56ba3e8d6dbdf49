//! What was known when, read back from the journal: for readers that have nothing else, and for replays.

use std::collections::HashMap;

use super::answer::AnswerRecord;
use super::subject::{Subject, key_of_values};
use crate::config::Hole;
use crate::journal::{BlockFilter, ENRICHMENTS_MONITOR, Event, JournalError, JournalReader, OWN_DOMAIN};
use crate::scanner::Fields;

/// The most memory of answers. What comes beyond is left out, and said so.
const BYTES_MAX: usize = 128 << 20;

/// What an entry takes beside its texts. Source: a guess.
const ENTRY_BYTES: usize = 96;

/// Answers, by what they are about.
#[derive(Debug, Default)]
pub struct RecordedAnswers {
    monitors: HashMap<Box<str>, Vec<Recorded>>,
    bytes: usize,
    fields: Fields,
}

/// Those of a look-up on some holes.
#[derive(Debug)]
struct Recorded {
    look_up: Box<str>,
    on: Vec<String>,
    subject: Subject,
    /// In the order of offsets; none: from there on there was nothing.
    answers: HashMap<Box<str>, Vec<(u64, Option<Box<str>>)>>,
}

impl RecordedAnswers {
    /// Which blocks have answers.
    pub fn filter() -> BlockFilter {
        BlockFilter {
            monitors: vec![ENRICHMENTS_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        }
    }

    /// All that the journal has, from where the reader stands on, which moves to the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(reader: &mut JournalReader) -> Result<Self, JournalError> {
        let mut answers = Self::default();
        answers.follow(reader)?;
        Ok(answers)
    }

    /// What came since.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn follow(&mut self, reader: &mut JournalReader) -> Result<(), JournalError> {
        let filter = Self::filter();
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                self.take(&event);
            }
        }
        Ok(())
    }

    /// Whether something was left out for want of memory.
    pub fn is_cut(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    fn take(&mut self, event: &Event<'_>) {
        let Ok(record) = serde_json::from_slice::<AnswerRecord>(event.payload) else { return };
        if self.is_cut() {
            return;
        }
        let AnswerRecord { monitor, look_up, on, key, fields } = record;
        let of = self.monitors.entry(monitor.into()).or_default();
        let place = match of.iter().position(|known| *known.look_up == *look_up && known.on == on) {
            Some(place) => place,
            None => {
                let holes: Option<Vec<Hole>> = on.iter().map(|name| Hole::parse(name)).collect();
                let Some(subject) = holes.and_then(Subject::new) else { return };
                of.push(Recorded { look_up: look_up.into(), on, subject, answers: HashMap::new() });
                of.len() - 1
            }
        };
        let (key, fields) = (key_of_values(&key), fields.map(|fields| Box::<str>::from(fields.get())));
        self.bytes += key.len() + fields.as_ref().map_or(0, |fields| fields.len()) + ENTRY_BYTES;
        of[place].answers.entry(key.into()).or_default().push((event.offset.0, fields));
    }

    /// The fields of an event, as a JSON object of objects by look-up: the newest that were known when it was journaled, or
    /// where nothing was, the first that came to be known after.
    pub fn enriched(&mut self, event: &Event<'_>) -> Option<String> {
        let Self { monitors, fields, .. } = self;
        let of = monitors.get(event.monitor).filter(|_| event.domain != OWN_DOMAIN)?;
        let found = of.iter().filter_map(|recorded| {
            let answers = recorded.answers.get(recorded.subject.key_of(event, fields)?.as_str())?;
            let behind = answers.partition_point(|(offset, _)| *offset <= event.offset.0);
            let (_, answer) = answers.get(behind.saturating_sub(1))?;
            Some((&*recorded.look_up, answer.as_deref()?))
        });
        nested(found)
    }
}

/// `{"LOOKUP":{…},…}`; none of nothing.
pub(super) fn nested<'a>(look_ups: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut text = String::from("{");
    for (name, fields) in look_ups {
        if text.len() > 1 {
            text.push(',');
        }
        // Names of look-ups have nothing to escape.
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
        text.push_str(fields);
    }
    text.push('}');
    (text.len() > 2).then_some(text)
}
