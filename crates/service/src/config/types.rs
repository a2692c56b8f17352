//! Types of single settings. Each refuses what cannot work, and its message says what is allowed.

use std::{fmt, io, net::SocketAddr};

use serde::{Deserialize, Deserializer, de};

/// Which rate limit headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderStyle {
    /// `RateLimit` and `RateLimit-Policy`.
    Standard,
    /// `X-RateLimit-*`.
    Legacy,
    /// All of them.
    Both,
    /// None.
    Off,
}

impl HeaderStyle {
    /// Whether `RateLimit` and `RateLimit-Policy` are sent.
    pub fn standard(self) -> bool {
        matches!(self, Self::Standard | Self::Both)
    }

    /// Whether `X-RateLimit-*` are sent.
    pub fn legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }
}

/// When the journal is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// When the kernel chooses to.
    None,
    /// Every `sync_interval_ms`.
    Interval,
    /// Before the answer.
    Group,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// An address that may hold a password. Its `Debug` shows only the scheme.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    /// The whole address, including the password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// None when the text is empty.
    pub fn non_empty(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }

    /// The text before the first colon.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.scheme())
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The secret of the counters' keyed hash.
#[derive(Clone)]
pub struct HashKey(pub [u8; 16]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = valid.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        value.map(|v| Self(v.to_be_bytes())).ok_or_else(|| de::Error::custom("it must be 32 hexadecimal digits"))
    }
}

/// An address or a name to listen on, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(String);

impl Listen {
    /// The addresses of the name, IPv4 first, because users of `localhost` expect 127.0.0.1.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<_> = tokio::net::lookup_host(&self.0).await?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let is_named = text.rsplit_once(':').is_some_and(|(name, port)| is_name(name) && port.parse::<u16>().is_ok());
        if is_named || text.parse::<SocketAddr>().is_ok() {
            return Ok(Self(text));
        }
        Err(de::Error::custom(format!(
            "{text:?} is no address or name with a port, such as 127.0.0.1:8080 or localhost:8080"
        )))
    }
}

/// A [`Listen`], or none when the text is empty.
#[derive(Clone, Debug)]
pub struct OptionalListen(pub Option<Listen>);

impl<'de> Deserialize<'de> for OptionalListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        Listen::deserialize(de::value::StringDeserializer::new(text)).map(|listen| Self(Some(listen)))
    }
}

/// An origin as browsers send it (RFC 6454), or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The value of the header `Origin`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `*`.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match wrong_origin(&text) {
            None => Ok(Self(text)),
            Some(why) => {
                Err(de::Error::custom(format!("{text:?} is no origin such as https://console.example.com: {why}")))
            }
        }
    }
}

/// Why no browser would ever send it; None for a valid origin.
fn wrong_origin(text: &str) -> Option<&'static str> {
    if text == "*" {
        return None;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Some("it has no scheme") };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    // The port of an address in brackets follows the bracket.
    let host = match rest.split_once(']') {
        Some((address, _)) if rest.starts_with('[') => address,
        _ => rest.split(':').next().unwrap_or_default(),
    };
    let port = rest.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    match () {
        () if !is_scheme => Some("its scheme is not in small letters"),
        () if rest.ends_with('/') => Some("leave out the slash at its end"),
        () if rest.contains(['/', '?', '#', '@', ',', '*', ' ']) => Some("it is a scheme, a host and perhaps a port"),
        () if host.is_empty() => Some("it has no host"),
        () if rest.bytes().any(|b| b.is_ascii_uppercase()) => Some("browsers write the host in small letters"),
        () if !rest.is_ascii() => Some("browsers write the host in ASCII (xn--…)"),
        () if port.is_some_and(|port| port.parse::<u16>().is_err()) => Some("its port is no number"),
        () if matches!((scheme, port), ("http", Some("80")) | ("https", Some("443"))) => {
            Some("browsers leave out the scheme's own port")
        }
        () => None,
    }
}

/// A network in CIDR notation, or one address.
#[derive(Clone, Copy, Debug)]
pub struct Network(pub tollgate_domain::Network);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| de::Error::custom(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
        T::deserialize(de::value::StrDeserializer::<de::value::Error>::new(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_listener_has_a_name_or_an_address_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:65535", "localhost:8080", "api-1.internal:9090"] {
            assert_eq!(read::<Listen>(text).unwrap().to_string(), text);
        }
        for text in
            ["", "nowhere", "localhost", ":8080", "localhost:", "localhost:70000", "::1:8080", "http://x:1", "a b:1"]
        {
            let message = read::<Listen>(text).unwrap_err();
            assert!(message.contains("localhost:8080") && message.contains(text), "{message}");
        }
        assert!(read::<OptionalListen>("").unwrap().0.is_none());
        assert!(read::<OptionalListen>("localhost").is_err());
    }

    #[tokio::test]
    async fn localhost_is_the_ipv4_address_first() {
        let addresses = read::<Listen>("localhost:81").unwrap().resolve().await.unwrap();
        assert_eq!(addresses[0].to_string(), "127.0.0.1:81");
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for text in
            ["*", "https://a.example", "http://localhost:3000", "http://[::1]:3000", "https://[::1]", "app+x://a"]
        {
            assert_eq!(read::<Origin>(text).unwrap().as_str(), text);
        }
        for (text, why) in [
            ("https://a.example/", "slash"),
            ("https://a.example:8443/", "slash"),
            ("https://a.example/app", "a scheme, a host"),
            ("https://*.example", "a scheme, a host"),
            ("https://u@a.example", "a scheme, a host"),
            ("a.example", "no scheme"),
            ("null", "no scheme"),
            ("", "no scheme"),
            ("https://", "no host"),
            ("https://:1", "no host"),
            ("HTTPS://a.example", "scheme is not"),
            ("https://A.example", "small letters"),
            ("https://b\u{fc}cher.example", "ASCII"),
            ("https://a.example:x", "port"),
            ("https://a.example:443", "own port"),
        ] {
            let message = read::<Origin>(text).unwrap_err();
            assert!(message.contains(why) && message.contains(&format!("{text:?}")), "{text}: {message}");
        }
    }
}
