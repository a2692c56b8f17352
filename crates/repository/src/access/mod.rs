//! Access: tenants, admin tokens, the first start, and answers kept under an `Idempotency-Key`.

use crate::Repository;

mod bootstrap;
mod idempotency;
mod tenants;
mod token_changes;
pub(crate) mod tokens;

pub use token_changes::TokenWrite;
pub use tokens::FoundToken;

/// Reads and writes admin tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a>(&'a Repository);

/// Writes tenants.
#[derive(Clone, Copy)]
pub struct Tenants<'a>(&'a Repository);

/// Stores answers to writes with an `Idempotency-Key`.
#[derive(Clone, Copy)]
pub struct IdempotencyKeys<'a>(&'a Repository);

impl Repository {
    /// Admin tokens.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens(self)
    }

    /// Tenants.
    pub fn tenants(&self) -> Tenants<'_> {
        Tenants(self)
    }

    /// Answers to writes that carried an `Idempotency-Key`.
    pub fn idempotency(&self) -> IdempotencyKeys<'_> {
        IdempotencyKeys(self)
    }
}
