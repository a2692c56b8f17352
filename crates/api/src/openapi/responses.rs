//! The problems and headers of every operation's answers.

use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, RefOr, Response, ResponseBuilder, Responses,
    schema::{ObjectBuilder, Ref, Type},
};

use super::{Traits, examples};

/// Whether something applies to an operation.
type Applies = fn(&Traits) -> bool;

/// The problems, with the operations that may answer them.
const PROBLEMS: [(&str, &str, Applies); 12] = [
    ("400", "Two credentials that differ, a wrong query parameter or header, or no JSON: INVALID_REQUEST.", |_| true),
    ("401", "No credential that is valid: INVALID_API_KEY.", |of| of.has_credential),
    (
        "403",
        "The credential may not: FORBIDDEN, API_KEY_EXPIRED, API_KEY_REVOKED, API_KEY_SUSPENDED, IP_NOT_ALLOWED, COUNTRY_NOT_ALLOWED.",
        |of| of.has_credential,
    ),
    ("404", "No such thing, or not yours: NOT_FOUND.", |of| of.names_thing),
    ("408", "The body took longer than 10 seconds: INVALID_REQUEST.", |of| of.reads_body),
    ("409", "A conflict of state, or the same Idempotency-Key is still running: CONFLICT.", |of| of.is_write),
    ("412", "If-Match names another version: CONFLICT.", |of| of.has_if_match),
    ("413", "The body is larger than 64 KiB, whether it would be read or not: INVALID_REQUEST.", |_| true),
    ("414", "The URL is longer than 8 KiB: INVALID_REQUEST.", |_| true),
    (
        "422",
        "Wrong fields, each named in errors; or the Idempotency-Key was used with another request: INVALID_REQUEST.",
        |of| of.has_body || of.is_write,
    ),
    ("500", "A bug: INTERNAL_ERROR.", |_| true),
    ("503", "A store that is needed is down; see Retry-After: UNAVAILABLE.", |of| of.has_credential),
];

/// A header: its name, description and type, and the answers that may have it.
struct Header {
    name: &'static str,
    says: &'static str,
    of_type: Type,
    stands: fn(&Traits, &str) -> bool,
}

/// Answers that are never repeated, because nothing was done or the request was not read.
const NEVER_KEPT: [&str; 8] = ["401", "403", "408", "413", "414", "429", "500", "503"];

const HEADERS: [Header; 12] = [
    Header {
        name: "X-Request-Id",
        says: "The request's id; your own if you sent a fitting one.",
        of_type: Type::String,
        stands: |_, _| true,
    },
    Header {
        name: "WWW-Authenticate",
        says: "How to send a credential.",
        of_type: Type::String,
        stands: |_, status| status == "401",
    },
    Header {
        name: "Retry-After",
        says: "Seconds to wait. Absent where waiting does not help.",
        of_type: Type::Integer,
        stands: |of, status| match status {
            "429" => true,
            // A suspension that ends by itself, or a first request that still runs.
            "403" | "503" => of.has_credential,
            "409" => of.is_write,
            _ => false,
        },
    },
    Header {
        name: "RateLimit-Policy",
        says: "The limits: quoted name, units (q) per seconds (w).",
        of_type: Type::String,
        stands: Traits::tells_limits,
    },
    Header {
        name: "RateLimit",
        says: "Where they stand: quoted name, units left (r), seconds until more fit (t).",
        of_type: Type::String,
        stands: Traits::tells_limits,
    },
    Header {
        name: "X-RateLimit-Limit",
        says: "Units of the most constrained limit.",
        of_type: Type::Integer,
        stands: Traits::tells_limits,
    },
    Header {
        name: "X-RateLimit-Remaining",
        says: "Units it has left.",
        of_type: Type::Integer,
        stands: Traits::tells_limits,
    },
    Header {
        name: "X-RateLimit-Reset",
        says: "When more fit, in Unix seconds.",
        of_type: Type::Integer,
        stands: Traits::tells_limits,
    },
    Header {
        name: "Tollgate-Degraded",
        says: "1 where the limits were decided without the shared store.",
        of_type: Type::Integer,
        stands: Traits::tells_limits,
    },
    Header {
        name: "Idempotent-Replayed",
        says: "true where this is the first answer again.",
        of_type: Type::String,
        stands: |of, status| of.is_write && !NEVER_KEPT.contains(&status),
    },
    Header {
        name: "ETag",
        says: "The version in quotes, for If-Match.",
        of_type: Type::String,
        stands: |of, status| of.shows_version && status.starts_with('2'),
    },
    Header {
        name: "Location",
        says: "Where the new thing is.",
        of_type: Type::String,
        stands: |_, status| status == "201",
    },
];

impl Traits {
    /// Decisions, and every answer to a client that calls with its own key. Answers given before the
    /// credential is known have no limits.
    fn tells_limits(&self, status: &str) -> bool {
        let is_known = !["401", "413", "414"].contains(&status);
        self.is_management && is_known || self.is_check && ["200", "429"].contains(&status)
    }
}

/// Adds the problems that the operation may answer, and headers to every answer.
pub(super) fn complete(of: &Traits, responses: &mut Responses) {
    for (status, description, applies) in PROBLEMS {
        if applies(of) && !responses.responses.contains_key(status) {
            responses.responses.insert(status.to_owned(), RefOr::T(problem(description)));
        }
    }
    for (status, response) in &mut responses.responses {
        let RefOr::T(response) = response else { continue };
        for header in HEADERS.iter().filter(|header| (header.stands)(of, status)) {
            let schema = ObjectBuilder::new().schema_type(header.of_type.clone()).build();
            let built = HeaderBuilder::new().description(Some(header.says)).schema(Some(schema)).build();
            response.headers.insert(header.name.into(), built.into());
        }
    }
}

/// Adds an example to every successful answer.
pub(super) fn exemplify(components: &Components, responses: &mut Responses) {
    let successes = responses.responses.iter_mut().filter(|(status, _)| status.starts_with('2'));
    for (_, response) in successes {
        let RefOr::T(response) = response else { continue };
        for (media_type, content) in &mut response.content {
            let RefOr::T(content) = content else { continue };
            let is_json = media_type == "application/json";
            let schema = content.schema.as_ref().filter(|_| is_json && content.example.is_none());
            if let Some(schema) = schema {
                content.example = Some(examples::of(components, "", schema));
            }
        }
    }
}

/// Whether an answer shows a resource that counts its versions.
pub(super) fn shows_version(components: &Components, responses: &Responses) -> bool {
    let successes = responses.responses.iter().filter(|(status, _)| status.starts_with('2'));
    let contents = successes.filter_map(|(_, response)| match response {
        RefOr::T(Response { content, .. }) => content.get("application/json"),
        RefOr::Ref(_) => None,
    });
    let schemas = contents.filter_map(|content| match content {
        RefOr::T(content) => content.schema.as_ref(),
        RefOr::Ref(_) => None,
    });
    let mut shown = schemas.map(|schema| examples::of(components, "", schema));
    shown.any(|example| example.pointer("/data/version").is_some())
}

fn problem(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", body).build()
}
