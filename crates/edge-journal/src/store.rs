//! The latest value of each key, kept in a journal that is rewritten when it has grown.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, JournalError, Keep, Torn};

/// When a store's file is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Not below this size, octets …
    pub rewrite_above: u64,
    /// … and only once it is this many times as large as after it was last rewritten.
    pub growth: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            rewrite_above: 1 << 20,
            growth: 4,
        }
    }
}

/// The latest value of each key.
#[derive(Debug)]
pub struct Store<V> {
    journal: Journal,
    limits: StoreLimits,
    /// Size after the last rewriting, or at the start.
    settled: u64,
    values: BTreeMap<String, V>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<V> {
    key: String,
    value: Option<V>,
}

impl<V: Serialize + DeserializeOwned + Clone> Store<V> {
    /// Opens or makes the store at `path`, and tells what of its end was lost.
    pub fn open(
        path: &Path,
        kind: &str,
        limits: StoreLimits,
    ) -> Result<(Self, Option<Torn>), JournalError> {
        let opened = Journal::open(path, kind)?;
        let values = latest(opened.records);
        let mut store = Self {
            settled: 0,
            journal: opened.journal,
            limits,
            values,
        };
        store.rewrite()?;
        Ok((store, opened.torn))
    }

    /// What a store holds that another process may have open.
    pub fn peek(path: &Path, kind: &str) -> Result<BTreeMap<String, V>, JournalError> {
        Journal::peek(path, kind).map(latest)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.values.get(key)
    }

    /// Every key and value, in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Sets the value of a key. If it fails, the old value stands.
    pub fn put(&mut self, key: &str, value: V, keep: Keep) -> Result<(), JournalError> {
        self.write(key, Some(value), keep)
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &str) -> Result<(), JournalError> {
        if self.values.contains_key(key) {
            self.write(key, None, Keep::Process)?;
        }
        Ok(())
    }

    fn write(&mut self, key: &str, value: Option<V>, keep: Keep) -> Result<(), JournalError> {
        let entry = Entry {
            key: key.to_owned(),
            value,
        };
        self.journal.append(&entry, keep)?;
        match entry.value {
            Some(value) => drop(self.values.insert(entry.key, value)),
            None => drop(self.values.remove(key)),
        }
        let octets = self.journal.octets();
        if octets > self.limits.rewrite_above
            && octets > self.settled.saturating_mul(self.limits.growth)
        {
            // What was asked for is written; that the file stays long is nobody's harm.
            if let Err(error) = self.rewrite() {
                tracing::warn!(%error, "a journal was not rewritten");
                self.settled = octets;
            }
        }
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), JournalError> {
        let entries: Vec<_> = self
            .values
            .iter()
            .map(|(key, value)| Entry {
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        self.journal.replace(&entries)?;
        self.settled = self.journal.octets();
        Ok(())
    }
}

fn latest<V>(entries: Vec<Entry<V>>) -> BTreeMap<String, V> {
    let mut values = BTreeMap::new();
    for Entry { key, value } in entries {
        match value {
            Some(value) => drop(values.insert(key, value)),
            None => drop(values.remove(&key)),
        }
    }
    values
}
