//! Which keys a list has, and in which order.

use serde::{Deserialize, Serialize};

use crate::{KeyStatus, Order};

/// What keys are listed by. Ties are broken by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// When they were made.
    #[default]
    CreatedAt,
    /// When they were last changed.
    UpdatedAt,
    /// By the name's bytes.
    Name,
    /// When they expire; those that never do come last in either direction.
    ExpiresAt,
}

/// Which keys are listed: those that pass every filter that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// The status in force now.
    pub status: Option<KeyStatus>,
    /// The plan's slug.
    pub tier: Option<String>,
    /// The holder.
    pub owner_id: Option<String>,
    /// One of the key's tags.
    pub tag: Option<String>,
    /// Part of name, description or key prefix, in any case.
    pub search: Option<String>,
    /// By what.
    pub order_by: KeyOrder,
    /// Which way.
    pub order: Order,
}
