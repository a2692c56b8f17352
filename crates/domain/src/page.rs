//! A page of a list, and the direction of the list.

use serde::{Deserialize, Serialize};

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The number of the page, from 1; 0 counts as 1.
    pub page: u32,
    /// Items per page.
    pub limit: u32,
}

impl Page {
    /// Items per page, as a row count for SQL.
    pub fn rows(self) -> i64 {
        i64::from(self.limit)
    }

    /// Number of items on the pages before it.
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)).saturating_mul(self.rows())
    }
}

/// One page, and the number of items on all pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The page's items; empty beyond the last page.
    pub items: Vec<T>,
    /// The number of items on all pages.
    pub total: i64,
}

/// The direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Smallest, oldest first.
    Asc,
    /// Largest, newest first.
    #[default]
    Desc,
}
