//! The stored form of a job: its JSON text, with a version and the trace it belongs to.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_domain::TenantId;

use crate::{Error, Job};

/// The layout of [`Envelope`]. Raise it when an older worker would misread a newer job.
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
    /// A newer worker may be able to run it, so another attempt is worth it.
    #[error("its layout {found} is newer than this worker's {VERSION}")]
    Newer { found: u32 },
    /// No worker will ever be able to read it.
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

/// Name and payload of a stored job, as `tenant_id` may see them. The payload of a job that cannot be decoded is
/// withheld, because it may hold rows of other tenants.
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

    use super::*;
    use crate::job::retention;

    #[test]
    fn a_job_is_read_back_as_it_was_written_with_its_trace() {
        let job = Job::Retention(retention::Payload { at: DateTime::UNIX_EPOCH });
        let body = Envelope::encode(&job, Some("00-ab-cd-01".to_owned())).unwrap();
        let read = Envelope::decode(&body).unwrap();
        assert_eq!(read.job, job);
        assert_eq!(read.traceparent.as_deref(), Some("00-ab-cd-01"));
        assert_eq!(describe(&body, TenantId::DEFAULT).0, job.name());
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
