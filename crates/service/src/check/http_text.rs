//! Text of HTTP answers that is the same every time, kept as long as what it was made from. Only the HTTP layer writes
//! it; another protocol would add its own.

use http::HeaderValue;
use tollgate_limiter::fields::FieldText;

/// The text that is the same for all keys with the same limits.
pub struct LimitsText {
    /// The value of the header `RateLimit-Policy`.
    pub policy: Option<HeaderValue>,
    /// The same while the limit beyond the quota applies.
    pub policy_beyond: Option<HeaderValue>,
    /// The text of the other headers; of the limit beyond the quota last.
    pub fields: FieldText,
    /// The start of each rate limit's part of the body, up to its first number.
    pub limits: Vec<String>,
}

/// The text that is the same in every answer for one key: the body's part that names it.
pub struct KeyText(pub Box<str>);
