//! Types of the contract: a decision with its headers, and the other answers.

pub(crate) mod check_response;
pub(crate) mod views;
