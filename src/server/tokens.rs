//! Bearer tokens: their hashes, what each may be used for, and the files they are in, which may change while the daemon runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::config::{Scope, ServerSettings};

/// How often files are looked at for changes.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The fewest characters of a token that stands in a file as it is. Source: 64 random bits in hexadecimal.
const TOKEN_CHARACTERS_MIN: usize = 16;
/// More tokens than anybody hands out: each is compared with every token that is shown.
const TOKENS_MAX: usize = 1000;
/// What a hash begins with.
const SCHEME: &str = "sha256:";

/// Why tokens cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file.
    #[error("cannot read tokens of `{setting}` from {path}: {source}")]
    File {
        /// Who names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its only token is too short to be one.
    #[error("`server.token_file` {path} is empty; put a token of at least 16 characters into it")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not in the form that is expected.
    #[error("{place}: {reason}")]
    Form {
        /// A file and its line, or a setting.
        place: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

/// The hash of a token.
#[derive(Clone, Copy)]
struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(hash)
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix(SCHEME).filter(|text| text.len() == 64 && text.is_ascii())?;
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl std::fmt::Display for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A new token, and the line that its hash is in `server.tokens_file`.
#[derive(Debug)]
pub struct NewToken {
    /// For whoever is to use it. It is nowhere else.
    pub token: String,
    /// `NAME SCOPE sha256:HEX`
    pub line: String,
}

impl NewToken {
    /// 256 random bits.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn create(name: &str, scope: Scope) -> Result<Self, String> {
        use base64::Engine as _;
        use ring::rand::SecureRandom as _;
        if !is_name(name) {
            return Err(format!("`{name}` is no name for a token; {NAMES}"));
        }
        let mut bytes = [0; 32];
        let random = ring::rand::SystemRandom::new().fill(&mut bytes);
        random.map_err(|_| "the system gives no random bytes".to_owned())?;
        let token = format!("sluice_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes));
        let line = format!("{name} {} {}", scope.as_str(), TokenHash::of(token.as_bytes()));
        Ok(Self { token, line })
    }
}

const NAMES: &str = "names have letters, digits, `.`, `_` and `-`, at most 64";

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name.
    pub(super) name: Arc<str>,
    /// What it may be used for.
    pub(super) scope: Scope,
}

struct Token {
    caller: Caller,
    hash: TokenHash,
}

/// All tokens in force.
pub(super) struct Tokens {
    settings: ServerSettings,
    current: Mutex<Current>,
}

struct Current {
    tokens: Arc<[Token]>,
    looked: Instant,
    stamps: Vec<Option<Stamp>>,
    /// What was said of files that cannot be used, so that it is said once.
    complaint: Option<String>,
}

/// What changes when a file does.
type Stamp = (SystemTime, u64);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Those of the settings; none where they name none.
    pub(super) fn new(settings: &ServerSettings) -> Result<Option<Self>, TokenError> {
        if settings.token_file.is_none() && settings.tokens_file.is_none() && settings.tokens.is_empty() {
            return Ok(None);
        }
        // Before reading, so that what changes meanwhile is read again.
        let stamps = stamps(settings);
        let tokens = read(settings)?.into();
        let current = Current { tokens, looked: Instant::now(), stamps, complaint: None };
        Ok(Some(Self { settings: settings.clone(), current: Mutex::new(current) }))
    }

    /// Whose token this is.
    pub(super) fn caller(&self, shown: &[u8]) -> Option<Caller> {
        let tokens = self.now();
        let hash = TokenHash::of(shown);
        // Every one is compared to its end: the time it takes tells nothing of which is near.
        let mut found = None;
        for token in tokens.iter() {
            if bool::from(token.hash.0.ct_eq(&hash.0)) {
                found = Some(&token.caller);
            }
        }
        found.cloned()
    }

    /// Small local files: reading them may block for as long as a local disk does.
    fn now(&self) -> Arc<[Token]> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_INTERVAL {
            current.looked = Instant::now();
            let stamps = stamps(&self.settings);
            if stamps != current.stamps || current.complaint.is_some() {
                match read(&self.settings) {
                    Ok(tokens) => {
                        tracing::info!(tokens = tokens.len(), "tokens were read again");
                        current.tokens = tokens.into();
                        current.complaint = None;
                    }
                    Err(error) => {
                        let complaint = error.to_string();
                        if current.complaint.as_ref() != Some(&complaint) {
                            tracing::error!("tokens stay as they were: {complaint}");
                        }
                        current.complaint = Some(complaint);
                    }
                }
                current.stamps = stamps;
            }
        }
        Arc::clone(&current.tokens)
    }
}

fn files(settings: &ServerSettings) -> impl Iterator<Item = &PathBuf> {
    let of_tokens = settings.tokens.values().filter_map(|token| token.file.as_ref());
    settings.token_file.iter().chain(&settings.tokens_file).chain(of_tokens)
}

fn stamps(settings: &ServerSettings) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files(settings).map(stamp).collect()
}

fn read(settings: &ServerSettings) -> Result<Vec<Token>, TokenError> {
    let mut tokens = Vec::new();
    let mut add = |name: &str, scope, hash| {
        tokens.push(Token { caller: Caller { name: name.into(), scope }, hash });
    };
    if let Some(path) = &settings.token_file {
        let text = text_of("server.token_file", path)?;
        let shown = text.trim();
        if shown.len() < TOKEN_CHARACTERS_MIN {
            return Err(TokenError::Empty { path: path.clone() });
        }
        add("token_file", Scope::Admin, TokenHash::of(shown.as_bytes()));
    }
    if let Some(path) = &settings.tokens_file {
        for (number, line) in lines(&text_of("server.tokens_file", path)?) {
            let (name, scope, hash) = line_of(line)
                .map_err(|reason| TokenError::Form { place: format!("{}:{number}", path.display()), reason })?;
            add(name, scope, hash);
        }
    }
    for (name, token) in &settings.tokens {
        let hash_of = |text: &str, place: String| {
            let reason = "expected `sha256:` and 64 digits, as `sluice token create` prints it".to_owned();
            TokenHash::read(text).ok_or(TokenError::Form { place, reason })
        };
        if let Some(hash) = &token.hash {
            add(name, token.scope, hash_of(hash, format!("server.tokens.{name}.hash"))?);
        }
        if let Some(path) = &token.file {
            // One a line, so that two can be in force while one takes the place of the other.
            for (number, line) in lines(&text_of(&format!("server.tokens.{name}.file"), path)?) {
                add(name, token.scope, hash_of(line, format!("{}:{number}", path.display()))?);
            }
        }
    }
    if tokens.len() > TOKENS_MAX {
        let reason = format!("there are {} tokens; at most {TOKENS_MAX} are taken", tokens.len());
        return Err(TokenError::Form { place: "server.tokens_file".into(), reason });
    }
    Ok(tokens)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn line_of(line: &str) -> Result<(&str, Scope, TokenHash), String> {
    let mut parts = line.split_whitespace();
    let (Some(name), Some(scope), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("expected `NAME SCOPE sha256:HEX`, as `sluice token create` prints it".into());
    };
    if !is_name(name) {
        return Err(format!("`{name}` is no name for a token; {NAMES}"));
    }
    let known = Scope::ALL.into_iter().find(|known| known.as_str() == scope);
    let scope = known.ok_or_else(|| format!("there is no scope `{scope}`; there are `read`, `operate` and `admin`"))?;
    let hash = TokenHash::read(hash);
    Ok((name, scope, hash.ok_or("the hash must be `sha256:` and 64 hexadecimal digits")?))
}

fn text_of(setting: &str, path: &Path) -> Result<String, TokenError> {
    std::fs::read_to_string(path).map_err(|source| TokenError::File {
        setting: setting.to_owned(),
        path: path.to_owned(),
        source,
    })
}
