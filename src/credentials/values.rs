//! What the templates of `[upstreams.NAME.auth]` may name, and what comes of them at one moment.
//!
//! | hole | is |
//! |---|---|
//! | `{NAME}` | a secret, a signature or an encoded text of the table |
//! | `{token}` | the token, where `[…auth.token]` asks for one |
//! | `{timestamp_s}`, `{timestamp_ms}`, `{timestamp_us}`, `{timestamp_iso}` | now; the last as `2026-01-31T12:00:00.000Z` |
//! | `{expires_s}`, `{expires_ms}` | `auth.expires_in` later |
//! | `{nonce}` | a number that grows with each use: microseconds since 1970, or one more than the last |
//! | `{method}`, `{host}`, `{path}`, `{query}`, `{body}` | of the request that is signed; a WebSocket's is a `GET` without a body |
//!
//! One message, request or handshake is filled at one moment, so that a timestamp is the same wherever it stands in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::{digest, hmac};

use super::secret::Secrets;
use crate::clock::UnixNanos;
use crate::config::{AuthSettings, HashAlgorithm, SignedPart, TextEncoding};
use crate::dialect::template::{Fill, Template};

/// Words that are always there.
const WORDS: [&str; 12] = [
    "timestamp_s",
    "timestamp_ms",
    "timestamp_us",
    "timestamp_iso",
    "expires_s",
    "expires_ms",
    "nonce",
    "method",
    "host",
    "path",
    "query",
    "body",
];

/// Those that stand for a number, where a template wants a JSON value.
const NUMBERS: [&str; 6] = ["timestamp_s", "timestamp_ms", "timestamp_us", "expires_s", "expires_ms", "nonce"];

/// The token's word.
pub(super) const TOKEN: &str = "token";

/// Signatures and encoded texts, checked: whatever a template of theirs names is there, and none leads in a circle.
#[derive(Debug)]
pub(super) struct Values {
    encoded: BTreeMap<String, (Template, TextEncoding)>,
    signatures: BTreeMap<String, Signature>,
    secrets: Vec<String>,
    has_token: bool,
    expires_in: Duration,
    last_nonce: AtomicU64,
}

#[derive(Debug)]
struct Signature {
    algorithm: hmac::Algorithm,
    key: String,
    key_encoding: TextEncoding,
    message: Vec<Part>,
    encoding: TextEncoding,
}

#[derive(Debug)]
enum Part {
    Text(Template),
    Sha256(Template),
}

impl Part {
    fn template(&self) -> &Template {
        match self {
            Self::Text(template) | Self::Sha256(template) => template,
        }
    }
}

/// A key of the table, and what is wrong with it.
pub(super) type Fault = (String, String);

impl Values {
    pub(super) fn compile(settings: &AuthSettings) -> Result<Self, Fault> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let tables = [
            ("secrets", settings.secrets.keys().collect::<Vec<_>>()),
            ("encoded", settings.encoded.keys().collect()),
            ("signatures", settings.signatures.keys().collect()),
        ];
        for (table, keys) in &tables {
            for key in keys {
                check_name(key).map_err(|reason| (format!("{table}.{key}"), reason))?;
                if let Some(other) = names.insert(key, table) {
                    return Err((format!("{table}.{key}"), format!("is the name of one of `{other}` already")));
                }
            }
        }
        let mut values = Self {
            encoded: BTreeMap::new(),
            signatures: BTreeMap::new(),
            secrets: settings.secrets.keys().cloned().collect(),
            has_token: settings.token.is_some(),
            expires_in: settings.expires_in,
            last_nonce: AtomicU64::new(0),
        };
        for (name, encoded) in &settings.encoded {
            let template = template_of(&encoded.text).map_err(|reason| (format!("encoded.{name}.text"), reason))?;
            values.encoded.insert(name.clone(), (template, encoded.encoding));
        }
        for (name, signature) in &settings.signatures {
            let at = |key: &str| format!("signatures.{name}.{key}");
            if !settings.secrets.contains_key(&signature.key) {
                let known = listed(settings.secrets.keys().map(String::as_str));
                let reason = format!("`{}` is none of `secrets`; there are {known}", signature.key);
                return Err((at("key"), reason));
            }
            if signature.encoding == TextEncoding::Text {
                return Err((
                    at("encoding"),
                    "a signature is bytes: write \"hex\", \"base64\" or \"base64_url\"".into(),
                ));
            }
            if signature.message.is_empty() {
                return Err((at("message"), "is empty; nothing would be signed".into()));
            }
            let parts = signature.message.iter().map(|part| match part {
                SignedPart::Text(text) => template_of(text).map(Part::Text),
                SignedPart::Digest(part) => template_of(&part.sha256).map(Part::Sha256),
            });
            let message = parts.collect::<Result<_, _>>().map_err(|reason| (at("message"), reason))?;
            let algorithm = match signature.algorithm {
                HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
                HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
                HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
            };
            let compiled = Signature {
                algorithm,
                key: signature.key.clone(),
                key_encoding: signature.key_encoding,
                message,
                encoding: signature.encoding,
            };
            values.signatures.insert(name.clone(), compiled);
        }
        for name in values.encoded.keys() {
            values.check_inner(name, &format!("encoded.{name}.text"))?;
        }
        for name in values.signatures.keys() {
            values.check_inner(name, &format!("signatures.{name}.message"))?;
        }
        Ok(values)
    }

    /// Templates of a signature or an encoded text; none of anything else.
    fn inner(&self, name: &str) -> Vec<&Template> {
        let signed = self.signatures.get(name).map(|signature| signature.message.iter().map(Part::template).collect());
        signed.or_else(|| self.encoded.get(name).map(|(template, _)| vec![template])).unwrap_or_default()
    }

    fn check_inner(&self, name: &str, key: &str) -> Result<(), Fault> {
        for template in self.inner(name) {
            self.check(template, key)?;
            if self.uses(template, name) {
                return Err((key.to_owned(), format!("leads in a circle: it needs `{{{name}}}` itself")));
            }
        }
        Ok(())
    }

    /// Whether everything is there that a template names.
    pub(super) fn check(&self, template: &Template, key: &str) -> Result<(), Fault> {
        match template.names().find(|name| !self.knows(name)) {
            None => Ok(()),
            Some(TOKEN) => {
                Err((key.to_owned(), "has `{token}`, and there is no `auth.token` that says how it is got".into()))
            }
            Some(name) => {
                let own = self.secrets.iter().chain(self.encoded.keys()).chain(self.signatures.keys());
                let known = listed(own.map(String::as_str).chain(self.has_token.then_some(TOKEN)).chain(WORDS));
                Err((key.to_owned(), format!("knows no `{{{name}}}`; known are {known}")))
            }
        }
    }

    /// Whether there is something of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        WORDS.contains(&name)
            || (name == TOKEN && self.has_token)
            || self.secrets.iter().any(|secret| secret == name)
            || self.encoded.contains_key(name)
            || self.signatures.contains_key(name)
    }

    /// Whether a template needs something, itself or by what it names.
    pub(super) fn uses(&self, template: &Template, wanted: &str) -> bool {
        let mut seen = Vec::new();
        let mut open: Vec<&str> = template.names().collect();
        while let Some(name) = open.pop() {
            if name == wanted {
                return true;
            }
            if !seen.contains(&name) {
                seen.push(name);
                open.extend(self.inner(name).into_iter().flat_map(Template::names));
            }
        }
        false
    }

    /// The keys that signatures are made with.
    ///
    /// # Errors
    /// The name of a signature's key that is not written as it should be.
    pub(super) fn keys(&self, secrets: &Secrets) -> Result<Keys, Fault> {
        let mut keys = BTreeMap::new();
        for (name, signature) in &self.signatures {
            let text = secrets.get(&signature.key).unwrap_or_default();
            let bytes = decode(text, signature.key_encoding).ok_or_else(|| {
                let written = encoding_name(signature.key_encoding);
                let at = format!("signatures.{name}.key_encoding");
                (at, format!("says that the secret `{}` is {written}, which it is not", signature.key))
            })?;
            keys.insert(name.clone(), hmac::Key::new(signature.algorithm, &bytes));
        }
        Ok(Keys(keys))
    }

    /// A number that is larger than all before.
    fn nonce(&self, now: UnixNanos) -> u64 {
        let now = u64::try_from(now.0 / 1000).unwrap_or_default();
        let next = |last: u64| now.max(last + 1);
        let before = self.last_nonce.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        // Never refused: there always is a next one.
        next(before.unwrap_or_else(|last| last))
    }
}

/// Keys of signatures, by the signature's name.
#[derive(Debug, Clone)]
pub(super) struct Keys(BTreeMap<String, hmac::Key>);

/// What is signed besides what the templates say.
#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: String,
}

impl Target {
    /// Of a request to an address.
    pub(super) fn of(method: &str, url: &url::Url) -> Self {
        Self {
            method: method.to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            path: url.path().to_owned(),
            query: url.query().unwrap_or_default().to_owned(),
            body: String::new(),
        }
    }
}

/// All values at one moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    values: &'a Values,
    secrets: &'a Secrets,
    keys: &'a Keys,
    token: Option<&'a str>,
    pub(super) target: Target,
    now: UnixNanos,
    nonce: u64,
}

impl<'a> Scene<'a> {
    pub(super) fn now(
        values: &'a Values,
        (secrets, keys): (&'a Secrets, &'a Keys),
        token: Option<&'a str>,
        target: Target,
    ) -> Self {
        let now = UnixNanos::now();
        Self { values, secrets, keys, token, target, now, nonce: values.nonce(now) }
    }

    /// A template with its holes filled. All of them are known: templates are checked before.
    pub(super) fn render(&self, template: &Template) -> String {
        template.render(self).unwrap_or_default()
    }

    fn sign(&self, name: &str, signature: &Signature) -> Option<String> {
        let mut context = hmac::Context::with_key(self.keys.0.get(name)?);
        for part in &signature.message {
            match part {
                Part::Text(template) => context.update(template.render(self)?.as_bytes()),
                Part::Sha256(template) => {
                    context.update(digest::digest(&digest::SHA256, template.render(self)?.as_bytes()).as_ref());
                }
            }
        }
        Some(encode(context.sign().as_ref(), signature.encoding))
    }

    fn word(&self, name: &str) -> Option<String> {
        let nanos = self.now.0;
        let later = self.now.saturating_add(self.values.expires_in).0;
        Some(match name {
            "timestamp_s" => (nanos / 1_000_000_000).to_string(),
            "timestamp_ms" => (nanos / 1_000_000).to_string(),
            "timestamp_us" => (nanos / 1000).to_string(),
            "timestamp_iso" => {
                let now = jiff::Timestamp::from_nanosecond(i128::from(nanos)).ok()?;
                now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
            }
            "expires_s" => (later / 1_000_000_000).to_string(),
            "expires_ms" => (later / 1_000_000).to_string(),
            "nonce" => self.nonce.to_string(),
            "method" => self.target.method.clone(),
            "host" => self.target.host.clone(),
            "path" => self.target.path.clone(),
            "query" => self.target.query.clone(),
            "body" => self.target.body.clone(),
            _ => return None,
        })
    }
}

impl Fill for Scene<'_> {
    fn json(&self, name: &str) -> Option<Cow<'_, str>> {
        let text = self.text(name)?;
        if NUMBERS.contains(&name) { Some(text) } else { serde_json::to_string(&text).ok().map(Cow::Owned) }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        if name == TOKEN {
            return self.token.map(Cow::Borrowed);
        }
        if let Some(secret) = self.secrets.get(name) {
            return Some(Cow::Borrowed(secret));
        }
        if let Some(signature) = self.values.signatures.get(name) {
            return self.sign(name, signature).map(Cow::Owned);
        }
        if let Some((template, encoding)) = self.values.encoded.get(name) {
            return Some(Cow::Owned(encode(template.render(self)?.as_bytes(), *encoding)));
        }
        self.word(name).map(Cow::Owned)
    }
}

fn encode(bytes: &[u8], encoding: TextEncoding) -> String {
    match encoding {
        TextEncoding::Text => String::from_utf8_lossy(bytes).into_owned(),
        TextEncoding::Hex => {
            let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
            bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
        }
        TextEncoding::Base64 => STANDARD.encode(bytes),
        TextEncoding::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
    }
}

fn decode(text: &str, encoding: TextEncoding) -> Option<Vec<u8>> {
    match encoding {
        TextEncoding::Text => Some(text.as_bytes().to_vec()),
        TextEncoding::Hex => {
            let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
            if digits.len() % 2 == 1 {
                return None;
            }
            digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect()
        }
        // Some providers show keys without their padding.
        TextEncoding::Base64 => STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok(),
        TextEncoding::Base64Url => URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok(),
    }
}

fn encoding_name(encoding: TextEncoding) -> &'static str {
    match encoding {
        TextEncoding::Text => "text",
        TextEncoding::Hex => "hexadecimal",
        TextEncoding::Base64 => "base64",
        TextEncoding::Base64Url => "base64 for addresses",
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !first || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return Err("is no name; use lower-case letters, digits and `_`".into());
    }
    if name == TOKEN || WORDS.contains(&name) {
        return Err(format!("`{{{name}}}` means something else; choose another name"));
    }
    Ok(())
}

pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Reads a message: JSON where it looks like it, whose holes are filled with values or escaped text; else a text whose holes are
/// filled as they are.
pub(super) fn template_of(text: &str) -> Result<Template, String> {
    let mut start = text.trim_start().chars();
    // An object begins with a quote, a space or its end, never with a name.
    let hole = start.next() == Some('{') && start.next().is_some_and(|next| next.is_ascii_lowercase());
    if hole { Template::plain(text) } else { Template::request(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuthSettings, SecretSource};

    fn signed(auth: &str, secret: &str, target: Target, nonce: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, secret).unwrap();
        let mut settings: AuthSettings = toml::from_str(auth).unwrap();
        settings.secrets.insert("secret".to_owned(), SecretSource::File(path));
        let values = Values::compile(&settings).unwrap();
        let secrets = Secrets::read(&settings.secrets).unwrap();
        let keys = values.keys(&secrets).unwrap();
        let scene =
            Scene { values: &values, secrets: &secrets, keys: &keys, token: None, target, now: UnixNanos(0), nonce };
        scene.render(&Template::plain("{sign}").unwrap())
    }

    #[test]
    fn signatures_are_those_that_providers_publish_as_examples() {
        // Binance, "SIGNED endpoint security", and Kraken, "REST authentication".
        let query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559";
        let binance = signed(
            "signatures.sign = { key = 'secret', message = '{query}' }",
            "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
            Target { query: query.to_owned(), ..Target::default() },
            0,
        );
        assert_eq!(binance, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71");
        let body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25";
        let kraken = signed(
            "signatures.sign = { algorithm = 'sha512', key = 'secret', key_encoding = 'base64', encoding = 'base64', \
             message = ['{path}', { sha256 = '{nonce}{body}' }] }",
            "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
            Target { path: "/0/private/AddOrder".to_owned(), body: body.to_owned(), ..Target::default() },
            1_616_492_376_594,
        );
        assert_eq!(kraken, "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==");
    }

    #[test]
    fn a_nonce_is_larger_than_all_before_even_if_the_clock_goes_back() {
        let values = Values::compile(&AuthSettings::default()).unwrap();
        let at = |micros: i64| values.nonce(UnixNanos(micros * 1000));
        assert_eq!([at(5), at(5), at(3), at(100), at(7)], [5, 6, 7, 100, 101]);
    }

    #[test]
    fn what_is_written_in_another_way_is_read_back() {
        for encoding in [TextEncoding::Text, TextEncoding::Hex, TextEncoding::Base64, TextEncoding::Base64Url] {
            let text = encode(b"a >>> ???", encoding);
            assert_eq!(decode(&text, encoding).unwrap(), b"a >>> ???", "{text}");
        }
        assert_eq!(decode("abc", TextEncoding::Hex), None);
        assert_eq!(decode("zz", TextEncoding::Hex), None);
        assert_eq!(decode("a b", TextEncoding::Base64), None);
    }
}
