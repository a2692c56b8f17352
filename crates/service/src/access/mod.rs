//! Authentication and authorization: callers and their credentials, admin tokens, and answers
//! kept under an `Idempotency-Key`.

use crate::Service;

pub mod idempotency;
mod principal;
pub(crate) mod secret_probe;
pub(crate) mod token_cache;
pub mod tokens;

pub use principal::Caller;

/// Finds the caller behind a credential.
#[derive(Clone, Copy)]
pub struct Access<'a>(&'a Service);

/// Use cases of admin tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a>(&'a Service);

/// Stores and replays answers to writes with an `Idempotency-Key`.
#[derive(Clone, Copy)]
pub struct IdempotencyKeys<'a>(&'a Service);

impl Service {
    /// Callers, by their credentials.
    pub fn access(&self) -> Access<'_> {
        Access(self)
    }

    /// Admin tokens.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens(self)
    }

    /// Answers to writes that carried an `Idempotency-Key`.
    pub fn idempotency(&self) -> IdempotencyKeys<'_> {
        IdempotencyKeys(self)
    }
}
