//! Logs when the database or its replica goes down and comes back, because callers only learn that it is unavailable.

use std::{fs::File, time::Instant};

use tollgate_domain::{Outage, outage::is_out_of_files};

use crate::Error;

const OUT_OF_FILES: &str = "out of files";
const NONE_FREE: &str = "none free";
const AWAY: &str = "away";

#[derive(Default)]
pub(crate) struct Outages {
    primary: Outage,
    replica: Outage,
}

impl Outages {
    pub(crate) fn note<T>(&self, outcome: &Result<T, Error>) {
        match outcome {
            // Another transaction was in the way, so the database is up.
            Err(error) if error.is_contention() => {}
            Err(error @ (Error::Unavailable(_) | Error::ReadOnly | Error::Full)) => {
                let why = why(error);
                if self.primary.goes_on(Instant::now(), why) {
                    say(why, error);
                }
            }
            Ok(_) | Err(_) => {
                if self.primary.ends() {
                    tracing::info!("the database answers again");
                }
            }
        }
    }

    pub(crate) fn note_replica<T>(&self, outcome: &Result<T, Error>) {
        match outcome {
            Err(Error::Unavailable(cause)) => {
                if self.replica.goes_on(Instant::now(), AWAY) {
                    tracing::warn!(%cause, "cannot reach the replica; the primary answers");
                }
            }
            Ok(_) | Err(_) => {
                if self.replica.ends() {
                    tracing::info!("the replica answers again");
                }
            }
        }
    }
}

/// The kind of reason.
fn why(error: &Error) -> &'static str {
    match error {
        Error::Unavailable(cause) if for_want_of_files(cause) => OUT_OF_FILES,
        Error::Unavailable(sqlx::Error::PoolTimedOut) => NONE_FREE,
        _ => AWAY,
    }
}

fn say(why: &'static str, error: &Error) {
    match why {
        OUT_OF_FILES => tracing::error!(%error, "out of file descriptors: the database cannot be reached"),
        NONE_FREE => tracing::warn!("no database connection was free in time; the request fails"),
        _ => tracing::warn!(%error, "cannot use the database; trying again"),
    }
}

/// SQLite does not say why it cannot open its file, nor the resolver why it does not know a name.
/// Opening another file shows it.
fn for_want_of_files(cause: &sqlx::Error) -> bool {
    matches!(cause, sqlx::Error::Io(error) if is_out_of_files(error))
        || File::open("/dev/null").is_err_and(|error| is_out_of_files(&error))
}
