//! Addresses and networks as people write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// `10.0.0.0/8`, or one address as a network of its own. None when it is neither.
pub fn parse(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether `address` lies in one of `networks`; an IPv4 address mapped into IPv6 counts as the IPv4 address it is.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}
