//! Why a request is refused before any handler sees it.

use std::borrow::Cow;

use hyper::StatusCode;

use crate::limits::{MAX_FIELDS, MAX_HEAD_BYTES};

/// What is wrong with a request, as a service tells it in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no request, or none that can be understood in one way only. The text says why.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// It has more than [`MAX_HEAD_BYTES`] or [`MAX_FIELDS`].
    #[error("request line and headers may have at most {MAX_HEAD_BYTES} bytes and {MAX_FIELDS} fields")]
    HeadTooLarge {
        /// Of these the target has at least this many.
        target_bytes: usize,
    },
    /// It announces more than [`Limits::max_body_bytes`](crate::Limits::max_body_bytes).
    #[error("the body is too large")]
    BodyTooLarge,
}

impl Refusal {
    /// The status that says so, for a service with no bound of its own on targets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}
