//! A snapshot: one block per shard, each with its length and checksum, and a last block that says the file is whole.
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::Ordering;

use crate::algorithm::{Cell, Numbers};
use crate::error::Error;
use crate::hold::Hold;
use crate::state::{Change, StateRef};
use crate::time::Timestamp;

use super::shard::Shard;
use super::{MemoryStore, SHARDS, locked};

const MAGIC: &[u8; 8] = b"TGLIMIT1";
const END: &[u8; 8] = b"TGLIMEND";
/// A block longer than this is damage, not data: 40 million cells in one shard.
const LONGEST_BLOCK: u32 = 1 << 31;

impl MemoryStore {
    pub(crate) fn snapshot(&self, out: &mut dyn Write) -> Result<(), Error> {
        out.write_all(MAGIC)?;
        let mut block = Vec::new();
        for shard in &self.shards {
            block.clear();
            for (hash, state) in locked(shard).subjects() {
                write_subject(&mut block, hash, state);
            }
            out.write_all(&u32::try_from(block.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            out.write_all(&crc32fast::hash(&block).to_le_bytes())?;
            out.write_all(&block)?;
        }
        out.write_all(END)?;
        Ok(out.flush()?)
    }

    pub(crate) fn restore(&self, from: &mut dyn Read, now: Timestamp) -> Result<u64, Error> {
        self.clear();
        let outcome = self.read_all(from, now.clamped());
        if outcome.is_err() {
            self.clear();
        }
        outcome
    }

    fn read_all(&self, from: &mut dyn Read, now: i64) -> Result<u64, Error> {
        if take::<8>(from)? != *MAGIC {
            return Err(damaged("it does not begin like a snapshot"));
        }
        for shard in self.shards.iter().take(SHARDS) {
            let block = read_block(from)?;
            let mut rest = block.as_slice();
            let mut shard = locked(shard);
            let before = shard.len();
            while !rest.is_empty() {
                let (hash, changes) =
                    read_subject(&mut rest).ok_or_else(|| damaged("a block ends within a subject"))?;
                let cells = changes.iter().filter(|change| matches!(change, Change::Cell(_))).count();
                for change in changes.into_iter().filter(|change| is_live(change, now)) {
                    let place = shard.find(hash, cells).unwrap_or_else(|| shard.insert(hash, cells));
                    shard.apply(place, change, now);
                }
            }
            self.make_room(&mut shard, before, now);
        }
        if take::<8>(from)? != *END {
            return Err(damaged("it does not end like a snapshot"));
        }
        Ok(self.held.load(Ordering::Relaxed) as u64)
    }

    fn clear(&self) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            let before = shard.len();
            *shard = Shard::new();
            self.account(before, 0);
        }
    }
}

fn write_subject(block: &mut Vec<u8>, hash: [u64; 2], state: StateRef<'_>) {
    for half in hash {
        block.extend(half.to_le_bytes());
    }
    // A subject has at most 64 cells and 1000 holds.
    block.push(state.cells().count().to_le_bytes()[0]);
    block.extend(u16::try_from(state.holds.len()).unwrap_or(u16::MAX).to_le_bytes());
    for Cell { id, numbers: Numbers { a, b, c }, until } in state.cells() {
        block.extend(id.to_le_bytes());
        for number in [a, b, c, until] {
            block.extend(number.to_le_bytes());
        }
    }
    for Hold { cell, id, amount, until } in state.holds {
        for number in [cell, id, &amount.cast_unsigned(), &until.cast_unsigned()] {
            block.extend(number.to_le_bytes());
        }
    }
}

fn read_subject(rest: &mut &[u8]) -> Option<([u64; 2], Vec<Change>)> {
    let hash = [number(rest)?.cast_unsigned(), number(rest)?.cast_unsigned()];
    let (cells, after) = rest.split_first()?;
    let (holds, after) = after.split_first_chunk::<2>()?;
    *rest = after;
    let mut changes = Vec::new();
    for _ in 0..*cells {
        let id = number(rest)?.cast_unsigned();
        let numbers = Numbers { a: number(rest)?, b: number(rest)?, c: number(rest)? };
        changes.push(Change::Cell(Cell { id, numbers, until: number(rest)? }));
    }
    for _ in 0..u16::from_le_bytes(*holds) {
        let (cell, id) = (number(rest)?.cast_unsigned(), number(rest)?.cast_unsigned());
        changes.push(Change::Hold(Hold { cell, id, amount: number(rest)?, until: number(rest)? }));
    }
    Some((hash, changes))
}

fn is_live(change: &Change, now: i64) -> bool {
    match change {
        Change::Cell(cell) => cell.until > now,
        Change::Hold(hold) => hold.until > now,
        Change::EndHold { .. } => false,
    }
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    let (head, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(i64::from_le_bytes(*head))
}

fn read_block(from: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let length = u32::from_le_bytes(take(from)?);
    let checksum = u32::from_le_bytes(take(from)?);
    if length > LONGEST_BLOCK {
        return Err(damaged("a block's length is impossible"));
    }
    let mut block = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut block)?;
    if block.len() != length as usize {
        return Err(damaged("it is cut short"));
    }
    if crc32fast::hash(&block) != checksum {
        return Err(damaged("a checksum does not match"));
    }
    Ok(block)
}

fn take<const N: usize>(from: &mut dyn Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => damaged("it is cut short"),
        _ => Error::Io(error),
    })?;
    Ok(bytes)
}

fn damaged(reason: &'static str) -> Error {
    Error::DamagedSnapshot { reason }
}
