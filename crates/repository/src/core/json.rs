//! JSON columns. They contain objects only, because SQLite would read a bare number or string as something else. A list
//! is stored as `{"items": […]}`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::types::Json;

use crate::Error;

#[derive(Serialize)]
struct ItemsRef<'a, T> {
    items: &'a [T],
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

/// The stored form of a list.
pub(crate) fn items<T: Serialize>(items: &[T]) -> Result<Json<Value>, Error> {
    object(&ItemsRef { items })
}

/// The stored form of an object.
pub(crate) fn object<T: Serialize>(value: &T) -> Result<Json<Value>, Error> {
    let encoded = serde_json::to_value(value).map_err(|e| Error::Database(sqlx::Error::Encode(Box::new(e))))?;
    Ok(Json(encoded))
}

/// Parses a stored list; an error contains `column`, which is `table.column`.
pub(crate) fn read_items<T: DeserializeOwned>(stored: Json<Value>, column: &str) -> Result<Vec<T>, Error> {
    read_object::<Items<T>>(stored, column).map(|list| list.items)
}

/// Parses a stored object; an error contains `column`, which is `table.column`.
pub(crate) fn read_object<T: DeserializeOwned>(stored: Json<Value>, column: &str) -> Result<T, Error> {
    serde_json::from_value(stored.0).map_err(|e| Error::Corrupt(format!("{column}: {e}")))
}
