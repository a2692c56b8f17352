//! An append-only record that survives `kill -9`.
mod background;
mod error;
mod folder;
mod journal;
mod reader;
mod record;
mod segment;
mod stream;
mod types;

pub use error::Error;
pub use journal::Journal;
pub use stream::{Stream, abandoned};
pub use types::{BootId, Durability, NotABootId, Options, Position};
