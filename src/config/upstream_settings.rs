//! `[upstreams.NAME]`: a feed provider's endpoint.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::auth_settings::AuthSettings;
use super::endpoint::{self, Endpoint};
use super::limits::LimitOverrides;
use super::units::{self, ByteSize};

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSettings {
    /// `ws://` or `wss://` address. Credentials in it are shown redacted.
    pub url: Endpoint,
    /// A preset's name, or one of `[dialects]`.
    pub dialect: String,
    /// The largest message taken; a larger one closes the link.
    #[serde(default = "UpstreamSettings::default_max_message")]
    pub max_message: ByteSize,
    /// Bytes read on while the journal cannot take more, before reading stops.
    #[serde(default = "UpstreamSettings::default_buffer")]
    pub buffer: ByteSize,
    /// Topics a link may carry; absent: what the dialect says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics_per_link: Option<u32>,
    /// What else it allows, where the dialect says otherwise.
    #[serde(default, skip_serializing_if = "LimitOverrides::is_empty")]
    pub limits: LimitOverrides,
    /// A PEM file of certificates trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A PEM file of the certificate, and of those it was issued by, that we prove ourselves with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// A PEM file of its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// How it is reached, where that is not as `[pool]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyChoice>,
    /// How we prove who we are.
    #[serde(default, skip_serializing_if = "AuthSettings::is_empty")]
    pub auth: AuthSettings,
    /// When a process that takes over connects to it.
    #[serde(default, skip_serializing_if = "TakeOver::is_beside")]
    pub take_over: TakeOver,
    /// Overrides of `[pool]`.
    #[serde(default, skip_serializing_if = "PoolOverrides::is_empty")]
    pub pool: PoolOverrides,
}

/// When a process that takes over from another connects to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeOver {
    /// While the other one still is.
    #[default]
    Beside,
    /// Once it is no longer: it may not be connected to twice.
    After,
}

impl TakeOver {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    fn is_beside(&self) -> bool {
        *self == Self::Beside
    }
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// Directly, whatever `[pool]` says: `"none"`.
    Direct,
    /// Through this proxy: `http://` or `socks5://`.
    Through(Endpoint),
}

impl Serialize for ProxyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Direct => serializer.serialize_str("none"),
            Self::Through(proxy) => proxy.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::of_a_proxy(deserializer).map(|proxy| proxy.map_or(Self::Direct, Self::Through))
    }
}

impl UpstreamSettings {
    /// The proxy that it is reached through, of its own or of `[pool]`.
    pub fn proxy<'s>(&'s self, pool: &'s super::PoolSettings) -> Option<&'s Endpoint> {
        match &self.proxy {
            Some(ProxyChoice::Direct) => None,
            Some(ProxyChoice::Through(proxy)) => Some(proxy),
            None => pool.proxy.as_ref(),
        }
    }

    fn default_max_message() -> ByteSize {
        ByteSize::mib(16)
    }

    fn default_buffer() -> ByteSize {
        ByteSize::mib(8)
    }
}

/// `[upstreams.NAME.pool]`: any key of `[pool]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolOverrides {
    /// See [`PoolSettings::min_connections`](super::PoolSettings::min_connections).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_connections: Option<u32>,
    /// See [`PoolSettings::max_connections`](super::PoolSettings::max_connections).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// See [`PoolSettings::health_check_interval`](super::PoolSettings::health_check_interval).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub health_check_interval: Option<Duration>,
    /// See [`PoolSettings::pong_timeout`](super::PoolSettings::pong_timeout).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub pong_timeout: Option<Duration>,
    /// See [`PoolSettings::connect_timeout`](super::PoolSettings::connect_timeout).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// See [`PoolSettings::handshake_timeout`](super::PoolSettings::handshake_timeout).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Duration>,
    /// See [`PoolSettings::confirm_timeout`](super::PoolSettings::confirm_timeout).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub confirm_timeout: Option<Duration>,
    /// See [`PoolSettings::backoff_min`](super::PoolSettings::backoff_min).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub backoff_min: Option<Duration>,
    /// See [`PoolSettings::backoff_max`](super::PoolSettings::backoff_max).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub backoff_max: Option<Duration>,
    /// See [`PoolSettings::refused_wait`](super::PoolSettings::refused_wait).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub refused_wait: Option<Duration>,
    /// See [`PoolSettings::silence_min`](super::PoolSettings::silence_min).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub silence_min: Option<Duration>,
    /// See [`PoolSettings::silence_max`](super::PoolSettings::silence_max).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub silence_max: Option<Duration>,
    /// See [`PoolSettings::link_rate_max`](super::PoolSettings::link_rate_max).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_rate_max: Option<u32>,
    /// See [`PoolSettings::shrink_after`](super::PoolSettings::shrink_after).
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub shrink_after: Option<Duration>,
}

impl PoolOverrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
