//! The faults of a Redis, recognised by its error text, and their remedy: a new connection, or waiting.
use redis::RedisError;

/// What is wrong with the shared store. Until it is fixed, checks are answered without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreFault {
    /// The connection was refused or lost, or the name does not resolve.
    Unreachable,
    /// No reply in time.
    Silent,
    /// It is still loading its data from disk (`LOADING`).
    Loading,
    /// A script or function of another client blocks it (`BUSY`).
    Busy,
    /// It is a replica (`READONLY`), or its master is down (`MASTERDOWN`): a failover is in progress.
    ReadOnly,
    /// No server serves some slots of the cluster (`CLUSTERDOWN`, `TRYAGAIN`).
    ClusterDown,
    /// It refuses writes because it has too few replicas (`NOREPLICAS`).
    TooFewReplicas,
    /// It refuses writes because it cannot save (`MISCONF`).
    CannotSave,
    /// It is full and may not evict keys (`OOM`).
    OutOfMemory,
    /// It rejects the user, the password or the permissions (`NOAUTH`, `WRONGPASS`, `NOPERM`).
    NotPermitted,
    /// It is at its maximum number of clients.
    TooManyClients,
    /// This process, or this machine, has as many files open as it may, so no connection can be made.
    OutOfFiles,
    /// Anything else.
    Unexpected,
}

/// The remedy of a fault. Every fault counts for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Make a new connection: this one is dead, or leads to the wrong server.
    Reconnect,
    /// Probe until it passes: the server itself reported it, and would report it on any connection.
    Wait,
}

/// Codes at the beginning of an error, or within the error of a script that met them.
const CODES: [(&str, StoreFault); 15] = [
    ("LOADING", StoreFault::Loading),
    ("BUSY ", StoreFault::Busy),
    ("READONLY", StoreFault::ReadOnly),
    ("MASTERDOWN", StoreFault::ReadOnly),
    ("UNBLOCKED", StoreFault::ReadOnly),
    ("CLUSTERDOWN", StoreFault::ClusterDown),
    ("TRYAGAIN", StoreFault::ClusterDown),
    ("NOREPLICAS", StoreFault::TooFewReplicas),
    ("MISCONF", StoreFault::CannotSave),
    ("OOM ", StoreFault::OutOfMemory),
    ("NOAUTH", StoreFault::NotPermitted),
    ("WRONGPASS", StoreFault::NotPermitted),
    ("NOPERM", StoreFault::NotPermitted),
    ("max number of clients", StoreFault::TooManyClients),
    // The system's text for EMFILE and ENFILE.
    ("Too many open files", StoreFault::OutOfFiles),
];

/// The error text of the server, which the library may reword, or of the system.
pub(crate) fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.to_string(),
    }
}

impl StoreFault {
    pub(crate) fn of(error: &RedisError) -> Self {
        let text = said(error);
        let known = CODES.iter().find(|(code, _)| text.contains(code)).map(|(_, fault)| *fault);
        known.unwrap_or_else(|| {
            if error.kind() == redis::ErrorKind::AuthenticationFailed {
                Self::NotPermitted
            } else if error.is_timeout() {
                Self::Silent
            } else if error.is_io_error() || error.is_unrecoverable_error() {
                Self::Unreachable
            } else {
                Self::Unexpected
            }
        })
    }

    /// Whether it will not pass by itself, so that an operator must act.
    pub fn needs_an_operator(self) -> bool {
        match self {
            Self::Unreachable | Self::Silent | Self::Loading | Self::Busy | Self::ReadOnly | Self::ClusterDown => false,
            Self::TooFewReplicas | Self::CannotSave | Self::OutOfMemory => true,
            Self::NotPermitted | Self::TooManyClients | Self::OutOfFiles | Self::Unexpected => true,
        }
    }

    pub(crate) fn remedy(self) -> Remedy {
        match self {
            Self::Unreachable | Self::ReadOnly | Self::NotPermitted | Self::TooManyClients | Self::OutOfFiles => {
                Remedy::Reconnect
            }
            _ => Remedy::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of Redis 7.0, alone or from within a script.
    const TEXTS: [(&str, StoreFault, Remedy, bool); 16] = [
        ("LOADING Redis is loading the dataset in memory", StoreFault::Loading, Remedy::Wait, false),
        (
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            StoreFault::Busy,
            Remedy::Wait,
            false,
        ),
        ("READONLY You can't write against a read only replica.", StoreFault::ReadOnly, Remedy::Reconnect, false),
        (
            "READONLY You can't write against a read only replica. script: 1c5b, on @user_script:12.",
            StoreFault::ReadOnly,
            Remedy::Reconnect,
            false,
        ),
        (
            "ERR Error running script (call to f_1c5b): @user_script:12: -READONLY You can't write against a read only replica.",
            StoreFault::ReadOnly,
            Remedy::Reconnect,
            false,
        ),
        (
            "MASTERDOWN StoreConnection with MASTER is down and replica-serve-stale-data is set to 'no'.",
            StoreFault::ReadOnly,
            Remedy::Reconnect,
            false,
        ),
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            StoreFault::ReadOnly,
            Remedy::Reconnect,
            false,
        ),
        ("CLUSTERDOWN Hash slot not served", StoreFault::ClusterDown, Remedy::Wait, false),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreFault::ClusterDown, Remedy::Wait, false),
        ("NOREPLICAS Not enough good replicas to write.", StoreFault::TooFewReplicas, Remedy::Wait, true),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            StoreFault::CannotSave,
            Remedy::Wait,
            true,
        ),
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreFault::OutOfMemory, Remedy::Wait, true),
        ("NOAUTH Authentication required.", StoreFault::NotPermitted, Remedy::Reconnect, true),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            StoreFault::NotPermitted,
            Remedy::Reconnect,
            true,
        ),
        ("ERR max number of clients reached", StoreFault::TooManyClients, Remedy::Reconnect, true),
        ("ERR unknown command 'EVALSHA'", StoreFault::Unexpected, Remedy::Wait, true),
    ];

    #[test]
    fn a_lack_of_file_descriptors_is_not_the_servers_fault() {
        for number in [23, 24] {
            let error = RedisError::from(std::io::Error::from_raw_os_error(number));
            assert_eq!(StoreFault::of(&error), StoreFault::OutOfFiles, "{error}");
        }
    }

    #[test]
    fn every_text_has_its_remedy() {
        for (text, fault, remedy, operator) in TEXTS {
            let bytes = format!("-{text}\r\n");
            let redis::Value::ServerError(error) = redis::parse_redis_value(bytes.as_bytes()).unwrap() else {
                panic!("{text} is no error");
            };
            let found = StoreFault::of(&error.into());
            assert_eq!((found, found.remedy(), found.needs_an_operator()), (fault, remedy, operator), "{text}");
        }
    }
}
