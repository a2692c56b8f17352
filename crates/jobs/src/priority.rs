//! Which queue carries a job.

use serde::{Deserialize, Serialize};

/// Which of the three queues carries a job. Each has its own workers, so none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Money or admission depends on it.
    Critical,
    /// What people look at.
    Default,
    /// What nobody waits for.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Low];

    /// As stored, and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Low => "low",
        }
    }
}
