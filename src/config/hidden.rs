//! Where settings have secrets: those that stand in them, and the files and variables that they name.

use std::path::{Path, PathBuf};

use config::{Value, ValueKind};
use percent_encoding::percent_decode_str;
use url::Url;

use super::endpoint::{HARMLESS_PARAMETERS, looks_like_a_key};
use super::key::KeyPath;
use super::problem::{SECRET_NAMES, redacted};

/// What of settings nobody may see.
#[derive(Clone, Default)]
pub struct Hidden {
    /// Secrets that stand in the settings themselves.
    pub texts: Vec<String>,
    /// Files that have secrets in them.
    pub files: Vec<PathBuf>,
    /// Variables of the environment that are secrets.
    pub variables: Vec<String>,
    /// Credentials of the service manager that are.
    pub credentials: Vec<String>,
}

impl Hidden {
    /// Adds what is in `value`, which stands at `key`; `folder_of` says where a relative path begins, by its origin.
    pub(super) fn gather<'f>(&mut self, value: &Value, key: &KeyPath, folder_of: &dyn Fn(Option<&str>) -> &'f Path) {
        match &value.kind {
            ValueKind::Table(table) => {
                for (name, inner) in table {
                    self.gather(inner, &key.key(name), folder_of);
                }
            }
            ValueKind::Array(list) => {
                for (index, item) in list.iter().enumerate() {
                    self.gather(item, &key.index(index), folder_of);
                }
            }
            ValueKind::String(text) => self.text(key, text, folder_of(value.origin())),
            _ => {}
        }
    }

    fn text(&mut self, key: &KeyPath, text: &str, folder: &Path) {
        let name = key.last_key().unwrap_or_default().to_lowercase();
        let of_a_secret = key.key_at(3) == Some("secrets") && key.key_at(4).is_some();
        match name.as_str() {
            "file" if of_a_secret => self.files.push(folder.join(text)),
            "env" if of_a_secret => self.variables.push(text.to_owned()),
            "credential" if of_a_secret => self.credentials.push(text.to_owned()),
            "client_key" => self.files.push(folder.join(text)),
            file if file.ends_with("_file") && SECRET_NAMES.iter().any(|secret| file.contains(secret)) => {
                self.files.push(folder.join(text));
            }
            _ if redacted(key, text) != text => self.texts.extend(secrets_of(text)),
            _ => {}
        }
    }

    /// Adds what an address, or any other text that is a secret, has of secrets.
    pub fn add(&mut self, text: &str) {
        self.texts.extend(secrets_of(text));
    }
}

/// The parts of an address that are secrets; of any other text all of it.
fn secrets_of(text: &str) -> Vec<String> {
    let Ok(url) = Url::parse(text).map_err(drop).and_then(|url| if url.has_host() { Ok(url) } else { Err(()) }) else {
        // What has holes is a template; what fills them is told elsewhere.
        return if text.contains('{') { Vec::new() } else { vec![text.to_owned()] };
    };
    let login = url.password().or(Some(url.username()).filter(|name| !name.is_empty()));
    let path = url.path().split('/').filter(|part| looks_like_a_key(part));
    let query = url.query().unwrap_or_default().split('&').filter_map(|pair| match pair.split_once('=') {
        Some((name, _)) if HARMLESS_PARAMETERS.contains(&name) => None,
        Some((_, value)) => Some(value),
        None => Some(pair),
    });
    let written: Vec<&str> = login.into_iter().chain(path).chain(query).chain(url.fragment()).collect();
    let meant = |part: &&str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let meant = written.iter().map(meant).filter(|part| !part.contains('{'));
    let both = written.iter().map(|part| (*part).to_owned()).chain(meant);
    both.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_secrets_as_written_and_as_meant() {
        let found = secrets_of("wss://me:hun%40ter@h/ws/0123456789abcdef0/x?key=s3cret&streams=a@b#frag");
        for secret in ["hun%40ter", "hun@ter", "0123456789abcdef0", "s3cret", "frag"] {
            assert!(found.iter().any(|one| one == secret), "{secret}: {found:?}");
        }
        for harmless in ["me", "a@b", "x", "h"] {
            assert!(!found.iter().any(|one| one == harmless), "{harmless}: {found:?}");
        }
        assert_eq!(secrets_of("nats://t0ken@h:4222"), ["t0ken", "t0ken"]);
        assert_eq!(secrets_of("hunter2"), ["hunter2"]);
        assert!(secrets_of("Bearer {token}").is_empty());
    }
}
