//! The client's address: the socket's peer, or the address that trusted proxies give.

use std::net::IpAddr;

use hyper::HeaderMap;
use tollgate_domain::Network;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The right-most hop of `X-Forwarded-For` that is no trusted proxy, when the peer itself is one; else the peer.
///
/// Proxies append, so the client may have written everything to the left of the first untrusted hop. A
/// hop that is no address ends the search; the hop after it is the last one known. Empty elements are
/// skipped (RFC 9110, section 5.6.1).
pub(crate) fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut known = peer.to_canonical();
    if trusted.is_empty() {
        return known;
    }
    // Several fields form one list, in their order (RFC 9110, section 5.3).
    let fields: Vec<_> = headers.get_all(X_FORWARDED_FOR).into_iter().collect();
    let hops = fields.into_iter().rev().flat_map(|field| field.to_str().unwrap_or("?").rsplit(','));
    for hop in hops.map(str::trim).filter(|hop| !hop.is_empty()) {
        if !Network::any_contains(trusted, known) {
            break;
        }
        match parse_hop(hop) {
            Some(address) => known = address,
            None => break,
        }
    }
    known
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for field in forwarded {
            headers.append(X_FORWARDED_FOR, field.parse().unwrap());
        }
        let trusted: Vec<_> = trusted.iter().map(|t| t.parse().unwrap()).collect();
        client_ip(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let proxies = ["10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108"];
        for (peer, forwarded, expected) in [
            ("198.51.100.7", vec![], "198.51.100.7"),
            ("198.51.100.7", vec!["203.0.113.9"], "198.51.100.7"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", vec!["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", vec!["1.1.1.1,203.0.113.9 , 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", vec!["1.1.1.1", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", vec!["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["203.0.113.9, "], "203.0.113.9"),
            ("10.0.0.1", vec![",203.0.113.9,, \t,10.0.0.2", "", ",10.0.0.3,"], "203.0.113.9"),
            ("10.0.0.1", vec!["", ","], "10.0.0.1"),
            ("10.0.0.1", vec!["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", vec!["[2001:db8::5]:80"], "2001:db8::5"),
            ("10.0.0.1", vec!["[2001:db8::5]"], "2001:db8::5"),
            ("2001:db8:ffff::1", vec!["2001:db8::5"], "2001:db8::5"),
            ("::ffff:10.0.0.1", vec!["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", vec!["::ffff:203.0.113.9"], "203.0.113.9"),
            ("172.16.0.1", vec!["203.0.113.9, ::ffff:172.16.0.2"], "203.0.113.9"),
        ] {
            assert_eq!(seen(peer, &forwarded, &proxies), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn without_trusted_proxies_a_forged_header_changes_nothing() {
        assert_eq!(seen("198.51.100.7", &["203.0.113.9"], &[]), "198.51.100.7");
    }
}
