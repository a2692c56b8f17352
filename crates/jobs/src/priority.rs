//! The three priorities of jobs.

use serde::{Deserialize, Serialize};

/// Chooses one of three queues. Each has its own workers, so no queue waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Money or admission depends on it.
    Critical,
    /// People see its effect, but nothing is billed or admitted by it.
    Default,
    /// Nobody waits for it.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Low];

    /// The name that is stored and used as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Low => "low",
        }
    }
}
