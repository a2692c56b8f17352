//! The number of connections for which the limit on open files leaves room.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For standard streams, listeners, journal segments, the stores' connections and the runtime.
const RESERVED: u64 = 64;
/// SQLite has up to four files open per connection, PostgreSQL one socket.
const PER_DATABASE_CONNECTION: u64 = 4;
/// The fewest connections that a server needs; with less room they share the reserve.
const LEAST: u64 = 8;

/// Raises this process's limit on open files, as far as `connections` and the database need and the hard limit allows.
/// Returns the number of connections for which there is room, at most `connections`.
pub(crate) fn room_for(connections: usize, database_connections: u32) -> usize {
    let reserved = RESERVED + PER_DATABASE_CONNECTION * u64::from(database_connections);
    let wanted = (connections as u64).saturating_add(reserved);
    let before = getrlimit(Resource::Nofile);
    let allowed = within(before, wanted);
    let is_raised = before.current.is_some_and(|current| current < allowed);
    let limit = match is_raised.then(|| setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..before })) {
        None | Some(Ok(())) => allowed,
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot raise the limit on open files; keeping it");
            before.current.unwrap_or(allowed)
        }
    };
    let room = room(limit, reserved).min(connections as u64);
    if room < connections as u64 {
        tracing::warn!(
            file_descriptors = limit,
            room,
            wanted = connections,
            "the limit on open file descriptors leaves room for fewer connections than api.max_connections"
        );
    }
    usize::try_from(room).unwrap_or(connections)
}

/// None means no limit.
fn within(limit: Rlimit, wanted: u64) -> u64 {
    let raised = limit.current.map_or(wanted, |current| current.max(wanted));
    limit.maximum.map_or(raised, |maximum| raised.min(maximum))
}

fn room(limit: u64, reserved: u64) -> u64 {
    limit.saturating_sub(reserved).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_rest_does_not_need() {
        for (current, maximum, wanted, expected) in [
            (Some(1_024), Some(1 << 20), 10_100, 10_000),
            (Some(1_024), Some(4_096), 10_100, 3_996),
            (Some(256), Some(256), 10_100, 156),
            (Some(64), Some(64), 10_100, LEAST),
            (None, None, 10_100, 10_000),
        ] {
            assert_eq!(room(within(Rlimit { current, maximum }, wanted), 100), expected, "{current:?} {maximum:?}");
        }
    }
}
