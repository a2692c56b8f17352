//! The request that a check decides.

use std::net::IpAddr;

use tollgate_domain::{Country, Invalid, text};

/// Most units of one check.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// One request of a client, as a check sees it.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Units to consume; 0 only reads.
    pub requests: u32,
    /// The endpoint that is called, as the client names it; see [`text::ENDPOINT`].
    pub endpoint: Option<String>,
    /// The HTTP method of the call.
    pub method: Option<String>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's country; None when unknown.
    pub country: Option<Country>,
}

impl CheckRequest {
    /// Fails with every wrong member.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        invalid.require(self.requests <= MAX_REQUESTS, "/requests", format_args!("from 0 to {MAX_REQUESTS}"));
        let texts = [
            ("/endpoint", &self.endpoint, text::ENDPOINT),
            ("/method", &self.method, text::METHOD),
            ("/user_agent", &self.user_agent, text::USER_AGENT),
        ];
        for (pointer, text, bounds) in texts {
            invalid.require(bounds.fit_any(text.as_deref()), pointer, bounds);
        }
        invalid.finish()
    }
}
