//! The list of jobs. To add one, write its file here, its `mod` line and its line in the list.

pub mod billing_close;
pub mod billing_sweep;
pub mod quota_sync;
pub mod reconciliation;
pub mod retention;
pub mod usage_apply;
pub mod violation_record;

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_domain::TenantId;

use crate::{Backoff, Priority, belongs::Belongs};

/// Makes the enum from the list. A variant's name in snake case must be its module's `NAME`; a test checks that.
macro_rules! jobs {
    ($($(#[$doc:meta])* $variant:ident => $module:ident,)+) => {
        /// What can be queued.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "name", content = "payload", rename_all = "snake_case")]
        pub enum Job {
            $($(#[$doc])* $variant($module::Payload),)+
        }

        #[cfg(test)]
        const NAMES: &[(&str, &str)] = &[$((stringify!($variant), $module::NAME)),+];

        impl Job {
            /// The name that is stored, shown in the list of dead jobs and used as a metric's label.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $module::NAME,)+ }
            }

            /// The queue that carries it.
            pub fn priority(&self) -> Priority {
                match self { $(Self::$variant(_) => $module::PRIORITY,)+ }
            }

            /// How often it is tried before it is dead.
            pub fn max_attempts(&self) -> u32 {
                match self { $(Self::$variant(_) => $module::MAX_ATTEMPTS,)+ }
            }

            /// How long it waits after an attempt that failed.
            pub fn backoff(&self) -> Backoff {
                match self { $(Self::$variant(_) => $module::BACKOFF,)+ }
            }

            /// The tenants that may see it and retry it.
            pub fn tenants(&self) -> BTreeSet<TenantId> {
                let tenants = match self { $(Self::$variant(payload) => payload.tenants(),)+ };
                if tenants.is_empty() { BTreeSet::from([TenantId::DEFAULT]) } else { tenants }
            }

            /// What `tenant_id` may see of the payload.
            pub(crate) fn shown_to(&self, tenant_id: TenantId) -> Value {
                match self { $(Self::$variant(payload) => payload.shown_to(tenant_id),)+ }
            }

            /// How long one attempt may take. A longer one is dropped and counts as failed.
            pub fn timeout(&self) -> Duration {
                match self { $(Self::$variant(_) => $module::TIMEOUT,)+ }
            }
        }
    };
}

jobs! {
    /// See [`usage_apply`].
    UsageApply => usage_apply,
    /// See [`violation_record`].
    ViolationRecord => violation_record,
    /// See [`retention`].
    Retention => retention,
    /// See [`quota_sync`].
    QuotaSync => quota_sync,
    /// See [`billing_sweep`].
    BillingSweep => billing_sweep,
    /// See [`billing_close`].
    BillingClose => billing_close,
    /// See [`reconciliation`].
    Reconciliation => reconciliation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_stored_under_the_name_that_its_file_says() {
        for (variant, name) in NAMES {
            let words = variant.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(Some(c)));
            let snake_case: String = words.flat_map(char::to_lowercase).collect();
            assert_eq!(snake_case.trim_start_matches('_'), *name);
        }
    }
}
