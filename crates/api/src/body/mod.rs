//! What comes in, and what is said of it when it is wrong.

pub(crate) mod extract;
pub(crate) mod json;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod whole;
pub(crate) mod wrong_fields;
