//! What can go wrong, as the caller has to tell it apart.
use crate::{BootId, Position};
use std::io;
use std::path::{Path, PathBuf};

/// As many files are open in the whole system, or in this process, as may be: the same numbers on every Unix.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Every failure of this crate. Nothing here panics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room for the next segment. Nothing was recorded, so nothing may be answered.
    /// The journal keeps trying by itself, every 100 ms; `append` works again as soon as there is room.
    #[error("no space for the next journal segment")]
    Full,
    /// The process, or the machine, has as many files open as it may: none is left for the next segment. Heals like
    /// [`Error::Full`].
    #[error("no file descriptor is left for the next journal segment")]
    OutOfFiles,
    /// The next segment could not be made for another reason. Heals like [`Error::Full`].
    #[error("the next journal segment cannot be created: {0}")]
    NoSegment(io::ErrorKind),
    /// The record is empty or longer than [`Options::max_record`](crate::Options::max_record).
    #[error("a record of {len} bytes: 1 to {max} are allowed")]
    Size {
        /// The record's length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// `append` after `close`.
    #[error("the journal is closed")]
    Closed,
    /// With [`Durability::Group`](crate::Durability::Group): a sync failed, and the kernel may have dropped the pages.
    /// Final for this journal: a later successful sync would prove nothing about them.
    #[error("a sync of the journal failed, what it covered may not survive a power loss")]
    SyncFailed,
    /// The stream is held by a live process, or its boot id was used before.
    #[error("the stream of boot {0} is taken")]
    Taken(BootId),
    /// `remove` of a stream whose journal is still open.
    #[error("the stream of boot {0} is still being written")]
    Live(BootId),
    /// The records from `wanted` on were confirmed and deleted earlier.
    #[error("position {wanted} was deleted, the stream begins at {first}")]
    Gone {
        /// Where the caller wanted to read.
        wanted: Position,
        /// The first position still on disk.
        first: Position,
    },
    /// Bytes between whole records do not check. Not a torn tail: something after them does.
    /// Reading on at `resume_at` skips `resume_at - at` bytes.
    #[error("the journal is corrupt from {at} to {resume_at}")]
    Corrupt {
        /// Where the first bad record begins.
        at: Position,
        /// Where the next good one begins, or the stream's end.
        resume_at: Position,
    },
    /// An option that cannot work.
    #[error("journal option out of range: {0}")]
    Options(&'static str),
    /// The file system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl Error {
    /// For `map_err`: adds the path that `io::Error` does not carry.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |cause| Error::Io { path: path.to_owned(), cause }
    }

    /// What `append` answers while no next segment can be had.
    pub(crate) fn no_segment(cause: NoSegment) -> Error {
        match cause {
            NoSegment::Full => Error::Full,
            NoSegment::OutOfFiles => Error::OutOfFiles,
            NoSegment::Other(kind) => Error::NoSegment(kind),
        }
    }
}

/// Why the last attempt to make a segment failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoSegment {
    Full,
    OutOfFiles,
    Other(io::ErrorKind),
}

impl From<&io::Error> for NoSegment {
    fn from(error: &io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(ENFILE | EMFILE), _) => NoSegment::OutOfFiles,
            (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge) => {
                NoSegment::Full
            }
            (_, other) => NoSegment::Other(other),
        }
    }
}
