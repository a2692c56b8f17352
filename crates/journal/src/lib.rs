//! An append-only record that survives `kill -9`, cheap enough to stand before every answer.
//!
//! A process keeps one [`Journal`]. [`append`](Journal::append) puts a record of opaque bytes into it, and a [`Stream`]
//! reads them back in order: the own one while it grows, and those of processes that died ([`abandoned`]).
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
//! - When `append` returns, the record is the kernel's. It is read back after `kill -9`, an abort or a panic.
//! - An error from `append` means that nothing was recorded: refuse to answer.
//! - A reader sees whole records only, each once, in the order of their positions, without gaps.
//! - A stream has one owner. Whoever takes over a dead process's stream holds it until it lets go or dies.
//! - Nothing from the confirmed position on is ever deleted, but by [`Stream::remove`].
//!
//! So whoever answers after `append`, and counts what it reads, has answered at most what it counts. It counts more than it
//! answered by the records that were appended and whose answer was cut off.
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
//! A **torn tail** is what a crash leaves after the last whole record: dropped, logged, counted by
//! [`Stream::torn_bytes`]. After a kill it is part of one record at most, for appends take turns.
//! **Corrupt** is what has whole records after it: [`Stream::read`] returns what stands before it, then fails with where it
//! begins and where to go on; the caller decides. After a power loss without sync the kernel may have written later pages
//! and not earlier ones, so both are possible. A bad byte in a segment's header costs the whole segment.
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
//! All numbers are little-endian. Segment n covers the positions from n times its capacity, so the name of the next is known
//! before it is needed; a frame never crosses a border, and the rest is skipped. `check` is the payload's CRC-32 mixed with
//! boot, position and length: bytes that belong elsewhere do not pass.
//!
//! # How it is fast
//! A segment is reserved with `fallocate` (zeros where there is none) and mapped before it is needed, by a thread of its own.
//! `append` takes the CRC, then under a lock copies the record into the mapping and publishes the new end. No system call,
//! no allocation. Because the space is reserved, a full disk is an error when a segment is made and never a SIGBUS while one
//! is written. File systems that cannot overwrite in place (ZFS) cannot promise that: give the folder a reservation there.
//! A disk that fails under the mapping ends the process with SIGBUS: nothing is answered that was not recorded.
//!
//! | nanoseconds per record (`cargo bench -p tollgate-journal`; 2 cores, load about 1, ext4, Linux 6.18) | 64 bytes | 256 | 4096 |
//! |---|---|---|---|
//! | `append`, page faults included | 45 to 50 | 95 to 115 | 1300 to 1700 |
//! | a `write` call per record, same CRC and lock | 315 to 340 | 430 | 2150 |
//! | `append` with two threads at it | 80 to 95 | | |
//!
//! The pages ahead of the writer are touched by the background: without, one `append` in about 100,000 waited 1 to 40 ms for
//! the file system.
//!
//! The mapping is the one use of `unsafe`, in `segment.rs`. Other Unix systems than Linux work, with segments written out
//! as zeros. A network file system is no place for this: locks and mappings mean less there.
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
