//! Whom a webhook may reach: nobody but the public, unless settings allow it.
//!
//! A name is resolved once; what it stands for is checked, and only what was checked is connected to. So a name that stands
//! for something else a moment later gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::channel::Failure;

/// Checks addresses, and hands the client those that it has checked.
#[derive(Debug, Default)]
pub(super) struct AddressGuard {
    allow_private: bool,
    /// The name that was looked up last, and what it stands for. A channel asks for one thing at a time.
    checked: Mutex<Option<(String, Vec<SocketAddr>)>>,
}

impl AddressGuard {
    pub(super) fn new(allow_private: bool) -> Arc<Self> {
        Arc::new(Self { allow_private, checked: Mutex::default() })
    }

    /// Looks up whom an address means, and lets the client connect there.
    ///
    /// # Errors
    /// When that is nobody, or somebody who may not be reached.
    pub(super) async fn admit(&self, url: &Url) -> Result<(), Failure> {
        let port = url.port_or_known_default().unwrap_or_default();
        let (name, found) = match url.host() {
            // A client never looks these up.
            Some(Host::Ipv4(ip)) => (ip.to_string(), vec![SocketAddr::from((ip, port))]),
            Some(Host::Ipv6(ip)) => (ip.to_string(), vec![SocketAddr::from((ip, port))]),
            Some(Host::Domain(name)) => {
                let found = tokio::net::lookup_host((name, port)).await;
                let found = found.map_err(|error| Failure::later(format!("{name} cannot be looked up: {error}")))?;
                (name.to_owned(), found.collect())
            }
            None => return Err(Failure::never("the address has no host")),
        };
        if found.is_empty() {
            return Err(Failure::later(format!("{name} stands for no address")));
        }
        if !self.allow_private
            && let Some(few) = found.iter().find(|address| reachable_by_few(address.ip()))
        {
            return Err(Failure::never(format!(
                "{name} is {}, an address of this host or its network, which is not told anything; \
                 set `allow_private = true` of the channel if it is meant",
                few.ip()
            )));
        }
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, found));
        Ok(())
    }

    fn of(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.as_ref().filter(|(known, _)| known == name).map(|(_, found)| found.clone())
    }
}

/// The guard as a client asks it.
pub(super) struct Checked(pub(super) Arc<AddressGuard>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.of(name.as_str());
        Box::pin(async move {
            match found {
                Some(found) => Ok(Box::new(found.into_iter()) as Addrs),
                None => Err("its address was not checked".into()),
            }
        })
    }
}

/// Whether only this host or its network reaches an address, or whoever runs the host: private, loopback, link-local (where clouds
/// keep their metadata), shared, reserved, or one of these in the clothes of another.
pub fn reachable_by_few(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => few_v4(ip),
        IpAddr::V6(ip) => few_v6(ip),
    }
}

fn few_v4(ip: Ipv4Addr) -> bool {
    /// Where Azure's hosts are asked for metadata, though it looks public.
    const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip == AZURE_HOST
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
}

fn few_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        few_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Unspecified, loopback and those written as if they were IPv4; NAT64 of a network's own; Teredo, which hides its address;
        // documentation.
        [0, 0, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] | [0x2001, 0 | 0x0db8, ..] => true,
        // Mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Unique local, link-local, the site-local of old, multicast.
        [first, ..] => matches!(first & 0xffc0, 0xfe80 | 0xfec0) || first & 0xfe00 == 0xfc00 || first >= 0xff00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_host_or_its_network_reaches_is_known_in_every_clothing() {
        for text in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001:0:1::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert!(reachable_by_few(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2a00::1",
        ] {
            assert!(!reachable_by_few(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_connected_to_only_where_it_was_checked() {
        let guard = AddressGuard::new(false);
        for url in ["http://localhost/", "http://127.0.0.1/", "http://[::1]/", "http://2130706433/", "http://0x7f.1/"] {
            let failure = guard.admit(&url.parse().unwrap()).await.unwrap_err();
            assert!(failure.reason.contains("allow_private"), "{url}: {}", failure.reason);
        }
        assert_eq!(guard.of("localhost"), None, "nothing was admitted");
        let open = AddressGuard::new(true);
        open.admit(&"http://localhost:81/".parse().unwrap()).await.unwrap();
        assert!(open.of("localhost").unwrap().iter().all(|address| address.ip().is_loopback() && address.port() == 81));
        assert_eq!(open.of("other"), None);
    }
}
