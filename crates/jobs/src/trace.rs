//! The trace that a job belongs to: W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>.

/// Far above the 55 characters of version 00; a later version may append fields.
const MAX_LEN: usize = 256;

/// The trace id of a `traceparent`; `None` when the text is not one.
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = traceparent.split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_complete = version != "00" || parts.next().is_none();
    let is_valid = traceparent.len() <= MAX_LEN
        && is_hex(version, 2)
        && version != "ff"
        && is_hex(trace_id, 32)
        && is_hex(parent_id, 16)
        && is_hex(flags, 2);
    let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
    (is_complete && is_valid && !is_zero(trace_id) && !is_zero(parent_id)).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_has_a_trace_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), Some(id));
        assert_eq!(trace_id(&format!("cc-{id}-b7ad6b7169203331-01-what-the-future-brings")), Some(id));
        for wrong in [
            String::new(),
            id.to_owned(),
            format!("00-{id}-b7ad6b7169203331"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{id}\n-b7ad6b7169203331-01"),
            format!("cc-{id}-b7ad6b7169203331-01-{}", "x".repeat(MAX_LEN)),
        ] {
            assert_eq!(trace_id(&wrong), None, "{wrong:?}");
        }
    }
}
