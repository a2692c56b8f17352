//! The filter and the order of a list of keys.

use serde::{Deserialize, Serialize};

use crate::{KeyStatus, Order};

/// The order of a list of keys. Ties are broken by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// By time of creation.
    #[default]
    CreatedAt,
    /// By time of the last change.
    UpdatedAt,
    /// By the name's bytes.
    Name,
    /// By expiry. Keys that never expire come last in either direction.
    ExpiresAt,
}

/// The filter of a list: a key must match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// The status in force now.
    pub status: Option<KeyStatus>,
    /// The plan's slug.
    pub tier: Option<String>,
    /// The tenant's own id of the customer who holds the key.
    pub owner_id: Option<String>,
    /// One of the key's tags.
    pub tag: Option<String>,
    /// A part of name, description or key prefix, in any case.
    pub search: Option<String>,
    /// The field to order by.
    pub order_by: KeyOrder,
    /// The direction of the order.
    pub order: Order,
}
