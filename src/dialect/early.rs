//! Messages that came before the answer that says whose they are.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::config::ByteSize;

/// `[early]`: bounds of what is kept for an answer that has not come yet, a link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlySettings {
    /// Messages.
    pub messages: usize,
    /// Bytes of them.
    pub bytes: ByteSize,
}

impl Default for EarlySettings {
    /// Guesses: some seconds of a busy subscription.
    fn default() -> Self {
        Self { messages: 1024, bytes: ByteSize::mib(1) }
    }
}

/// A message of a subscription that nobody knows yet.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) subscription: Box<[u8]>,
    pub(crate) text: Box<[u8]>,
}

/// Kept messages, oldest first, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct EarlyMessages {
    kept: VecDeque<Early>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl EarlyMessages {
    pub(crate) fn new(settings: &EarlySettings) -> Self {
        let EarlySettings { messages, bytes } = settings;
        Self { kept: VecDeque::new(), bytes: 0, messages_max: *messages, bytes_max: bytes.as_usize() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps a message and calls back with those that there was no room for: older ones, or itself.
    pub(crate) fn keep(&mut self, subscription: &[u8], text: &[u8], mut lost: impl FnMut(&[u8])) {
        let bytes = text.len() + subscription.len();
        if bytes > self.bytes_max || self.messages_max == 0 {
            lost(text);
            return;
        }
        while self.kept.len() >= self.messages_max || self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.text.len() + oldest.subscription.len();
            lost(&oldest.text);
        }
        self.bytes += bytes;
        self.kept.push_back(Early { subscription: subscription.into(), text: text.into() });
    }

    /// Takes those of one subscription, in the order in which they came.
    pub(crate) fn take(&mut self, subscription: &[u8]) -> Vec<Early> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        let (taken, kept) = self.kept.drain(..).partition::<Vec<_>, _>(|early| *early.subscription == *subscription);
        self.kept = kept.into();
        self.bytes -= taken.iter().map(|early| early.text.len() + early.subscription.len()).sum::<usize>();
        taken
    }

    /// Takes everything: no answer can come any more.
    pub(crate) fn take_all(&mut self) -> Vec<Early> {
        self.bytes = 0;
        self.kept.drain(..).collect()
    }
}
