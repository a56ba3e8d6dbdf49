//! Something that is made from something else, and kept until it is asked for another.
//!
//! Links of an upstream are all made from the same topics and the same plan, one after the other, and again after each loss.

use std::sync::{Arc, Mutex, PoisonError};

/// The thing made last, with what it was made from.
#[derive(Debug)]
pub(crate) struct Last<K, V>(Mutex<Option<(K, Arc<V>)>>);

impl<K, V> Default for Last<K, V> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone, V> Last<K, V> {
    /// What was made from `key`; made now where the last one was made from another.
    pub(crate) fn of(&self, key: &K, same: impl Fn(&K, &K) -> bool, make: impl FnOnce() -> V) -> Arc<V> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, made)) = &*last
            && same(known, key)
        {
            return Arc::clone(made);
        }
        let fresh = Arc::new(make());
        *last = Some((key.clone(), Arc::clone(&fresh)));
        fresh
    }
}
