//! Types of the contract: a decision with its headers, and the other answers.

pub(crate) mod bill;
pub(crate) mod check_response;
pub(crate) mod prices;
pub(crate) mod record;
pub(crate) mod record_rows;
pub(crate) mod views;
