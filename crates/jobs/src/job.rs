//! The list of jobs, and the envelope in which one travels.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_domain::TenantId;

use crate::{Error, quota_sync, retention, usage_apply, violation_record};

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

/// Whose a job is. A job that carries rows of keys belongs to those keys' tenants, and each sees its own rows only; any other
/// is the installation's, whose operator is the tenant of the first start.
pub(crate) trait Belongs: Serialize {
    /// Whose rows it carries.
    fn tenants(&self) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }

    /// What `tenant_id` may see of the payload.
    fn shown_to(&self, _tenant_id: TenantId) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Makes the enum from the list: the variant's name in snake case must be its module's `NAME` (a test sees to it).
macro_rules! jobs {
    ($($(#[$doc:meta])* $variant:ident => $module:ident,)+) => {
        /// What can be queued.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "name", content = "payload", rename_all = "snake_case")]
        pub enum Job {
            $($(#[$doc])* $variant($module::Payload),)+
        }

        impl Job {
            /// As stored, in the dead list and as a metric's label.
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

            /// Who may see it and have it tried again.
            pub fn tenants(&self) -> BTreeSet<TenantId> {
                let tenants = match self { $(Self::$variant(payload) => payload.tenants(),)+ };
                if tenants.is_empty() { BTreeSet::from([TenantId::DEFAULT]) } else { tenants }
            }

            fn shown_to(&self, tenant_id: TenantId) -> Value {
                match self { $(Self::$variant(payload) => payload.shown_to(tenant_id),)+ }
            }

            /// How long one attempt may take; a longer one is dropped and counts as failed.
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
}

/// The layout of [`Envelope`]; raised when an older worker would misread a newer job.
const VERSION: u32 = 2;

/// A job as the store keeps it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    v: u32,
    pub(crate) job: Job,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

/// Why a stored job cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Another worker may be newer: worth another attempt.
    #[error("its layout {found} is newer than this worker's {VERSION}")]
    Newer { found: u32 },
    /// Will never be readable.
    #[error("its payload cannot be decoded: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Envelope {
    pub(crate) fn encode(job: &Job, traceparent: Option<String>) -> Result<Vec<u8>, Error> {
        /// The envelope without a copy of the job.
        #[derive(Serialize)]
        struct Borrowed<'a> {
            v: u32,
            job: &'a Job,
            #[serde(skip_serializing_if = "Option::is_none")]
            traceparent: Option<String>,
        }
        Ok(serde_json::to_vec(&Borrowed { v: VERSION, job, traceparent })?)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let Version { v: found } = serde_json::from_slice(body)?;
        if found > VERSION { Err(Unreadable::Newer { found }) } else { Ok(serde_json::from_slice(body)?) }
    }
}

/// Name and payload of a stored job for a person of `tenant_id` to look at, whatever state it is in. The payload of one that
/// cannot be decoded is withheld, for nobody knows whose rows it holds.
pub(crate) fn describe(body: &[u8], tenant_id: TenantId) -> (String, Value) {
    #[derive(Deserialize)]
    struct Loose {
        job: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    if let Ok(Envelope { job, .. }) = Envelope::decode(body) {
        return (job.name().to_owned(), job.shown_to(tenant_id));
    }
    let name = serde_json::from_slice(body).map(|Loose { job }| job.name);
    (name.unwrap_or_else(|_| "unreadable".to_owned()), Value::Null)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tollgate_domain::{
        BootId,
        usage::{JournalSpan, UsageBatch, ViolationBatch},
    };
    use uuid::Uuid;

    use super::*;

    fn one_of_each() -> Vec<Job> {
        let span = JournalSpan { boot: BootId::from(Uuid::from_u128(7)), from: 0, to: 10 };
        vec![
            Job::UsageApply(UsageBatch { span, chunks: vec![] }),
            Job::ViolationRecord(ViolationBatch { span, rows: vec![] }),
            Job::Retention(retention::Payload { at: DateTime::UNIX_EPOCH }),
            Job::QuotaSync(quota_sync::Payload {}),
        ]
    }

    #[test]
    fn every_job_is_read_back_as_it_was_written_under_its_own_name() {
        for job in one_of_each() {
            let body = Envelope::encode(&job, Some("00-ab-cd-01".to_owned())).unwrap();
            let read = Envelope::decode(&body).unwrap();
            assert_eq!(read.job, job);
            assert_eq!(read.traceparent.as_deref(), Some("00-ab-cd-01"));
            assert_eq!(describe(&body, TenantId::DEFAULT).0, job.name());
        }
    }

    #[test]
    fn a_newer_layout_is_told_from_garbage() {
        assert!(matches!(
            Envelope::decode(br#"{"v":3,"job":{"name":"of_the_future"}}"#),
            Err(Unreadable::Newer { found: 3 })
        ));
        assert!(matches!(Envelope::decode(br#"{"v":1,"job":{"name":"of_the_past"}}"#), Err(Unreadable::Malformed(_))));
        assert!(matches!(Envelope::decode(b"{"), Err(Unreadable::Malformed(_))));
        assert_eq!(describe(b"{", TenantId::DEFAULT), ("unreadable".to_owned(), Value::Null));
        let newer = br#"{"v":3,"job":{"name":"of_the_future","payload":{"rows":["of whom?"]}}}"#;
        assert_eq!(describe(newer, TenantId::DEFAULT), ("of_the_future".to_owned(), Value::Null));
    }
}
