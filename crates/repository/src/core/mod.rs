//! What all tables share: the engine behind a URL, transactions, retries, and the stored form of values.
//!
//! Reading order: [`database`] (the engine, `on!`), [`postgres`], [`retry`] (deadlines and retries), [`error`].

#[macro_use]
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod json;
mod migrations;
pub(crate) mod options;
mod outages;
mod postgres;
mod retry;
pub(crate) mod revisions;
pub(crate) mod rows;
pub(crate) mod text;
pub(crate) mod time;
