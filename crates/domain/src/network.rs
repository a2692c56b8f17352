//! Addresses and networks, parsed into one form for every way to write them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Invalid, invalid::read_each};

/// Number of leading bits of an IPv6 address that mark a mapped IPv4 address (`::ffff:0:0/96`).
const MAPPED_BITS: u8 = 96;

/// Most networks of a key or token, because each check compares them one by one.
const MAX_NETWORKS: usize = 100;

/// A network; a single address is a network, too. IPv4 mapped into IPv6 becomes IPv4, so that it matches the address of
/// a connection. The host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// The text is neither an address nor a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address or a network such as 192.0.2.0/24")]
pub struct InvalidNetwork;

impl Network {
    /// Whether `address` is in it. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether `address` is in one of `networks`.
    pub fn any_contains(networks: &[Self], address: IpAddr) -> bool {
        let address = address.to_canonical();
        networks.iter().any(|Self(network)| network.contains(&address))
    }

    /// Whether all of `other` is in it.
    pub fn holds(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// As the type of the `ipnet` crate.
    pub fn as_ip_net(self) -> IpNet {
        self.0
    }
}

/// The first address of an address's network: /24 for IPv4, /48 for IPv6. Enough to see where an attack comes from,
/// too little to identify a person.
pub fn truncated(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| InvalidNetwork)?;
        let mapped = match network {
            IpNet::V6(v6) => v6.addr().to_ipv4_mapped().map(|address| (address, v6.prefix_len())),
            IpNet::V4(_) => None,
        };
        let Some((address, prefix)) = mapped else { return Ok(Self(network.trunc())) };
        // A shorter prefix contains more than IPv4 addresses, which cannot be what its writer meant.
        let prefix = prefix.checked_sub(MAPPED_BITS).ok_or(InvalidNetwork)?;
        let v4 = Ipv4Net::new(address, prefix).map_err(|_| InvalidNetwork)?;
        Ok(Self(v4.trunc().into()))
    }
}

impl fmt::Display for Network {
    /// A network of one address is written as the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The client that an address belongs to, where clients are distinguished: an IPv6 client has a /64.
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Parses a list of texts. An error names each wrong one below `/allowed_ips`.
pub fn read_list(texts: &[String], invalid: &mut Invalid) -> Vec<Network> {
    read_each(texts, MAX_NETWORKS, "/allowed_ips", invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_form_whichever_way_it_is_written() {
        for (text, form) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::FFFF:c000:0207", "192.0.2.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("0:0:0:0:0:ffff:192.0.2.9/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), form, "{text}");
            assert_eq!(form.parse(), Ok(network));
        }
        for text in [
            "",
            "192.0.2",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/-1",
            "example.com",
            "192.0.2.1 ",
            "fe80::1%eth0",
            "::ffff:192.0.2.0/24",
        ] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }

    #[test]
    fn a_mapped_network_matches_plain_and_mapped_addresses() {
        let networks = ["::ffff:192.0.2.0/120".parse().unwrap()];
        for (address, within) in
            [("192.0.2.7", true), ("::ffff:192.0.2.7", true), ("192.0.3.7", false), ("::c000:207", false)]
        {
            assert_eq!(Network::any_contains(&networks, address.parse().unwrap()), within, "{address}");
            assert_eq!(networks[0].contains(address.parse().unwrap()), within, "{address}");
        }
    }

    #[test]
    fn a_client_has_one_address_of_ipv4_and_64_bits_of_ipv6() {
        for (address, client) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
        ] {
            assert_eq!(client_of(address.parse().unwrap()).to_string(), client);
        }
    }
}
