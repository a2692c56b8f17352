//! A snapshot: one block per shard, each with its length and checksum, and a last block
//! that marks the file as complete.
use std::{
    io::{ErrorKind, Read, Write},
    sync::atomic::Ordering,
};

use super::{MemoryStore, SHARDS, locked, shard::Shard};
use crate::{
    algorithm::{Cell, Log, Moment, Numbers},
    error::Error,
    reservation::Reservation,
    state::{Change, StateRef},
    time::Timestamp,
};

const MAGIC: &[u8; 8] = b"TGLIMIT2";
/// The header of an earlier version without logs.
const WITHOUT_LOGS: &[u8; 8] = b"TGLIMIT1";
const END_MARK: &[u8; 8] = b"TGLIMEND";
/// A longer block is damage, not data: 40 million cells in one shard.
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
        out.write_all(END_MARK)?;
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
        let magic = take::<8>(from)?;
        if ![MAGIC, WITHOUT_LOGS].contains(&&magic) {
            return Err(damaged("it does not begin like a snapshot"));
        }
        for shard in self.shards.iter().take(SHARDS) {
            let block = read_block(from)?;
            let mut rest = block.as_slice();
            let mut shard = locked(shard);
            let before = shard.len();
            while !rest.is_empty() {
                let read = read_subject(&mut rest, magic == *MAGIC);
                let (hash, changes, logs) = read.ok_or_else(|| damaged("a block ends within a subject"))?;
                let cells = changes.iter().filter(|change| matches!(change, Change::Cell(_))).count();
                let place = |shard: &mut Shard| shard.find(hash, cells).unwrap_or_else(|| shard.insert(hash, cells));
                for change in changes.into_iter().filter(|change| is_live(change, now)) {
                    let place = place(&mut shard);
                    shard.apply(place, change, now);
                }
                for log in logs.into_iter().filter(|log| log.until > now && !log.is_empty()) {
                    let place = place(&mut shard);
                    shard.push_log(place, log);
                }
            }
            self.make_room(&mut shard, before, now);
        }
        if take::<8>(from)? != *END_MARK {
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
    // A subject has at most 64 cells, 1000 reservations and 64 logs of 1000 moments each.
    block.push(state.cells().count().to_le_bytes()[0]);
    block.extend(u16::try_from(state.reservations().len()).unwrap_or(u16::MAX).to_le_bytes());
    for Cell { id, numbers: Numbers { a, b, c }, until } in state.cells() {
        block.extend(id.to_le_bytes());
        for number in [a, b, c, until] {
            block.extend(number.to_le_bytes());
        }
    }
    for Reservation { cell, id, amount, until } in state.reservations() {
        for number in [cell, id, &amount.cast_unsigned(), &until.cast_unsigned()] {
            block.extend(number.to_le_bytes());
        }
    }
    block.push(state.logs().len().to_le_bytes()[0]);
    for log in state.logs() {
        block.extend(log.id.to_le_bytes());
        block.extend(log.until.to_le_bytes());
        block.extend(u16::try_from(log.moments().len()).unwrap_or(u16::MAX).to_le_bytes());
        log.moments().for_each(|moment| block.extend(moment.bits().to_le_bytes()));
    }
}

/// A subject's hash, its cells and reservations, and its logs.
type Subject = ([u64; 2], Vec<Change>, Vec<Log>);

fn read_subject(rest: &mut &[u8], with_logs: bool) -> Option<Subject> {
    let hash = [number(rest)?.cast_unsigned(), number(rest)?.cast_unsigned()];
    let (cells, reservations) = (u8::from_le_bytes(bytes(rest)?), u16::from_le_bytes(bytes(rest)?));
    let mut changes = Vec::new();
    for _ in 0..cells {
        let id = number(rest)?.cast_unsigned();
        let numbers = Numbers { a: number(rest)?, b: number(rest)?, c: number(rest)? };
        changes.push(Change::Cell(Cell { id, numbers, until: number(rest)? }));
    }
    for _ in 0..reservations {
        let (cell, id) = (number(rest)?.cast_unsigned(), number(rest)?.cast_unsigned());
        changes.push(Change::Reservation(Reservation { cell, id, amount: number(rest)?, until: number(rest)? }));
    }
    let mut logs = Vec::new();
    for _ in 0..if with_logs { u8::from_le_bytes(bytes(rest)?) } else { 0 } {
        logs.push(read_log(rest)?);
    }
    Some((hash, changes, logs))
}

fn read_log(rest: &mut &[u8]) -> Option<Log> {
    let (id, until) = (number(rest)?.cast_unsigned(), number(rest)?);
    let count = u16::from_le_bytes(bytes(rest)?);
    let moments = (0..count).map(|_| Some(Moment::from_bits(number(rest)?.cast_unsigned())));
    Some(Log::new(id, until, moments.collect::<Option<Vec<_>>>()?))
}

fn is_live(change: &Change, now: i64) -> bool {
    match change {
        Change::Cell(cell) => cell.until > now,
        Change::Reservation(hold) => hold.until > now,
        Change::EndReservation { .. } | Change::Log { .. } => false,
    }
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    bytes(rest).map(i64::from_le_bytes)
}

fn bytes<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::shard::Place;

    const END: i64 = 1_000;

    type Held = ([u64; 2], Vec<Cell>, Vec<Reservation>, Vec<Log>);

    fn held(store: &MemoryStore) -> Vec<Held> {
        let mut held = Vec::new();
        for shard in &store.shards {
            for (hash, state) in locked(shard).subjects() {
                held.push((
                    hash,
                    state.cells().copied().collect(),
                    state.reservations().to_vec(),
                    state.logs().to_vec(),
                ));
            }
        }
        held
    }

    #[test]
    fn a_snapshot_of_a_version_that_knew_no_logs_is_read() {
        let (cell, hold) = (
            Cell { id: 7, numbers: Numbers { a: 1, b: 2, c: 3 }, until: END },
            Reservation { cell: 7, id: 9, amount: 4, until: END },
        );
        let mut subject = Vec::new();
        for half in [5_u64, 6] {
            subject.extend(half.to_le_bytes());
        }
        subject.push(1);
        subject.extend(1_u16.to_le_bytes());
        for number in [7, 1, 2, 3, END, 7, 9, 4, END] {
            subject.extend(number.to_le_bytes());
        }
        let mut file = WITHOUT_LOGS.to_vec();
        for shard in 0..SHARDS {
            let block: &[u8] = if shard == 0 { &subject } else { &[] };
            file.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            file.extend(crc32fast::hash(block).to_le_bytes());
            file.extend(block);
        }
        file.extend(END_MARK);
        let store = MemoryStore::new(10);
        assert_eq!(store.restore(&mut file.as_slice(), Timestamp::from_micros(1)).unwrap(), 1);
        assert_eq!(held(&store), [([5, 6], vec![cell], vec![hold], vec![])]);
    }

    #[test]
    fn logs_are_restored_moment_by_moment() {
        let store = MemoryStore::new(10);
        let log = Log::new(7, END, [Moment::new(10, 3), Moment::new(11, 1_000)]);
        let mut shard = locked(&store.shards[0]);
        let place: Place = shard.insert([5, 6], 1);
        shard.push_log(place, log.clone());
        drop(shard);
        store.held.fetch_add(1, Ordering::Relaxed);
        let mut file = Vec::new();
        store.snapshot(&mut file).unwrap();
        let restored = MemoryStore::new(10);
        assert_eq!(restored.restore(&mut file.as_slice(), Timestamp::from_micros(1)).unwrap(), 1);
        assert_eq!(held(&restored), [([5, 6], vec![], vec![], vec![log])]);
        assert_eq!(restored.restore(&mut file.as_slice(), Timestamp::from_micros(END)).unwrap(), 0, "it is over");
    }
}
