//! What must hold of look-ups.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checker, Reach};
use crate::config::hole_template::{Hole, HoleTemplate};
use crate::config::{EnrichSettings, KeyPath};

/// No sink waits for longer: it would fall behind.
const WAIT_MAX: Duration = Duration::from_secs(5);

impl Checker<'_> {
    pub(super) fn enrich(&mut self, path: &KeyPath, look_ups: &BTreeMap<String, EnrichSettings>) {
        for (name, look_up) in look_ups {
            let path = path.key(name);
            self.name(&path, name, "a look-up's name");
            self.look_up(&path, look_up);
        }
    }

    fn look_up(&mut self, path: &KeyPath, look_up: &EnrichSettings) {
        let EnrichSettings { url, ca_file, file, key, key_field, fields, .. } = look_up;
        if url.is_some() == file.is_some() {
            self.refuse_key(path, "must have either `url` or `file`");
        }
        if let Some(url) = url {
            if let Some(fault) = url.address_fault() {
                self.refuse(&path.key("url"), url, fault);
            }
            self.holes(&path.key("url"), url);
            for (name, given) in [("key", key.is_some()), ("key_field", key_field.is_some())] {
                if given {
                    self.refuse_key(&path.key(name), "is for a `file`; an address has holes of its own");
                }
            }
        }
        if let Some(key) = key {
            self.holes(&path.key("key"), key);
        }
        let mut pointers = url.is_some();
        if let Some(file) = file {
            if ca_file.is_some() {
                self.refuse_key(&path.key("ca_file"), "says nothing without `url`");
            }
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("json") => pointers = true,
                Some("csv") => {}
                _ => self.refuse(&path.key("file"), file.display(), "must end in `.csv` or `.json`"),
            }
            if pointers && let Some(key_field) = key_field {
                self.pointer(&path.key("key_field"), key_field, Reach::Message);
            }
        }
        if fields.is_empty() {
            self.refuse(&path.key("fields"), "{}", "must take at least one field");
        }
        for (name, pointer) in fields {
            if name.is_empty() {
                self.refuse_key(&path.key("fields"), "a field must have a name");
            }
            if pointers {
                self.pointer(&path.key("fields").key(name), pointer, Reach::Message);
            }
        }
        if let Some(ttl) = look_up.ttl {
            self.duration(&path.key("ttl"), ttl);
        }
        self.duration(&path.key("negative_ttl"), look_up.negative_ttl);
        self.duration(&path.key("timeout"), look_up.timeout);
        for (name, count) in [("rate", look_up.rate), ("concurrency", look_up.concurrency)] {
            if count == 0 {
                self.refuse(&path.key(name), 0, "must be at least 1");
            }
        }
        if look_up.wait > WAIT_MAX {
            self.refuse(&path.key("wait"), crate::config::units::show_duration(look_up.wait), "must be at most 5s");
        }
    }

    fn holes(&mut self, path: &KeyPath, template: &HoleTemplate) {
        let wants = template.wants();
        if wants.is_empty() {
            self.refuse(
                path,
                template,
                "has no hole: every event would have the same; write {key} or a pointer such as {/mint}",
            );
        }
        for hole in wants {
            if let Hole::Pointer(pointer) = hole {
                self.pointer(path, &pointer, Reach::Message);
            }
        }
    }
}
