//! Who may do what: tenants, admin tokens, the first start, and what was answered under an `Idempotency-Key`.

use crate::Repository;

mod bootstrap;
mod idempotency;
mod tenants;
mod token_changes;
pub(crate) mod tokens;

pub use token_changes::TokenWrite;
pub use tokens::FoundToken;

/// Admin tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a>(&'a Repository);

/// Tenants.
#[derive(Clone, Copy)]
pub struct Tenants<'a>(&'a Repository);

/// Answers to writes that carried an `Idempotency-Key`.
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
