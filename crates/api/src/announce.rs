//! The message on standard output for a person who starts the service: the address, and a command to try.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tollgate_domain::TokenSecret;
use tollgate_telemetry::{Format, tell};

/// Writes the address and, on the first start, the admin token and a command that creates a key. A token that the
/// operator chose is not repeated: the command reads it from the environment.
///
/// # Errors
/// When `out` cannot be written.
pub fn announce(
    out: &mut impl Write,
    format: Format,
    listen: SocketAddr,
    first: Option<&TokenSecret>,
    chosen: bool,
) -> std::io::Result<()> {
    let url = url(listen);
    tell(out, format, &format!("Tollgate serves {url} (documentation: {url}/docs)"))?;
    let Some(first) = first else { return out.flush() };
    let token = if chosen { "$TOLLGATE_BOOTSTRAP_TOKEN" } else { first.expose() };
    if !chosen {
        tell(out, format, &format!("Admin token, shown this once: {token}"))?;
    }
    tell(out, format, "Make a key:")?;
    let command = format!(
        "  curl -sS {url}/api/v1/api-keys -H \"Authorization: Bearer {token}\" -H 'Content-Type: application/json' \
         -d '{{\"name\":\"first key\",\"tier\":\"free\"}}'"
    );
    tell(out, format, &command)?;
    out.flush()
}

/// An address that a client on this machine can use.
fn url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(first: Option<&TokenSecret>, chosen: bool) -> String {
        said_as(Format::Pretty, first, chosen)
    }

    fn said_as(format: Format, first: Option<&TokenSecret>, chosen: bool) -> String {
        let mut out = Vec::new();
        announce(&mut out, format, "0.0.0.0:8080".parse().unwrap(), first, chosen).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn with_json_each_line_is_an_object_with_the_same_text() {
        let token = TokenSecret::generate().unwrap();
        let (json, plain) = (said_as(Format::Json, Some(&token), false), said(Some(&token), false));
        let message = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].clone();
        assert_eq!(json.lines().map(message).collect::<Vec<_>>(), plain.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_made_token_is_shown_and_a_chosen_one_is_not() {
        let token = TokenSecret::generate().unwrap();
        let made = said(Some(&token), false);
        assert_eq!(made.matches(token.expose()).count(), 2);
        assert!(made.contains("curl -sS http://127.0.0.1:8080/api/v1/api-keys"));
        let chosen = said(Some(&token), true);
        assert!(!chosen.contains(token.expose()) && chosen.contains("Bearer $TOLLGATE_BOOTSTRAP_TOKEN"));
        assert_eq!(said(None, false).lines().count(), 1);
    }
}
