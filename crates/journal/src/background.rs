//! The two threads that keep slow calls out of `append`: one prepares the next segment, one syncs.
use std::{fs, io, mem, sync::PoisonError, time::Duration};

use crate::{
    Durability,
    error::NoSegment,
    segment::Segment,
    shared::{Next, Shared, Wanted, Writer, locked},
};

/// Between attempts to make a segment while the disk is full: short enough that nobody waits
/// noticeably once there is room.
const RETRY: Duration = Duration::from_millis(100);

/// Keeps `next` filled, touches the pages ahead and unmaps full segments, until the journal closes.
pub(crate) fn prepare(shared: &Shared) {
    let mut writer = shared.writer();
    let mut failing = false;
    while let Some((base, cold)) = writer.current.as_mut().map(|current| (current.next_base(), current.take_cold())) {
        let retired = mem::take(&mut writer.retired);
        let wanted = !matches!(writer.next, Next::Ready(_));
        if retired.is_empty() && cold.is_none() && !wanted {
            writer = shared.changed.wait(writer).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(writer);
        drop(retired);
        if let Some(pages) = cold {
            pages.touch();
        }
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
                    tracing::error!(boot = %shared.folder.boot, %error, "cannot make a journal segment; trying again");
                }
                writer.next = Next::Failed(NoSegment::from(&error));
                shared.changed.notify_all();
                let open = |writer: &mut Writer| writer.current.is_some();
                writer =
                    shared.changed.wait_timeout_while(writer, RETRY, open).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
    discard(shared, mem::replace(&mut writer.next, Next::Wanted));
}

/// Syncs the file and its name unless the journal never syncs: a synced record is lost if its file has no name.
fn make(shared: &Shared, base: u64) -> io::Result<Segment> {
    let segment = Segment::create(&shared.folder, shared.layout, base)?;
    if shared.sync != Durability::None {
        segment.file().sync_all()?;
        shared.folder.sync()?;
    }
    Ok(segment)
}

/// Deletes a segment that nothing was written to. If it stays on disk, readers find it empty.
fn discard(shared: &Shared, next: Next) {
    if let Next::Ready(segment) = next
        && let Err(error) = fs::remove_file(shared.folder.segment(segment.base()))
    {
        tracing::warn!(boot = %shared.folder.boot, %error, "cannot delete an unused journal segment; it stays");
    }
}

/// Syncs when asked (`Group`) or when it is time (`Interval`), and once more at the end.
pub(crate) fn sync(shared: &Shared) {
    let mut stop = false;
    while !stop {
        let done = shared.synced.borrow().position;
        let wanted = locked(&shared.wanted);
        stop = match shared.sync {
            Durability::Interval(every) => {
                let idle = |w: &mut Wanted| !w.stop;
                shared
                    .sync_wanted
                    .wait_timeout_while(wanted, every, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
                    .stop
            }
            _ => {
                shared
                    .sync_wanted
                    .wait_while(wanted, |w| !w.stop && w.position <= done)
                    .unwrap_or_else(PoisonError::into_inner)
                    .stop
            }
        };
        let end = shared.committed();
        if end == done {
            continue;
        }
        match sync_files(shared, done, end, stop) {
            Ok(()) => shared.synced.send_modify(|s| {
                s.position = end;
                s.count += 1;
            }),
            Err(error) => {
                tracing::error!(boot = %shared.folder.boot, %error, "cannot sync the journal");
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

/// Covers every record from `done` to `end`, whose files are listed in `unsynced` before they are written to. The
/// `last` sync also covers the length to which the segment was cut.
fn sync_files(shared: &Shared, done: u64, end: u64, last: bool) -> io::Result<()> {
    let segments = locked(&shared.unsynced).clone();
    for segment in &segments {
        match &segment.written {
            Some(written) if !last => written.sync(done, end)?,
            _ => segment.file.sync_data()?,
        }
    }
    locked(&shared.unsynced).drain(..segments.len().saturating_sub(1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::fd::OwnedFd,
        path::Path,
        pin::pin,
        sync::Arc,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{BootId, Error, Journal, Options, shared::Unsynced};

    fn open(dir: &Path, sync: Durability) -> Journal {
        let options = Options { segment_bytes: 8192, max_record: 1000, sync };
        Journal::open(dir, BootId::from_bytes([1; 16]), options).unwrap()
    }

    fn wait<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn group_waits_for_the_sync_that_covers_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Group);
        // No sync can run while this lock is held.
        let held = locked(&journal.shared().unsynced);
        let position = journal.append(b"record").unwrap();
        let mut waiting = pin!(journal.durable(position));
        for _ in 0..100 {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(journal.shared().synced.borrow().position, 0);
        drop(held);
        wait(waiting).unwrap();
        assert_eq!(journal.shared().synced.borrow().position, position.get());
    }

    #[test]
    fn all_who_wait_share_one_sync() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Group);
        let held = locked(&journal.shared().unsynced);
        let first = journal.append(b"first").unwrap();
        let mut leading = pin!(journal.durable(first));
        assert!(leading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let positions: Vec<_> = (0..50).map(|n| journal.append(&[n; 20]).unwrap()).collect();
        drop(held);
        wait(leading).unwrap();
        wait(journal.durable(positions[49])).unwrap();
        for position in positions {
            wait(journal.durable(position)).unwrap();
        }
        // The first sync may have begun before the fifty were appended; one more covers them all.
        assert!((1..=2).contains(&journal.syncs()), "{} syncs", journal.syncs());
    }

    #[test]
    fn group_covers_every_segment_a_record_may_be_in() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Group);
        let last = (0..100).map(|n| journal.append(&[n; 900]).unwrap()).last().unwrap();
        assert!(locked(&journal.shared().unsynced).len() > 5);
        wait(journal.durable(last)).unwrap();
        assert_eq!(locked(&journal.shared().unsynced).len(), 1);
    }

    #[test]
    fn a_failed_sync_is_final_for_group() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Group);
        let before = journal.append(b"before").unwrap();
        wait(journal.durable(before)).unwrap();
        // A pipe cannot be synced. It takes the place of the oldest segment, so that all of them count.
        let (_reader, pipe) = io::pipe().unwrap();
        let pipe = Unsynced { file: Arc::new(File::from(OwnedFd::from(pipe))), written: None };
        locked(&journal.shared().unsynced).insert(0, pipe);
        let position = journal.append(b"record").unwrap();
        assert!(matches!(wait(journal.durable(position)), Err(Error::SyncFailed)));
        assert!(wait(journal.durable(before)).is_ok(), "what was synced stays so");
        assert!(matches!(journal.append(b"after"), Err(Error::SyncFailed)));
        assert!(matches!(journal.close(), Err(Error::SyncFailed)));
    }

    #[test]
    fn an_interval_syncs_by_itself_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Interval(Duration::from_millis(1)));
        let position = journal.append(b"record").unwrap();
        wait(journal.durable(position)).unwrap();
        wait(journal.shared().synced.subscribe().wait_for(|s| s.position == position.get())).unwrap();
        drop(journal);
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path(), Durability::Interval(Duration::from_secs(3600)));
        let position = journal.append(b"record").unwrap();
        journal.close().unwrap();
        assert_eq!(journal.shared().synced.borrow().position, position.get());
    }
}
