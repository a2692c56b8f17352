//! A client of the HTTP API, and what it was answered.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// A client gives up after this long; no route is allowed half of it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to one service with one credential.
#[derive(Clone)]
pub struct Client {
    base: String,
    credential: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client of the service at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("a client without TLS");
        Self { base: base.into(), credential: None, http }
    }

    /// The same service with another credential.
    pub fn with_credential(&self, credential: impl Into<String>) -> Self {
        Self { credential: Some(credential.into()), ..self.clone() }
    }

    /// The same service with no credential.
    pub fn without_credential(&self) -> Self {
        Self { credential: None, ..self.clone() }
    }

    /// Where the service is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to be completed and given to [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).json(body)).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }
}

/// Sends a request; panics when no answer comes.
pub async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.expect("an answer")
}

/// Sends a request; an error is a connection that failed, never a status.
pub async fn try_send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, text, body })
}

/// One response.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, null when it is none.
    pub body: Value,
}

impl Answer {
    /// Panics with the whole answer when the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Panics unless this is a problem document (RFC 9457) with `status` and `code`.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["code"], code, "{}", answer.text);
        assert_eq!(answer.body["status"], status, "{}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
        assert_eq!(answer.body["instance"], answer.header("x-request-id"), "{}", answer.text);
        for member in ["type", "title", "detail"] {
            assert!(answer.body[member].is_string(), "no {member}: {}", answer.text);
        }
        answer
    }

    /// The resource.
    #[track_caller]
    pub fn data(&self) -> &Value {
        self.body.get("data").unwrap_or_else(|| panic!("no data: {} {}", self.status, self.text))
    }

    /// A header's text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    /// Whether a check was allowed.
    pub fn allowed(&self) -> bool {
        self.body["allowed"] == true
    }

    /// Seconds to wait, as the body says.
    #[track_caller]
    pub fn retry_after(&self) -> i64 {
        self.body["retry_after"].as_i64().unwrap_or_else(|| panic!("no retry_after: {}", self.text))
    }

    /// The JSON pointers of a body that did not validate, sorted.
    pub fn pointers(&self) -> Vec<String> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        let mut pointers: Vec<_> = errors.iter().map(|e| e["pointer"].as_str().unwrap_or("?").to_owned()).collect();
        pointers.sort();
        pointers
    }
}
