//! Shapes of the contract: a decision with its headers, and what else is answered.

pub(crate) mod check_response;
pub(crate) mod views;
