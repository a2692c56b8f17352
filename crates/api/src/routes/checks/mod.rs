//! Checks: by a client with its own key, by a back end, of many keys at once, and as a preview.

pub(super) mod check;
pub(super) mod validate;
