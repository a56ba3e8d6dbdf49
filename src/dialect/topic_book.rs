//! The topics of a session: their parts, how far each has come, and which of them a text names.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::topic_form::{Point, Purpose, TopicForm};
use super::{Topic, TopicId};

/// How far a topic has come on this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not asked for here.
    Idle,
    /// Asked for, so many times, not answered.
    Asked(u8),
    /// In force.
    Active,
    /// Ended by us; late messages are no events.
    Ended,
}

/// A topic's wording.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) form: usize,
    pub(crate) words: Vec<Box<str>>,
}

/// All topics of the upstream, worded. One for all its links, since there may be thousands.
#[derive(Debug)]
pub(crate) struct TopicTable {
    forms: Arc<[TopicForm]>,
    /// By topic id.
    entries: Vec<Option<Entry>>,
    names: Table,
    routes: Table,
}

impl TopicTable {
    /// Topics that have none of the forms are left out: nothing can be asked for them.
    pub(crate) fn new(topics: &[Topic], forms: Arc<[TopicForm]>) -> Self {
        let size = topics.iter().map(|topic| topic.id.0 as usize + 1).max().unwrap_or(0);
        let mut table = Self {
            forms,
            entries: (0..size).map(|_| None).collect(),
            names: Table::default(),
            routes: Table::default(),
        };
        for topic in topics {
            let Some((form, words)) = table.form_of(&topic.name) else { continue };
            let words: Vec<Box<str>> = words.into_iter().map(Into::into).collect();
            table.names.add(topic.name.as_bytes(), topic.id);
            table.routes.add(table.forms[form].route(&topic.name, &words).as_bytes(), topic.id);
            table.entries[topic.id.0 as usize] = Some(Entry { name: Arc::clone(&topic.name), form, words });
        }
        table
    }

    fn form_of<'a>(&self, topic: &'a str) -> Option<(usize, Vec<&'a str>)> {
        self.forms.iter().enumerate().find_map(|(form, shape)| shape.split(topic).map(|words| (form, words)))
    }
}

/// All topics of the upstream, as one link sees them.
#[derive(Debug)]
pub(crate) struct TopicBook {
    table: Arc<TopicTable>,
    /// By topic id.
    phases: Vec<Phase>,
    resume: Option<Point>,
}

impl TopicBook {
    /// Nothing of the table is asked for yet.
    pub(crate) fn new(table: Arc<TopicTable>) -> Self {
        Self { phases: vec![Phase::Idle; table.entries.len()], table, resume: None }
    }

    /// Goes on with a table that has more topics, under the same numbers.
    pub(crate) fn adopt(&mut self, table: Arc<TopicTable>) {
        self.phases.resize(table.entries.len().max(self.phases.len()), Phase::Idle);
        self.table = table;
    }

    /// Subscriptions go on from there.
    pub(crate) fn resume_from(&mut self, point: Point) {
        self.resume = Some(point);
    }

    pub(crate) fn entry(&self, topic: TopicId) -> Option<&Entry> {
        self.table.entries.get(topic.0 as usize)?.as_ref()
    }

    pub(crate) fn form(&self, entry: &Entry) -> &TopicForm {
        &self.table.forms[entry.form]
    }

    #[inline]
    pub(crate) fn phase(&self, topic: TopicId) -> Phase {
        self.phases.get(topic.0 as usize).copied().unwrap_or(Phase::Idle)
    }

    pub(crate) fn set_phase(&mut self, topic: TopicId, phase: Phase) {
        if let Some(slot) = self.phases.get_mut(topic.0 as usize) {
            *slot = phase;
        }
    }

    /// The topic whose messages are named so; of several the one that was asked for here.
    #[inline]
    pub(crate) fn routed(&self, text: &[u8]) -> Option<TopicId> {
        self.table.routes.get(text).map(|row| self.pick(row))
    }

    /// The topic that is worded so, or else whose messages are.
    pub(crate) fn named(&self, text: &[u8]) -> Option<TopicId> {
        self.table.names.get(text).or_else(|| self.table.routes.get(text)).map(|row| self.pick(row))
    }

    #[inline]
    fn pick(&self, row: &Row) -> TopicId {
        if row.others.is_empty() || self.asked(row.first) {
            return row.first;
        }
        row.others.iter().copied().find(|topic| self.asked(*topic)).unwrap_or(row.first)
    }

    /// Whether messages of the topic are expected on this link.
    #[inline]
    pub(crate) fn asked(&self, topic: TopicId) -> bool {
        matches!(self.phase(topic), Phase::Asked(_) | Phase::Active)
    }

    /// Whether requests for a topic take the place of the ones before.
    pub(crate) fn replaces(&self, topic: TopicId) -> bool {
        self.entry(topic).is_some_and(|entry| self.form(entry).replaces())
    }

    /// Whether a topic is ended by the id that the upstream gave it.
    pub(crate) fn ends_by_id(&self, topic: TopicId) -> bool {
        self.entry(topic).is_some_and(|entry| self.form(entry).ends_by_id())
    }

    /// Whether two topics have one form.
    pub(crate) fn alike(&self, one: TopicId, other: TopicId) -> bool {
        let form = |topic| self.entry(topic).map(|entry| entry.form);
        form(one) == form(other)
    }

    /// All topics of a topic's form that messages are expected of here.
    pub(crate) fn asked_like(&self, topic: TopicId) -> Vec<TopicId> {
        let all = (0..self.phases.len()).filter_map(|number| u32::try_from(number).ok()).map(TopicId);
        all.filter(|other| self.asked(*other) && self.alike(topic, *other)).collect()
    }

    /// Topics put together as requests can name them, each group with at most `at_most` of them, in the order given.
    pub(crate) fn groups(&self, purpose: Purpose, topics: &[TopicId], at_most: usize) -> Vec<Vec<TopicId>> {
        let mut groups: Vec<Vec<TopicId>> = Vec::new();
        // Groups that may still grow; there are as many as ways to differ in a shared part, which are few.
        let mut growing: Vec<usize> = Vec::new();
        for topic in topics {
            let Some(entry) = self.entry(*topic) else { continue };
            let form = self.form(entry);
            if at_most > 1 && form.lists(purpose) {
                let fits = |group: &&usize| {
                    groups[**group].first().and_then(|first| self.entry(*first)).is_some_and(|first| {
                        first.form == entry.form && form.together(purpose, &first.words, &entry.words)
                    })
                };
                if let Some(group) = growing.iter().find(fits).copied() {
                    groups[group].push(*topic);
                    if groups[group].len() >= at_most {
                        growing.retain(|other| *other != group);
                    }
                    continue;
                }
                growing.push(groups.len());
            }
            groups.push(vec![*topic]);
        }
        groups
    }

    /// The text of a request for topics of one group.
    pub(crate) fn request(
        &self,
        purpose: Purpose,
        id: u64,
        group: &[TopicId],
        subscription: Option<&str>,
    ) -> Option<String> {
        let entries: Vec<&Entry> = group.iter().filter_map(|topic| self.entry(*topic)).collect();
        let topics: Vec<(&str, &[Box<str>])> = entries.iter().map(|entry| (&*entry.name, &entry.words[..])).collect();
        self.form(entries.first()?).render(purpose, id, &topics, subscription, self.resume.as_ref())
    }
}

/// Checks a topic against forms; the error shows how it should look.
pub(crate) fn check_topic(forms: &[TopicForm], topic: &str) -> Result<(), String> {
    if let Some((form, words)) = forms.iter().find_map(|form| form.split(topic).map(|words| (form, words))) {
        return form.check(&words).map_err(|reason| format!("topic `{topic}`: {reason}"));
    }
    let shapes = forms.iter().map(TopicForm::shown).collect::<Vec<_>>().join(", or ");
    Err(format!("topic `{topic}` has not the form {shapes}"))
}

/// Texts to topics.
#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Box<[u8]>, Row, BuildHasherDefault<KeyHasher>>,
}

#[derive(Debug)]
struct Row {
    first: TopicId,
    others: Vec<TopicId>,
}

impl Table {
    fn add(&mut self, text: &[u8], topic: TopicId) {
        match self.rows.get_mut(text) {
            Some(row) => row.others.push(topic),
            None => {
                self.rows.insert(text.into(), Row { first: topic, others: Vec::new() });
            }
        }
    }

    #[inline]
    fn get(&self, text: &[u8]) -> Option<&Row> {
        self.rows.get(text)
    }
}

/// Hashes short texts fast. The keys come from our own settings or are few and bounded, so nobody can fill a table with
/// colliding ones, and what `SipHash` costs a message would be wasted.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl KeyHasher {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the product are folded together")]
    fn mix(&mut self, word: u64) {
        // The odd constant is the golden ratio's fraction; the product's halves are folded so that all bits count.
        let product = u128::from(self.0 ^ word ^ 0x2545_f491_4f6c_dd1d).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}
