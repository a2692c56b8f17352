//! What a caller wants to do.

use std::net::IpAddr;

use tollgate_domain::{Country, Invalid, text};

/// Most units one check may ask for.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// What a caller wants to do.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Units; 0 looks without consuming.
    pub requests: u32,
    /// What is called, as the client names it; see [`text::ENDPOINT`].
    pub endpoint: Option<String>,
    /// With which method.
    pub method: Option<String>,
    /// From which address.
    pub ip: Option<IpAddr>,
    /// With which software.
    pub user_agent: Option<String>,
    /// From which country; None: unknown.
    pub country: Option<Country>,
}

impl CheckRequest {
    /// Names every wrong member.
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
