//! Whether a key may be used at all.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use tollgate_domain::{KeyStatus, Network};

use crate::{CheckRequest, Error, KnownKey};

/// Fails unless the key may be used, from the caller's address and country.
pub(crate) fn admissible(known_key: &KnownKey, request: &CheckRequest, now: DateTime<Utc>) -> Result<(), Error> {
    admissible_from(known_key, request.ip, now)?;
    let allowed = &known_key.key.allowed_countries;
    if !allowed.is_empty() && !request.country.is_some_and(|country| allowed.contains(&country)) {
        return Err(Error::CountryNotAllowed);
    }
    Ok(())
}

/// Fails unless the key may be used from `ip`. Ignores the country.
pub(crate) fn admissible_from(known_key: &KnownKey, ip: Option<IpAddr>, now: DateTime<Utc>) -> Result<(), Error> {
    if known_key.secret_ends.is_some_and(|ends| ends <= now.timestamp_micros()) {
        return Err(Error::InvalidCredential);
    }
    let key = &known_key.key;
    match key.status_at(now) {
        KeyStatus::Active => {}
        KeyStatus::Expired => return Err(Error::KeyExpired),
        KeyStatus::Revoked => return Err(Error::KeyRevoked),
        KeyStatus::Suspended => {
            let until = key.validity.suspended_until;
            return Err(Error::KeySuspended { retry_after: until.and_then(|at| (at - now).to_std().ok()) });
        }
    }
    if !key.allowed_ips.is_empty() && !ip.is_some_and(|ip| Network::any_contains(&key.allowed_ips, ip)) {
        return Err(Error::IpNotAllowed);
    }
    Ok(())
}
