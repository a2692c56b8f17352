//! Arguments and results of use cases that the service takes from the repository as they are. Types only: no route reaches
//! a table.

pub(crate) use tollgate_repository::{Idempotency, KeyFilter, StoredResponse, UsageEvent, UsageStats};
