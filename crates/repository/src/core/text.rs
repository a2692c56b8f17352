//! Makes texts that callers chose storable: PostgreSQL stores no NUL and indexes no text of several kilobytes, and one
//! such text would block its whole batch for ever.

use tollgate_domain::text::ENDPOINT;

/// Longest endpoint, limit name or address that is stored, in bytes; longer ones are cut.
const MAX_BYTES: usize = ENDPOINT.most * char::MAX_LEN_UTF8;

/// The text without NULs and at most [`MAX_BYTES`] long.
pub(crate) fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_BYTES);
    text.get(..end).unwrap_or_default().replace('\0', "\u{FFFD}")
}

/// A `like` pattern that finds `text` anywhere, in lower case; `\` escapes.
pub(crate) fn containing(text: &str) -> String {
    let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_cut_at_a_character_and_lose_their_nuls() {
        assert_eq!(storable("/a\0b"), "/a\u{FFFD}b");
        assert_eq!(storable(&"é".repeat(600)), "é".repeat(512));
        assert_eq!(storable("short"), "short");
    }

    #[test]
    fn wildcards_in_a_search_are_plain_characters() {
        assert_eq!(containing(r"50%_A\"), r"%50\%\_a\\%");
    }
}
