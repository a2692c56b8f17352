//! Why a request is refused before any handler sees it.

use std::borrow::Cow;

use hyper::StatusCode;

use crate::limits::{MAX_FIELDS, MAX_HEAD_BYTES};

/// What is wrong with a request. A service answers it in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a valid request, or it can be read in two ways. The text says why.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// Its head exceeds [`MAX_HEAD_BYTES`] or [`MAX_FIELDS`].
    #[error("request line and headers may have at most {MAX_HEAD_BYTES} bytes and {MAX_FIELDS} fields")]
    HeadTooLarge {
        /// At least this many of the bytes are the target's.
        target_bytes: usize,
    },
    /// Its `Content-Length` exceeds [`Limits::max_body_bytes`](crate::Limits::max_body_bytes).
    #[error("the body is too large")]
    BodyTooLarge,
}

impl Refusal {
    /// The status of the answer, for a service without its own bound on targets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}
