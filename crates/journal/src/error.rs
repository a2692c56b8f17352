//! The errors of this crate, divided by what a caller must do.
use crate::{BootId, Position};
use std::io;
use std::path::{Path, PathBuf};

/// No more files can be opened in the whole system, or in this process (`EMFILE`). The
/// numbers are the same on every Unix.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Every failure of this crate. Nothing here panics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room for the next segment. Nothing was recorded, so the caller must not answer. The journal
    /// tries again every 100 ms; `append` works again as soon as there is room.
    #[error("no space for the next journal segment")]
    Full,
    /// The process, or the machine, has as many files open as it may, so the next segment has no
    /// descriptor. Heals like [`Error::Full`].
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
    /// Final for this journal, because a later successful sync proves nothing about those pages.
    #[error("a sync of the journal failed, what it covered may not survive a power loss")]
    SyncFailed,
    /// A live process holds the stream, or its boot id was used before.
    #[error("the stream of boot {0} is taken")]
    Taken(BootId),
    /// `remove` of a stream whose journal is still open.
    #[error("the stream of boot {0} is still being written")]
    Live(BootId),
    /// The records from `wanted` on were confirmed and deleted before.
    #[error("position {wanted} was deleted, the stream begins at {first}")]
    Gone {
        /// Where the caller wanted to read.
        wanted: Position,
        /// The first position still on disk.
        first: Position,
    },
    /// Bytes between whole records fail their check. This is no torn tail, because something after them passes. Reading
    /// on at `resume_at` skips `resume_at - at` bytes.
    #[error("the journal is corrupt from {at} to {resume_at}")]
    Corrupt {
        /// Where the first bad record begins.
        at: Position,
        /// Where the next good record begins, or the stream's end.
        resume_at: Position,
    },
    /// An option outside its bounds.
    #[error("journal option out of range: {0}")]
    Options(&'static str),
    /// The file system refused the operation.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

impl Error {
    /// For `map_err`: adds the path, which `io::Error` does not carry.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |cause| Error::Io { path: path.to_owned(), cause }
    }

    /// The error of `append` while no next segment can be made.
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
