//! The state that the journal, its threads and its readers share.
use std::{
    fs::File,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::{
    Durability, Error,
    error::NoSegment,
    folder::Folder,
    record::Salt,
    segment::{Layout, Segment, Written},
};

/// The state of one open journal, shared by its handle, its two threads and its readers.
pub(crate) struct Shared {
    pub(crate) folder: Arc<Folder>,
    pub(crate) layout: Layout,
    pub(crate) sync: Durability,
    pub(crate) salt: Salt,
    pub(crate) writer: Mutex<Writer>,
    /// Belongs to `writer`: `next` changed, a segment waits to be unmapped, or pages to be touched.
    pub(crate) changed: Condvar,
    /// Every byte before this is a whole record. Stored (Release) after the copy, loaded (Acquire) before a read.
    pub(crate) committed: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// Segments that may hold records that no sync has covered yet, oldest first, the current one last.
    pub(crate) unsynced: Mutex<Vec<Unsynced>>,
    pub(crate) wanted: Mutex<Wanted>,
    pub(crate) sync_wanted: Condvar,
    pub(crate) synced: watch::Sender<Synced>,
}

/// How far the disk has the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synced {
    pub(crate) position: u64,
    /// Syncs so far.
    pub(crate) count: u64,
    pub(crate) failed: bool,
}

pub(crate) struct Writer {
    /// None once the journal is closed.
    pub(crate) current: Option<Segment>,
    pub(crate) next: Next,
    /// Full segments that the background must unmap, which takes time in proportion to their size.
    pub(crate) retired: Vec<Segment>,
    pub(crate) sync_failed: bool,
}

/// A segment that may hold records no sync has covered yet.
#[derive(Clone)]
pub(crate) struct Unsynced {
    pub(crate) file: Arc<File>,
    /// None once the segment is full: then a sync covers the whole file.
    pub(crate) written: Option<Written>,
}

impl Unsynced {
    pub(crate) fn current(segment: &Segment) -> Self {
        Self { file: segment.file().clone(), written: Some(segment.written()) }
    }
}

/// The segment after the current one.
pub(crate) enum Next {
    /// The background makes it, or will.
    Wanted,
    Ready(Segment),
    /// The last attempt failed; the background tries again.
    Failed(NoSegment),
}

/// The requests to the sync thread.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) position: u64,
    pub(crate) stop: bool,
}

impl Shared {
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        locked(&self.writer)
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn fail_sync(&self) {
        self.writer().sync_failed = true;
        self.synced.send_modify(|s| s.failed = true);
    }

    /// Called when the current segment has no room: goes on to the next one, and waits while the background makes it.
    #[cold]
    pub(crate) fn next_segment<'a>(
        &'a self,
        mut writer: MutexGuard<'a, Writer>,
    ) -> Result<MutexGuard<'a, Writer>, Error> {
        match mem::replace(&mut writer.next, Next::Wanted) {
            Next::Ready(segment) => {
                // With `None` nothing would remove it from the list, and an open file keeps
                // its space after it is deleted.
                if self.sync != Durability::None {
                    let mut unsynced = locked(&self.unsynced);
                    if let Some(full) = unsynced.last_mut() {
                        full.written = None;
                    }
                    unsynced.push(Unsynced::current(&segment));
                }
                if let Some(mut full) = writer.current.replace(segment) {
                    full.end(self.salt);
                    writer.retired.push(full);
                }
                self.changed.notify_all();
                Ok(writer)
            }
            Next::Failed(cause) => {
                writer.next = Next::Failed(cause);
                Err(Error::no_segment(cause))
            }
            // A waiter wakes to a new `next`, to a current segment with room because another
            // waiter took it, or to the end.
            Next::Wanted => Ok(self.changed.wait(writer).unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub(crate) fn want_sync(&self, position: u64) {
        let mut wanted = locked(&self.wanted);
        wanted.position = wanted.position.max(position);
        self.sync_wanted.notify_one();
    }

    pub(crate) fn stop_sync(&self) {
        locked(&self.wanted).stop = true;
        self.sync_wanted.notify_one();
    }
}

/// A panic under one of our locks leaves no half-made change: each is a few stores without a call that panics.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
