//! Keys: create, list, look up, change, rotate, suspend, delete.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use serde::Serialize;
use tollgate_service::keys::KeyDetail;
use utoipa::ToSchema;

use crate::{
    answers::views::{ApiKeyView, Data},
    app::App,
    body::extract::etag,
};

pub(super) mod create;
pub(super) mod list;
pub(super) mod show;
pub(super) mod state;
pub(super) mod stats;
pub(super) mod update;

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyWithSecret {
    #[serde(flatten)]
    record: ApiKeyView,
    #[schema(example = "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    key: String,
}

/// A key's record, with its version as `ETag`.
pub(crate) fn shown(app: &App, detail: KeyDetail) -> Response {
    let record = ApiKeyView::new(detail, app.service.clock().now());
    (etag(record.version), Data::json(record)).into_response()
}

fn with_secret(status: StatusCode, app: &App, detail: KeyDetail, secret: &str) -> Response {
    let record = ApiKeyView::new(detail, app.service.clock().now());
    (status, etag(record.version), Data::json(ApiKeyWithSecret { record, key: secret.to_owned() })).into_response()
}
