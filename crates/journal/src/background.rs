//! The two threads that keep slow calls away from `append`: one has the next segment ready, one syncs.
use crate::Durability;
use crate::journal::{Next, Shared, Writer, locked};
use crate::segment::Segment;
use std::fs;
use std::io;
use std::mem;
use std::sync::PoisonError;
use std::time::Duration;

/// Between attempts to make a segment while the disk is full: often enough that nobody notices the end of it.
const RETRY: Duration = Duration::from_millis(100);

/// What the sync thread was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    position: u64,
    stop: bool,
}

/// Keeps `next` filled and unmaps full segments, until the journal closes.
pub(crate) fn prepare(shared: &Shared) {
    let mut writer = shared.writer();
    let mut failing = false;
    while let Some(base) = writer.current.as_ref().map(Segment::next_base) {
        let retired = mem::take(&mut writer.retired);
        let wanted = !matches!(writer.next, Next::Ready(_));
        if retired.is_empty() && !wanted {
            writer = shared.changed.wait(writer).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(writer);
        drop(retired);
        let made = wanted.then(|| make(shared, base));
        writer = shared.writer();
        match made {
            None => {}
            Some(Ok(segment)) => {
                if mem::take(&mut failing) {
                    tracing::info!(boot = %shared.folder.boot, "journal segments can be made again");
                }
                writer.next = Next::Ready(segment);
                shared.changed.notify_all();
            }
            Some(Err(error)) => {
                if !mem::replace(&mut failing, true) {
                    tracing::error!(boot = %shared.folder.boot, %error, "no next journal segment, trying again");
                }
                writer.next = Next::Failed(error.kind());
                shared.changed.notify_all();
                let open = |writer: &mut Writer| writer.current.is_some();
                writer =
                    shared.changed.wait_timeout_while(writer, RETRY, open).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
    discard(shared, mem::replace(&mut writer.next, Next::Wanted));
}

/// With the disk's word for it unless nobody asked: a synced record is worth nothing in a file without a name.
fn make(shared: &Shared, base: u64) -> io::Result<Segment> {
    let segment = Segment::create(&shared.folder, shared.layout, base)?;
    if shared.sync != Durability::None {
        segment.file().sync_all()?;
        shared.folder.sync()?;
    }
    Ok(segment)
}

/// The segment that nothing was written to. If it stays on disk, readers find it empty.
fn discard(shared: &Shared, next: Next) {
    if let Next::Ready(segment) = next
        && let Err(error) = fs::remove_file(shared.folder.segment(segment.base()))
    {
        tracing::warn!(boot = %shared.folder.boot, %error, "an unused journal segment stays");
    }
}

/// Syncs when asked (`Group`) or when it is time (`Interval`), and once more at the end.
pub(crate) fn sync(shared: &Shared) {
    let mut stop = false;
    while !stop {
        let done = shared.synced.borrow().position;
        let wanted = locked(&shared.wanted);
        let wanted = match shared.sync {
            Durability::Interval(every) => {
                shared.sync_wanted.wait_timeout_while(wanted, every, |w| !w.stop).map(|(guard, _)| guard).ok()
            }
            _ => shared.sync_wanted.wait_while(wanted, |w| !w.stop && w.position <= done).ok(),
        };
        stop = wanted.is_none_or(|w| w.stop);
        let end = shared.committed();
        if end == done {
            continue;
        }
        match sync_files(shared) {
            Ok(()) => shared.synced.send_modify(|s| s.position = end),
            Err(error) => {
                tracing::error!(boot = %shared.folder.boot, %error, "a sync of the journal failed");
                if shared.sync == Durability::Group {
                    return shared.fail_sync();
                }
                if stop {
                    shared.synced.send_modify(|s| s.failed = true);
                }
            }
        }
    }
}

/// Covers every record committed before the call: their files were listed before they were written.
fn sync_files(shared: &Shared) -> io::Result<()> {
    let files = locked(&shared.unsynced).clone();
    for file in &files {
        file.sync_data()?;
    }
    locked(&shared.unsynced).drain(..files.len().saturating_sub(1));
    Ok(())
}

impl Shared {
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
