//! What every room stands on: the engine behind a URL, transactions, what is tried again, and how values are stored.
//!
//! Reading order: [`database`] (the engine, `on!`), [`postgres`], [`retry`] (deadlines, what is tried again), [`error`].

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
