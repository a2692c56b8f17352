//! Secrets: their form, how they are generated, and the hash, which is the only part that is stored.
//!
//! `tg_live_` or `tg_test_` (keys) or `tgt_admin_` (tokens), 30 base62 characters from the operating system (178 bits),
//! 6 base62 characters of the CRC32 of everything before them. A wrong checksum is refused without a look-up.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Environment;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 30 characters of base62 are 178 bits; the contract asks for 170.
const RANDOM_CHARS: usize = 30;
/// 62^6 > 2^32, so six characters hold any CRC32.
const CHECK_CHARS: usize = 6;
const TOKEN_PREFIX: &str = "tgt_admin_";
/// Number of random characters in a prefix that may be shown.
const SHOWN_CHARS: usize = 4;

/// SHA-256 (FIPS 180-4) of a whole secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// Compares in constant time, so that the duration does not show where two hashes differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// The text of an API key. It has no `Debug` and no `Display`, so it cannot reach a log line by mistake.
#[derive(Clone)]
pub struct KeySecret(String);

/// The text of an admin token.
#[derive(Clone)]
pub struct TokenSecret(String);

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random source failed: {0}")]
pub struct NoRandomness(getrandom::Error);

impl KeySecret {
    /// A new secret from the operating system's random source.
    pub fn generate(environment: Environment) -> Result<Self, NoRandomness> {
        generate(environment.key_prefix()).map(Self)
    }

    /// Parses a key; `None` when its form or checksum is wrong. Uses no store.
    pub fn parse(text: &str) -> Option<Self> {
        let prefix = Environment::ALL.map(Environment::key_prefix).into_iter().find(|p| text.starts_with(p))?;
        well_formed(text, prefix).then(|| Self(text.to_owned()))
    }

    /// The hash of a key if its form and checksum are right, without keeping the text.
    pub fn hash_of(text: &str) -> Option<SecretHash> {
        let prefix = Environment::ALL.map(Environment::key_prefix).into_iter().find(|p| text.starts_with(p))?;
        well_formed(text, prefix).then(|| SecretHash::of(text))
    }

    /// The hash that is stored.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The part that may be shown: the environment and the first four characters.
    pub fn prefix(&self) -> String {
        shown(&self.0, "tg_live_".len())
    }

    /// The secret itself, to show to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TokenSecret {
    /// A new secret from the operating system's random source.
    pub fn generate() -> Result<Self, NoRandomness> {
        generate(TOKEN_PREFIX).map(Self)
    }

    /// The hash of a generated token, if its form and checksum are right. Uses no store.
    pub fn hash_of(text: &str) -> Option<SecretHash> {
        well_formed(text, TOKEN_PREFIX).then(|| SecretHash::of(text))
    }

    /// Whether a credential has the form of an admin token.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with(TOKEN_PREFIX)
    }

    /// A bootstrap token that an operator chose: `tgt_admin_` and at least 24 further visible characters.
    pub fn chosen(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(TOKEN_PREFIX)?;
        let visible = rest.bytes().all(|b| b.is_ascii_graphic());
        (visible && (24..=200).contains(&rest.len())).then(|| Self(text.to_owned()))
    }

    /// The hash that is stored.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The part that may be shown.
    pub fn prefix(&self) -> String {
        shown(&self.0, TOKEN_PREFIX.len())
    }

    /// The secret itself, to show to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The base62 character of `n`'s lowest digit.
#[expect(clippy::indexing_slicing, reason = "a remainder of 62 is below the table's length")]
fn digit(n: u32) -> u8 {
    BASE62[(n % 62) as usize]
}

fn shown(text: &str, prefix: usize) -> String {
    text.chars().take(prefix + SHOWN_CHARS).collect()
}

fn generate(prefix: &str) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(prefix.len() + RANDOM_CHARS + CHECK_CHARS);
    text.push_str(prefix);
    let mut left = RANDOM_CHARS;
    while left > 0 {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(NoRandomness)?;
        // 248 = 4 * 62: larger bytes would make the first characters more likely.
        for byte in bytes.into_iter().filter(|b| *b < 248).take(left) {
            text.push(char::from(digit(u32::from(byte))));
            left -= 1;
        }
    }
    let check = checksum(&text);
    text.push_str(&check);
    Ok(text)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut out = [b'0'; CHECK_CHARS];
    for place in out.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    out.iter().map(|b| char::from(*b)).collect()
}

fn well_formed(text: &str, prefix: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else { return false };
    if rest.len() != RANDOM_CHARS + CHECK_CHARS || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    let (body, check) = text.split_at(text.len() - CHECK_CHARS);
    let mut rest = crc32fast::hash(body.as_bytes());
    check.bytes().rev().all(|b| {
        let expected = digit(rest);
        rest /= 62;
        expected == b
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_and_hashes_the_same() {
        let key = KeySecret::generate(Environment::Test).unwrap();
        assert!(key.expose().starts_with("tg_test_"));
        assert_eq!(key.expose().len(), 8 + 30 + 6);
        assert!(KeySecret::hash_of(key.expose()).unwrap().ct_eq(&key.hash()));
        assert_eq!(key.prefix(), key.expose()[..12]);
    }

    #[test]
    fn any_one_changed_character_is_refused() {
        let key = KeySecret::generate(Environment::Live).unwrap();
        for at in 0..key.expose().len() {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(KeySecret::parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "position {at}");
        }
    }

    #[test]
    fn a_hundred_thousand_keys_are_distinct_and_use_every_character_alike() {
        let mut seen = std::collections::HashSet::new();
        let mut counts = [0_u32; 128];
        for _ in 0..100_000 {
            let key = KeySecret::generate(Environment::Live).unwrap();
            key.expose().as_bytes()[8..38].iter().for_each(|b| counts[usize::from(*b)] += 1);
            assert!(seen.insert(key.hash()));
        }
        let expected = 3_000_000.0 / 62.0;
        let chi2: f64 = BASE62.iter().map(|b| (f64::from(counts[usize::from(*b)]) - expected).powi(2) / expected).sum();
        // With 61 degrees of freedom, chance exceeds 128 less than once in a million runs.
        assert!(chi2 < 128.0, "chi² {chi2}");
    }

    #[test]
    fn garbage_never_panics() {
        for text in ["", "tg_live_", "tg_live_é", "tgt_admin_", "tg_test_0123456789", "\u{0}"] {
            assert!(KeySecret::parse(text).is_none());
            assert!(TokenSecret::hash_of(text).is_none());
        }
    }
}
