//! Extractors besides body and query: ids, pages, versions. Each refusal is a problem.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, LOCATION};
use serde::{Deserialize, Deserializer};
use tollgate_domain::{ApiKeyId, GrantId, Page, PlanId, RecordId, TokenId, text};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::body::problem::Problem;

/// Items per page when the client sets no `limit`.
const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;
/// Larger than any list, and small enough that the offset cannot overflow.
const MAX_PAGE: u32 = 1_000_000_000;
/// `*` or one quoted tag.
const IF_MATCH_PATTERN: &str = r#"^(\*|"[!#-~]{0,64}")$"#;
const MAX_TAG: usize = 64;

/// The kind of thing that a path's `{id}` names.
pub(crate) trait Named: FromStr {
    const WHAT: &'static str;
}

impl Named for ApiKeyId {
    const WHAT: &'static str = "API key";
}

impl Named for PlanId {
    const WHAT: &'static str = "plan";
}

impl Named for RecordId {
    const WHAT: &'static str = "billing record";
}

impl Named for GrantId {
    const WHAT: &'static str = "credit grant";
}

impl Named for uuid::Uuid {
    const WHAT: &'static str = "finding";
}

impl Named for TokenId {
    const WHAT: &'static str = "token";
}

/// Only dead jobs have ids that are not UUIDs. None is longer than [`text::JOB_ID`].
impl Named for String {
    const WHAT: &'static str = "dead job";
}

/// The path's `{id}`. A text that cannot be an id is answered 404, because nothing has it.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: Named, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let nothing = || Problem::not_found(T::WHAT);
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        if !text::JOB_ID.fit(&text) {
            return Err(nothing());
        }
        text.parse().map(Self).map_err(|_| nothing())
    }
}

/// `page` from 1 to 1,000,000,000 and `limit` from 1 to 100; otherwise 400.
pub(crate) fn page(page: Option<u32>, limit: Option<u32>) -> Result<Page, Problem> {
    let page = page.unwrap_or(1);
    if !(1..=MAX_PAGE).contains(&page) {
        return Err(Problem::bad_request(format!("page must be from 1 to {MAX_PAGE}")));
    }
    Ok(Page { page, limit: page_size(limit)? })
}

/// 1 to 100; otherwise 400.
pub(crate) fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let allowed = (1..=MAX_LIMIT).contains(&limit);
    allowed.then_some(limit).ok_or_else(|| Problem::bad_request(format!("limit must be from 1 to {MAX_LIMIT}")))
}

/// The version in `If-Match`; None without the header, or with `*`.
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IF_MATCH).into_iter();
        let text = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(one), None) => one.to_str().unwrap_or_default().trim(),
            // Several fields form one list, which is not accepted.
            (Some(_), Some(_)) => "",
        };
        if text == "*" {
            return Ok(Self(None));
        }
        let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|tag| is_opaque(tag));
        let tag =
            tag.ok_or_else(|| Problem::bad_request("If-Match takes one version in quotes, such as \"3\", or *"))?;
        // Tags are compared as texts, so "+3" and "03" are no versions. A tag that is no version matches none,
        // because versions count from 1.
        let version = tag.parse::<i64>().ok().filter(|version| *version > 0 && version.to_string() == tag);
        Ok(Self(Some(version.unwrap_or(0))))
    }
}

/// Whether `text` may be between the quotes of an entity tag (RFC 9110, section 8.8.3).
fn is_opaque(text: &str) -> bool {
    text.len() <= MAX_TAG && text.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'~'))
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(IF_MATCH_PATTERN)).build();
        let parameter = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .description(Some("The version that must be in force, in quotes, as `ETag` gave it; or `*` for any."))
            .schema(Some(tag))
            .example(Some("*".into()))
            .build();
        vec![parameter]
    }
}

/// The header `ETag` of a version.
pub(crate) fn etag(version: i64) -> [(HeaderName, HeaderValue); 1] {
    [(ETAG, HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\"")))]
}

/// The header `Location` of a created resource.
pub(crate) fn location(list: &'static str, id: &impl Display) -> [(HeaderName, HeaderValue); 1] {
    [(LOCATION, HeaderValue::from_str(&format!("{list}/{id}")).unwrap_or(HeaderValue::from_static(list)))]
}

/// Distinguishes null (`Some(None)`) from an absent member (`None`).
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn if_match(value: &str) -> Result<Option<i64>, u16> {
        let (mut parts, ()) = Request::builder().header(IF_MATCH, value).body(()).unwrap().into_parts();
        let found = IfMatch::from_request_parts(&mut parts, &()).await;
        found.map(|IfMatch(version)| version).map_err(|problem| problem.render("").status().as_u16())
    }

    #[tokio::test]
    async fn if_match_takes_one_quoted_version_or_a_star() {
        assert_eq!(if_match("\"7\"").await, Ok(Some(7)));
        assert_eq!(if_match("*").await, Ok(None));
        for other in ["of-another-service", "+7", "07", "-7", "0x7", "7.0", "99999999999999999999", ""] {
            assert_eq!(if_match(&format!("\"{other}\"")).await, Ok(Some(0)), "{other}");
        }
        for bad in ["", "7", "\"7 \"", "\"7\", \"8\"", "W/\"7\"", "\"", "*, \"7\""] {
            assert_eq!(if_match(bad).await, Err(400), "{bad}");
        }
    }

    #[test]
    fn pages_have_bounds() {
        let shown = |found: Result<Page, Problem>| found.map(|p| (p.page, p.limit)).map_err(|p| p.code());
        assert_eq!(shown(page(None, None)), Ok((1, 20)));
        assert_eq!(shown(page(Some(3), Some(100))), Ok((3, 100)));
        for (number, limit) in [(Some(0), None), (Some(1_000_000_001), None), (None, Some(0)), (None, Some(101))] {
            assert_eq!(shown(page(number, limit)), Err("INVALID_REQUEST"));
        }
    }
}
