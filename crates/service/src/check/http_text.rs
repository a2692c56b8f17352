//! Text of HTTP answers that is the same each time, kept for as long as what it was written from. That door writes it; another
//! one has a slot of its own.

use http::HeaderValue;
use tollgate_limiter::fields::FieldText;

/// The same for all keys with the same limits.
pub struct LimitsText {
    /// The field `RateLimit-Policy`.
    pub policy: Option<HeaderValue>,
    /// The other fields.
    pub fields: FieldText,
    /// The body's part for each rate limit, up to its first number.
    pub limits: Vec<String>,
}

/// The same in each answer for one key: the body's part that names it.
pub struct KeyText(pub Box<str>);
