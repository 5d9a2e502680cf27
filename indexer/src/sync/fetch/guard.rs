//! Where a request may go: to the hosts that somebody here has named, and of others only to public addresses.
//!
//! Always true: a redirect, or a name that suddenly means another address, leads to no service of this host or of its
//! networks; what counts is the address that is connected to, not the name. (Through a proxy, which connects by
//! itself, only addresses that stand in the redirect can be seen.)

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// The hosts that may be anywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    named: Arc<RwLock<BTreeSet<String>>>,
}

/// A host that a request must not go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is inside a private network, and nobody here has named it")]
pub(super) struct Private {
    /// As it was written.
    pub(super) host: String,
}

impl Guard {
    /// A guard that lets these hosts be anywhere.
    pub(super) fn new(hosts: &[String]) -> Self {
        let guard = Self::default();
        hosts.iter().for_each(|host| guard.name(host));
        guard
    }

    /// Lets a host be anywhere: somebody here has named it.
    pub(super) fn name(&self, host: &str) {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        named.insert(plain(host));
    }

    fn is_named(&self, host: &str) -> bool {
        self.named.read().unwrap_or_else(PoisonError::into_inner).contains(&plain(host))
    }

    /// An error when `url` says an address that a request must not go to. What a name means, the resolver sees.
    pub(super) fn check(&self, url: &Url) -> Result<(), Private> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        let host = url.host_str().unwrap_or_default();
        if is_public(address) || self.is_named(host) {
            Ok(())
        } else {
            Err(Private { host: host.to_owned() })
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if found.is_empty() || guard.is_named(host) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let public: Vec<SocketAddr> = found.into_iter().filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err(Private { host: host.to_owned() }.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Names do not tell case, nor a dot at the end; addresses may have brackets.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase()
}

/// Whether an address belongs to the whole world.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => v4_inside(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let local = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 || first & 0xffc0 == 0xfec0;
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || local)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    let of_protocols = (a, b, c) == (192, 0, 0);
    let of_benchmarks = a == 198 && b & 0xfe == 18;
    !(a == 0
        || a >= 240
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || of_protocols
        || of_benchmarks)
}

/// The old address that a new one stands for: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn v4_inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_known_however_they_are_written() {
        for (text, expected) in [
            ("8.8.8.8", true),
            ("100.63.255.255", true),
            ("172.32.0.1", true),
            ("2a04:4e42::644", true),
            ("2002:0808:0808::1", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("192.0.0.8", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::10.0.0.1", false),
            ("64:ff9b::169.254.169.254", false),
            ("2002:7f00:0001::1", false),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_somebody_here_named_may_be_anywhere() {
        let guard = Guard::new(&["Mirror.Internal.".to_owned(), "[::1]".to_owned()]);
        guard.name("127.0.0.1");
        let check = |text: &str| guard.check(&Url::parse(text).unwrap()).is_ok();
        assert!(guard.is_named("mirror.internal") && !guard.is_named("mirror.internal.evil"));
        assert!(check("http://127.0.0.1:8080/x") && check("http://[::1]/x") && check("http://8.8.8.8/"));
        // Other ways of writing an address are the same address.
        assert!(check("http://2130706433/x") && check("http://0x7f.1/x"));
        assert!(!check("http://127.0.0.2/") && !check("http://169.254.169.254/latest/meta-data"));
        assert!(!check("http://[::ffff:127.0.0.1]/") && !check("http://2852039166/"));
    }
}
