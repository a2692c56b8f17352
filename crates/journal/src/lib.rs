//! An append-only record that survives `kill -9`, cheap enough to write before every answer.
//!
//! A process keeps one [`Journal`]. [`append`](Journal::append) adds a record of opaque bytes, and a [`Stream`] reads
//! the records back in order: those of this process while it runs, and those of processes that died ([`abandoned`]).
//!
//! ```
//! use tollgate_journal::{BootId, Journal, Options, Position, abandoned};
//! # let folder = tempfile::tempdir().map_err(|_| tollgate_journal::Error::Full)?;
//! # let dir = folder.path();
//! let journal = Journal::open(dir, BootId::from_bytes([7; 16]), Options::default())?;
//! let after = journal.append(b"key 1 may call")?;      // from here on it counts, whatever happens to us
//!
//! let mut stream = journal.stream();
//! let cursor = stream.read(Position::START, 1 << 20, |_after, record| assert_eq!(record, b"key 1 may call"))?;
//! assert_eq!(cursor, after);                           // store it together with what was made of the records
//!
//! assert!(abandoned(dir)?.is_empty());                 // at the next start: what this process left unread
//! # Ok::<(), tollgate_journal::Error>(())
//! ```
//!
//! # Promise
//! - When `append` returns, the kernel has the record. It can be read after `kill -9`, an abort or a panic.
//! - An error from `append` means that nothing was recorded: do not answer.
//! - A reader sees whole records only, each once, in the order of their positions, without gaps.
//! - A stream has one owner. A process that takes over a dead process's stream holds it until it releases it or dies.
//! - Nothing from the confirmed position on is ever deleted, except by [`Stream::remove`].
//!
//! So a process that answers after `append`, and counts what it reads, never answers more than it counts. It counts
//! more than it answered only for records that were appended and whose answer was cut off.
//!
//! # What survives what
//! | | [`None`](Durability::None) | [`Interval`](Durability::Interval) | [`Group`](Durability::Group) |
//! |---|---|---|---|
//! | death of the process, by any signal | all | all | all |
//! | power loss, kernel crash | what the kernel had written: usually all but the last 30 s | all but the last interval | all for which [`durable`](Journal::durable) returned |
//! | full disk | all; `append` fails until there is room, which is looked for every 100 ms | the same | the same |
//! | a failed sync | - | logged, tried again | all that was synced; the journal refuses from then on |
//! | a bad byte on the disk | all other records; [`Error::Corrupt`] names the place | the same | the same |
//! | loss of the disk | nothing | nothing | nothing |
//!
//! A **torn tail** is what a crash leaves after the last whole record. It is dropped, logged and counted by
//! [`Stream::torn_bytes`]. After a kill it is part of one record at most, because appends take turns. **Corrupt** bytes
//! have whole records after them: [`Stream::read`] returns the records before them, then fails with where they begin
//! and where to go on; the caller decides. After a power loss without sync both are possible, because the kernel may
//! have written later pages and not earlier ones. A bad byte in a segment's header costs the whole segment.
//!
//! # Format
//! ```text
//! dir/.lock                             held for a moment while streams are made, looked for or removed
//! dir/<boot: 32 hex>/lock               flock of the owner, freed by the kernel when it dies
//! dir/<boot: 32 hex>/<base: 16 hex>.seg
//!
//! segment  magic "journal1" | boot 16 | base u64 | capacity u64 | max_record u32 | CRC-32 u32 | zeros to 64 | frames
//! frame    length u32 | check u32 | payload | zeros to a multiple of 8
//! end      0xffff_ffff | check u32     no more frames in this segment; zero instead of a length: none so far
//! ```
//! All numbers are little-endian. Segment n covers the positions from n times its capacity, so the next name is known
//! before it is needed. A frame never crosses a border; the rest of the segment is skipped. `check` is the payload's
//! CRC-32 mixed with boot, position and length, so bytes that belong elsewhere fail it.
//!
//! # How it is fast
//! A thread of its own reserves each segment with `fallocate` (with zeros where that is missing) and maps it before it
//! is needed. `append` computes the CRC, then under a lock copies the record into the mapping and publishes the new
//! end: no system call, no allocation. Because the space is reserved, a full disk is an error when a segment is made
//! and never a SIGBUS while one is written. File systems that cannot overwrite in place (ZFS) cannot promise that: give
//! the folder a reservation there. A disk that fails under the mapping ends the process with SIGBUS, so nothing is
//! answered that was not recorded.
//!
//! | nanoseconds per record (`cargo bench -p tollgate-journal`; 2 cores, load about 1, ext4, Linux 6.18) | 64 bytes | 256 | 4096 |
//! |---|---|---|---|
//! | `append`, page faults included | 45 to 50 | 95 to 115 | 1300 to 1700 |
//! | a `write` call per record, same CRC and lock | 315 to 340 | 430 | 2150 |
//! | `append` with two threads at it | 80 to 95 | | |
//!
//! The background touches the pages ahead of the writer. Without that, one `append` in about 100,000 waited 1
//! to 40 ms for the file system.
//!
//! The mapping is the only use of `unsafe`, in `segment.rs`. Unix systems other than Linux work; they write segments
//! out as zeros. Do not use a network file system, where locks and mappings promise less.
mod background;
mod dead_stream;
mod error;
mod folder;
mod journal;
mod reader;
mod record;
mod segment;
mod shared;
mod stream;
mod types;

pub use error::Error;
pub use journal::Journal;
pub use stream::{Stream, abandoned};
pub use types::{BootId, Durability, NotABootId, Options, Position};
