//! What must hold of a monitor's business counters.

use std::collections::BTreeMap;

use super::{Checker, Reach};
use crate::config::{CounterSettings, CounterValue, KeyPath};

impl Checker<'_> {
    pub(super) fn counters(&mut self, path: &KeyPath, counters: &BTreeMap<String, CounterSettings>) {
        for (name, counter) in counters {
            let path = path.key(name);
            self.name(&path, name, "a counter's name");
            let CounterSettings { pointer, equals, first_seen } = counter;
            for (key, text) in [("pointer", pointer), ("first_seen", first_seen)] {
                if let Some(text) = text {
                    self.pointer(&path.key(key), text, Reach::Message);
                }
            }
            let whole = matches!((pointer, equals, first_seen), (Some(_), Some(_), None) | (None, None, Some(_)));
            if !whole {
                self.refuse_key(&path, "must have `pointer` and `equals`, or `first_seen` alone");
            }
            if let Some(CounterValue::AnyOf(list)) = equals
                && (list.is_empty() || list.iter().any(|value| matches!(value, CounterValue::AnyOf(_))))
            {
                let message = "must be a text, a whole number, `true`, `false`, or a list of at least one of these";
                self.refuse_key(&path.key("equals"), message);
            }
        }
    }
}
