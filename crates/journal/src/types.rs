//! The types that a caller uses: the boot, a position in its stream, and the options of a journal.
use crate::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One process start; the caller makes it unique (a UUID will do). It names the stream's folder, as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId([u8; 16]);

impl BootId {
    /// Wraps the 16 bytes unchanged.
    pub const fn from_bytes(bytes: [u8; 16]) -> BootId {
        BootId(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a boot id is 32 lower-case hex digits")]
pub struct NotABootId;

impl FromStr for BootId {
    type Err = NotABootId;

    /// Accepts exactly what `Display` writes, so that one stream has one folder name.
    fn from_str(text: &str) -> Result<BootId, NotABootId> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotABootId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NotABootId)?;
        Ok(BootId(number.to_be_bytes()))
    }
}

/// A place in one boot's stream: bytes from its start, including framing. It grows with every record and never repeats,
/// but is not dense, because the unused rest of a segment is skipped. Fits an `i64`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub(crate) u64);

impl Position {
    /// Where every stream begins: the cursor of a stream that nobody has read yet.
    pub const START: Position = Position(0);

    /// A position that was stored as a number.
    pub const fn new(bytes: u64) -> Position {
        Position(bytes)
    }

    /// The number to store.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Position {
    fn from(bytes: u64) -> Position {
        Position(bytes)
    }
}

impl From<Position> for u64 {
    fn from(position: Position) -> u64 {
        position.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a power loss or a kernel crash may take. The death of the process takes nothing in any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Everything the kernel had not written yet: with Linux's defaults about the last 30 seconds.
    None,
    /// Everything appended since the last sync, which runs this often. A failed sync is logged and tried again.
    Interval(Duration),
    /// Nothing for which [`durable`](crate::Journal::durable) has returned. All waiters share one sync.
    Group,
}

/// How a journal is set up. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file, rounded up to whole pages of 4096. Two of them are always on disk and mapped, so the
    /// smallest footprint is twice this. The default, 64 MiB, holds about a second at a million small records a second.
    pub segment_bytes: u64,
    /// The longest record. The default, 4 KiB, keeps the time under the lock near a microsecond at worst.
    pub max_record: u32,
    /// What a power loss may take.
    pub sync: Durability,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, max_record: 4096, sync: Durability::None }
    }
}

impl Options {
    /// Refuses what cannot work, so that the rest of the crate need not check.
    pub(crate) fn checked(mut self) -> Result<Options, Error> {
        const PAGE: u64 = 4096;
        if self.segment_bytes > 1 << 40 {
            return Err(Error::Options("segment_bytes must be at most 1 TiB"));
        }
        if self.max_record == 0 || self.max_record > 1 << 20 {
            return Err(Error::Options("max_record must be 1 byte to 1 MiB"));
        }
        if self.sync == Durability::Interval(Duration::ZERO) {
            return Err(Error::Options("the sync interval must be above zero"));
        }
        self.segment_bytes = self.segment_bytes.next_multiple_of(PAGE);
        if self.segment_bytes < u64::from(self.max_record) + PAGE {
            return Err(Error::Options("segment_bytes must be at least max_record + 4096"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_reads_back_from_its_name_and_from_nothing_else() {
        let boot = BootId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(boot.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(boot.to_string().parse(), Ok(boot));
        for wrong in ["", "0", "000102030405060708090A0B0C0D0EFF", "+00102030405060708090a0b0c0d0eff"] {
            assert_eq!(wrong.parse::<BootId>(), Err(NotABootId), "{wrong}");
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        let good = Options { segment_bytes: 8192, max_record: 4096, sync: Durability::None };
        assert!(good.checked().is_ok());
        assert!(Options { segment_bytes: 4096, ..good }.checked().is_err());
        assert!(Options { max_record: 0, ..good }.checked().is_err());
        assert!(Options { segment_bytes: u64::MAX, ..good }.checked().is_err());
        assert!(Options { sync: Durability::Interval(Duration::ZERO), ..good }.checked().is_err());
    }
}
