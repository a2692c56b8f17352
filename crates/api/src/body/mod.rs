//! Request bodies and queries, and the errors about them.

pub(crate) mod ce_headers;
pub(crate) mod extract;
pub(crate) mod json;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod whole;
pub(crate) mod wrong_fields;
