//! `[upstreams.NAME.auth]`: how we prove to an upstream who we are.
//!
//! Texts here are templates: `{NAME}` is a secret, a signature or an encoded text of the same table, or one of the words that
//! `credentials::values` lists. Secrets themselves never stand here, only where they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::endpoint::{self, Endpoint};
use super::event_rule_settings::Condition;
use super::units;

/// `[upstreams.NAME.auth]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// Where secrets are, by the names that templates use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Headers of the handshake, and of everything else that is asked of the upstream.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters of the address, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Texts in another writing, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub encoded: BTreeMap<String, EncodedSettings>,
    /// Signatures, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub signatures: BTreeMap<String, SignatureSettings>,
    /// How far in the future `{expires_s}` and `{expires_ms}` are.
    #[serde(with = "units::duration")]
    pub expires_in: Duration,
    /// A message that is sent before anything is subscribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginSettings>,
    /// A token that is asked for over HTTP: `{token}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            secrets: BTreeMap::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            encoded: BTreeMap::new(),
            signatures: BTreeMap::new(),
            expires_in: Duration::from_secs(10),
            login: None,
            token: None,
        }
    }
}

impl AuthSettings {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a secret is. It is read anew for each connection, so that it may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// The environment variable of this name.
    Env(String),
    /// The text of a file, without the end of its last line.
    File(PathBuf),
    /// A credential that systemd hands over: the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// What is written where a secret's place is not.
const SECRET_FORMS: &str = "a secret never stands in settings; write where it is: { env = \"NAME\" }, { file = \"path\" } or \
                            { credential = \"name\" }";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            env: Option<String>,
            file: Option<PathBuf>,
            credential: Option<String>,
        }

        struct Place;

        impl<'de> Visitor<'de> for Place {
            type Value = SecretSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SECRET_FORMS)
            }

            // Refused without a word of it: it may be the secret.
            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretSource, E> {
                Err(E::custom(SECRET_FORMS))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
                use serde::de::Error as _;
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                let Written { env, file, credential } = &written;
                let names = [env.as_deref(), credential.as_deref(), file.as_deref().and_then(Path::to_str)];
                if names.contains(&Some("")) {
                    return Err(A::Error::custom(format!("names no place; {SECRET_FORMS}")));
                }
                match written {
                    Written { env: Some(name), file: None, credential: None } => Ok(SecretSource::Env(name)),
                    Written { env: None, file: Some(path), credential: None } => Ok(SecretSource::File(path)),
                    Written { env: None, file: None, credential: Some(name) } => Ok(SecretSource::Credential(name)),
                    _ => Err(A::Error::custom(format!("must name exactly one place; {SECRET_FORMS}"))),
                }
            }
        }

        deserializer.deserialize_any(Place)
    }
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoding {
    /// As they are; of bytes that are none, nothing can be made.
    Text,
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for addresses, without padding.
    Base64Url,
}

/// `[upstreams.NAME.auth.encoded.NAME]`: a text in another writing, as HTTP's basic authentication wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodedSettings {
    /// The text, a template.
    pub text: String,
    /// How it is written.
    #[serde(default = "EncodedSettings::default_encoding")]
    pub encoding: TextEncoding,
}

impl EncodedSettings {
    fn default_encoding() -> TextEncoding {
        TextEncoding::Base64
    }
}

/// `[upstreams.NAME.auth.signatures.NAME]`: an HMAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureSettings {
    /// The hash that it is made with.
    #[serde(default)]
    pub algorithm: HashAlgorithm,
    /// The name of the secret that it is made with.
    pub key: String,
    /// How that secret is written.
    #[serde(default = "SignatureSettings::default_key_encoding")]
    pub key_encoding: TextEncoding,
    /// What is signed: a template, or several whose bytes follow each other.
    #[serde(deserialize_with = "units::one_or_many", serialize_with = "units::one_as_itself")]
    pub message: Vec<SignedPart>,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: TextEncoding,
}

impl SignatureSettings {
    fn default_key_encoding() -> TextEncoding {
        TextEncoding::Text
    }
}

/// A hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, or { sha256 = \"text\" }")]
pub enum SignedPart {
    /// The bytes of a template's text.
    Text(String),
    /// The raw hash of one.
    Digest(DigestPart),
}

/// `{ sha256 = "text" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestPart {
    /// What is hashed with SHA-256, a template.
    pub sha256: String,
}

/// `[upstreams.NAME.auth.login]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSettings {
    /// The message, a template.
    pub send: String,
    /// What is in the answer that lets us in; without it nothing is waited for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<String, Condition>,
    /// What is in an answer that does not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Condition>,
    /// Pointers to the upstream's reason, in an answer that does not.
    #[serde(
        default,
        deserialize_with = "units::one_or_many",
        serialize_with = "units::one_as_itself",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reason: Vec<String>,
    /// The longest that an answer is waited for.
    #[serde(default = "LoginSettings::default_timeout", with = "units::duration")]
    pub timeout: Duration,
    /// How long a login holds; the link logs in again before.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// A pointer to that in the answer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_at: Option<String>,
}

impl LoginSettings {
    fn default_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

/// `[upstreams.NAME.auth.token]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// `http://` or `https://` address that is asked. Credentials in it are shown redacted.
    #[serde(deserialize_with = "endpoint::over_http")]
    pub url: Endpoint,
    /// How.
    #[serde(default)]
    pub method: HttpMethod,
    /// Headers, templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters of the address, templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The body, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A pointer to the token in the answer.
    pub value: String,
    /// How long a token holds.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// A pointer to that in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_at: Option<String>,
    /// What stands there.
    #[serde(default)]
    pub lifetime_unit: LifetimeUnit,
    /// How long before its end another one is asked for; absent: a fifth of its life, at most 5 minutes.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub refresh_before: Option<Duration>,
    /// What open links do when there is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_refresh: Option<OnRefresh>,
    /// A request that makes the same token hold for another life, instead of asking for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extend: Option<ExtendSettings>,
    /// Pointers to the reason in an answer without a token.
    #[serde(
        default = "TokenSettings::default_reason",
        deserialize_with = "units::one_or_many",
        serialize_with = "units::one_as_itself"
    )]
    pub reason: Vec<String>,
    /// The longest that an answer may take.
    #[serde(default = "TokenSettings::default_timeout", with = "units::duration")]
    pub timeout: Duration,
}

impl TokenSettings {
    fn default_reason() -> Vec<String> {
        ["/error", "/error_description", "/message", "/msg"].map(str::to_owned).to_vec()
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(10)
    }
}

/// `[upstreams.NAME.auth.token.extend]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendSettings {
    /// The address; absent: that of the token.
    #[serde(default, deserialize_with = "over_http", skip_serializing_if = "Option::is_none")]
    pub url: Option<Endpoint>,
    /// How it is asked.
    #[serde(default = "ExtendSettings::default_method")]
    pub method: HttpMethod,
    /// Headers, templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters of the address, templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The body, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl ExtendSettings {
    fn default_method() -> HttpMethod {
        HttpMethod::Put
    }
}

fn over_http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    endpoint::over_http(deserializer).map(Some)
}

/// How something is asked over HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
}

impl HttpMethod {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What a token's lifetime is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifetimeUnit {
    /// Seconds from now.
    #[default]
    S,
    /// Milliseconds from now.
    Ms,
    /// The moment of its end, seconds since 1970.
    UnixS,
    /// The moment of its end, milliseconds since 1970.
    UnixMs,
}

/// What open links do when there is another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRefresh {
    /// They log in again, and stay open. The default where the login has `{token}`.
    Login,
    /// They are replaced, the new one open before the old one is closed where there is room. The default otherwise.
    Replace,
    /// Nothing: the token is only looked at when a link is opened.
    Keep,
}
