//! Finds the subject of a request from its head.
use std::net::{IpAddr, Ipv6Addr};

use ::http::HeaderName;
use ::http::request::Parts;
use ipnet::{IpNet, Ipv4Net};

use crate::subject::{HashKey, Subject};

/// Finds the subject of a request. Any `Fn(&HashKey, &Parts) -> Option<Subject>` implements it.
pub trait Extract {
    /// The subject, or None when the request does not name one.
    fn extract(&self, key: &HashKey, request: &Parts) -> Option<Subject>;

    /// Tries `other` when this finds no subject.
    fn or<Other: Extract>(self, other: Other) -> Or<Self, Other>
    where
        Self: Sized,
    {
        Or { first: self, other }
    }
}

impl<F: Fn(&HashKey, &Parts) -> Option<Subject>> Extract for F {
    fn extract(&self, key: &HashKey, request: &Parts) -> Option<Subject> {
        self(key, request)
    }
}

/// The value of a header, such as `x-api-key`. It is not validated: that is the service's task.
#[derive(Debug, Clone)]
pub struct Header(HeaderName);

impl Header {
    /// The header of this name.
    pub const fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl Extract for Header {
    fn extract(&self, key: &HashKey, request: &Parts) -> Option<Subject> {
        let value = request.headers.get(&self.0)?;
        Some(Subject::new(key, &[b"header", self.0.as_str().as_bytes(), value.as_bytes()]))
    }
}

/// The client's address: the socket's peer, or the address that trusted proxies give in `X-Forwarded-For`. An IPv6
/// client counts by its /64, within which it can choose any address.
#[derive(Debug, Clone)]
pub struct Address<P> {
    peer: P,
    trusted: Vec<IpNet>,
}

impl<P: Fn(&Parts) -> Option<IpAddr>> Address<P> {
    /// `peer` finds the address of the socket's other end, usually in the request's extensions.
    pub const fn new(peer: P) -> Self {
        Self { peer, trusted: Vec::new() }
    }

    /// Sets the networks of trusted proxies. If the peer is in one of them, the client is the right-most address in
    /// `X-Forwarded-For` that is in none of them. A network of IPv4 addresses mapped into IPv6 means the IPv4 network.
    #[must_use]
    pub fn behind(self, trusted: impl Into<Vec<IpNet>>) -> Self {
        Self { trusted: trusted.into().into_iter().map(unmapped).collect(), ..self }
    }

    fn client(&self, request: &Parts) -> Option<IpAddr> {
        let mut client = (self.peer)(request)?.to_canonical();
        // Lines of one header form one list. An entry that is no address ends the trusted
        // part; an empty entry is skipped.
        let lines = request.headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.filter(|hop| !hop.trim_ascii().is_empty()) {
            if !self.trusted.iter().any(|network| network.contains(&client)) {
                break;
            }
            let parsed = std::str::from_utf8(hop).ok().and_then(|hop| hop.trim().parse::<IpAddr>().ok());
            let Some(hop) = parsed else { break };
            client = hop.to_canonical();
        }
        Some(client)
    }
}

impl<P: Fn(&Parts) -> Option<IpAddr>> Extract for Address<P> {
    fn extract(&self, key: &HashKey, request: &Parts) -> Option<Subject> {
        Some(match self.client(request)? {
            IpAddr::V4(address) => Subject::new(key, &[b"address", &address.octets()]),
            IpAddr::V6(address) => Subject::new(key, &[b"address", &network(address)]),
        })
    }
}

/// `::ffff:192.0.2.0/120` as `192.0.2.0/24`: addresses are compared in their IPv4 form.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    // The shift leaves the upper 64 bits, so the cast loses nothing.
    ((address.to_bits() >> 64) as u64).to_be_bytes()
}

/// One extractor, and another for requests in which the first finds no subject.
#[derive(Debug, Clone)]
pub struct Or<First, Other> {
    first: First,
    other: Other,
}

impl<First: Extract, Other: Extract> Extract for Or<First, Other> {
    fn extract(&self, key: &HashKey, request: &Parts) -> Option<Subject> {
        self.first.extract(key, request).or_else(|| self.other.extract(key, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    const KEY: HashKey = HashKey::new([1; 16]);

    fn subject_of(peer: &str, forwarded: &[&str]) -> Subject {
        let mut request = Request::builder();
        for line in forwarded {
            request = request.header("X-Forwarded-For", *line);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let peer: IpAddr = peer.parse().unwrap();
        let trusted = ["10.0.0.0/8", "fd00::/8", "::ffff:172.16.0.0/108"].map(|network| network.parse().unwrap());
        Address::new(move |_: &Parts| Some(peer)).behind(trusted).extract(&KEY, &head).unwrap()
    }

    #[test]
    fn only_a_trusted_peer_may_say_who_the_client_is() {
        let client = subject_of("203.0.113.7", &[]);
        assert_eq!(subject_of("203.0.113.7", &["198.51.100.1"]), client, "a forged header moves nobody");
        assert_eq!(subject_of("10.1.2.3", &["203.0.113.7"]), client);
        assert_eq!(subject_of("10.1.2.3", &["198.51.100.1, 203.0.113.7"]), client, "the right-most counts");
        assert_eq!(subject_of("10.1.2.3", &["198.51.100.1", "203.0.113.7 , 10.9.9.9"]), client, "past other proxies");
        assert_eq!(subject_of("::ffff:10.1.2.3", &["203.0.113.7"]), client, "a mapped address is the same address");
        assert_eq!(subject_of("fd00::1", &["203.0.113.7"]), client);
        assert_eq!(subject_of("172.16.0.9", &["203.0.113.7"]), client, "and so is a mapped network");
        assert_eq!(subject_of("10.1.2.3", &["203.0.113.7,, ,10.9.9.9, ", ""]), client, "an empty entry is none");
        assert_eq!(subject_of("10.1.2.3", &["nonsense"]), subject_of("10.1.2.3", &[]));
    }

    #[test]
    fn an_ipv6_client_counts_by_its_prefix() {
        assert_eq!(subject_of("2001:db8::1", &[]), subject_of("2001:db8::ffff:1", &[]));
        assert_ne!(subject_of("2001:db8::1", &[]), subject_of("2001:db8:0:1::1", &[]));
    }

    #[test]
    fn the_first_extractor_that_finds_somebody_wins() {
        let header = Header::new(HeaderName::from_static("x-api-key"));
        let either = header.clone().or(|key: &HashKey, _: &Parts| Some(Subject::new(key, &[b"other"])));
        let (named, ()) = Request::builder().header("X-Api-Key", "k").body(()).unwrap().into_parts();
        let (nameless, ()) = Request::builder().body(()).unwrap().into_parts();
        assert_eq!(either.extract(&KEY, &named), header.extract(&KEY, &named));
        assert_eq!(either.extract(&KEY, &nameless), Some(Subject::new(&KEY, &[b"other"])));
    }
}
