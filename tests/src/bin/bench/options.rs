//! What a run measures: `KEYS`, `SUBJECTS`, `ACTIVE`, `HELD` and `ROWS` of the environment.

use std::{env, str::FromStr};

/// Each active key has rows of its own in every batch of usage, so their number is a cost.
const KEYS: usize = 1_000;
const SUBJECTS: usize = 100_000;
/// Keys in use at once in the rows that ask what many cost, and keys held in the row that asks what memory they take.
const ACTIVE: usize = 100_000;
const HELD: usize = 1_000_000;

/// Groups of rows that `ROWS` may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// The service with nothing next to it.
    Embedded,
    /// The same with other settings of the log.
    Log,
    /// Many subjects on Redis, each decided there.
    Redis,
    /// One subject on Redis, far from its limit.
    Hot,
    /// One subject on Redis, over its limit.
    Over,
    /// One script call per check.
    Evalsha,
    /// Half of the most that `redis` reached.
    Paced,
    /// Many keys, all of them in use, embedded and on PostgreSQL.
    Active,
    /// Memory per key that a node holds.
    Held,
}

impl Group {
    const ALL: [(&'static str, Self); 9] = [
        ("embedded", Self::Embedded),
        ("log", Self::Log),
        ("redis", Self::Redis),
        ("hot", Self::Hot),
        ("over", Self::Over),
        ("evalsha", Self::Evalsha),
        ("paced", Self::Paced),
        ("active", Self::Active),
        ("held", Self::Held),
    ];
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, group)| group);
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("ROWS names {text:?}; there are {names}"))
    }
}

/// One run's choices.
pub(crate) struct Options {
    /// Keys of the embedded service.
    pub(crate) keys: usize,
    /// Keys of the service on Redis.
    pub(crate) subjects: usize,
    /// Keys of the rows with many active keys.
    pub(crate) active: usize,
    /// Keys of the row that measures memory.
    pub(crate) held: usize,
    groups: Vec<Group>,
}

impl Options {
    /// Panics when one cannot be read, and says what may stand there.
    pub(crate) fn read() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str, default| match set(name) {
            Some(text) => text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("{name}={text}: not a number")),
            None => default,
        };
        let groups = set("ROWS").unwrap_or_else(|| Group::ALL.map(|(name, _)| name).join(","));
        let groups = groups.split(',').map(|name| name.parse().unwrap_or_else(|error| panic!("{error}"))).collect();
        Self {
            keys: number("KEYS", KEYS),
            subjects: number("SUBJECTS", SUBJECTS),
            active: number("ACTIVE", ACTIVE),
            held: number("HELD", HELD),
            groups,
        }
    }

    /// Whether the group is measured. What is paced needs the most that `redis` reached.
    pub(crate) fn wants(&self, group: Group) -> bool {
        let needed = group == Group::Redis && self.groups.contains(&Group::Paced);
        needed || self.groups.contains(&group)
    }
}
