//! Lists: which page, in which direction, and what a page is.

use serde::{Deserialize, Serialize};

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1; 0 is taken as 1.
    pub page: u32,
    /// Items per page.
    pub limit: u32,
}

impl Page {
    /// Items per page, as a number of rows.
    pub fn rows(self) -> i64 {
        i64::from(self.limit)
    }

    /// Items on the pages before it.
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)).saturating_mul(self.rows())
    }
}

/// One page, and how many items all pages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The page's items; none beyond the last page.
    pub items: Vec<T>,
    /// Over all pages.
    pub total: i64,
}

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Smallest, oldest first.
    Asc,
    /// Largest, newest first.
    #[default]
    Desc,
}
