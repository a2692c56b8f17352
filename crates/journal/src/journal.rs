//! The writer: a copy under a short lock. The threads in `background` do everything slow.
use std::{
    mem,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use tokio::sync::watch;

use crate::{
    BootId, Durability, Error, Options, Position, background,
    folder::Folder,
    record::{self, Salt},
    segment::{Layout, Segment},
    shared::{Next, Shared, Synced, Unsynced, Writer, locked},
    stream::Stream,
};

/// The stream of this process, open for appending. Share it by reference or `Arc`; dropping it closes it.
pub struct Journal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Makes `dir/<boot>/` with its first segment and takes the stream's lock. Creates `dir` if it is missing.
    /// [`Error::Taken`] if this boot id was used on this disk before.
    pub fn open(dir: &Path, boot: BootId, options: Options) -> Result<Journal, Error> {
        let options = options.checked()?;
        let folder = Folder::create(dir, boot)?;
        let layout = Layout::of(&options);
        let first = Segment::create(&folder, layout, 0).map_err(Error::at(&folder.path))?;
        if options.sync != Durability::None {
            first.file().sync_all().and_then(|()| folder.sync()).map_err(Error::at(&folder.path))?;
        }
        let shared = Arc::new(Shared {
            folder: Arc::new(folder),
            layout,
            sync: options.sync,
            salt: Salt::of(boot),
            unsynced: Mutex::new(if options.sync == Durability::None {
                Vec::new()
            } else {
                vec![Unsynced::current(&first)]
            }),
            writer: Mutex::new(Writer {
                current: Some(first),
                next: Next::Wanted,
                retired: Vec::new(),
                sync_failed: false,
            }),
            changed: Condvar::new(),
            committed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            wanted: Mutex::default(),
            sync_wanted: Condvar::new(),
            synced: watch::Sender::new(Synced { position: 0, count: 0, failed: false }),
        });
        let journal = Journal { shared: shared.clone(), threads: Mutex::default() };
        journal.start("journal-next", background::prepare)?;
        if options.sync != Durability::None {
            journal.start("journal-sync", background::sync)?;
        }
        Ok(journal)
    }

    fn start(&self, name: &str, run: fn(&Shared)) -> Result<(), Error> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&shared))
            .map_err(Error::at(&self.shared.folder.path))?;
        locked(&self.threads).push(thread);
        Ok(())
    }

    /// Records it and returns the position after it. On return the kernel has the bytes: killing the process does not
    /// lose them. Concurrent calls get one order. An error means that nothing was recorded.
    ///
    /// Does not allocate, and enters the kernel only in two cases: it wakes the background every 4 MiB, and it waits
    /// for a new segment that is not ready yet (milliseconds; at the default size the background is ahead).
    pub fn append(&self, record: &[u8]) -> Result<Position, Error> {
        let max = self.shared.layout.max_record;
        let len = match u32::try_from(record.len()) {
            Ok(len) if (1..=max).contains(&len) => len,
            _ => return Err(Error::Size { len: record.len(), max: max as usize }),
        };
        let crc = record::crc(record);
        let mut writer = self.shared.writer();
        loop {
            if writer.sync_failed {
                return Err(Error::SyncFailed);
            }
            let Some(current) = &mut writer.current else { return Err(Error::Closed) };
            if let Some(end) = current.put(self.shared.salt, record, len, crc) {
                self.shared.committed.store(end, Ordering::Release);
                if current.turns_cold() {
                    // After the lock: on a busy core the woken thread may run first.
                    drop(writer);
                    self.shared.changed.notify_all();
                }
                return Ok(Position(end));
            }
            writer = self.shared.next_segment(writer)?;
        }
    }

    /// Waits until `position` survives a power loss. With [`Durability::Group`] it waits for the sync that covers it,
    /// shared by all waiters; otherwise it returns at once. Cancelling the wait is harmless.
    pub async fn durable(&self, position: Position) -> Result<(), Error> {
        if self.shared.sync != Durability::Group {
            return Ok(());
        }
        // No sync ever covers what was not appended, so a position of another stream would otherwise wait for ever.
        let position = position.0.min(self.shared.committed());
        let mut synced = self.shared.synced.subscribe();
        if synced.borrow().position < position {
            self.shared.want_sync(position);
        }
        let reached = synced.wait_for(|s| s.failed || s.position >= position).await;
        match reached {
            Ok(s) if s.position >= position => Ok(()),
            _ => Err(Error::SyncFailed),
        }
    }

    /// Syncs done so far, for a metric: appends per sync show how well they are shared.
    pub fn syncs(&self) -> u64 {
        self.shared.synced.borrow().count
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The position after the last record.
    pub fn end(&self) -> Position {
        Position(self.shared.committed())
    }

    /// A reader of this stream. It sees a record as soon as `append` has returned. There may be any number of readers.
    pub fn stream(&self) -> Stream {
        Stream::live(self.shared.clone())
    }

    /// Ends the stream: refuses later appends, returns the unused reserved space to the disk and, unless
    /// [`Durability::None`], syncs all of it. Its readers stay valid, and may now [`remove`](Stream::remove) it. Blocks
    /// as long as a sync takes. Closing twice is harmless.
    pub fn close(&self) -> Result<(), Error> {
        let mut writer = self.shared.writer();
        let last = writer.current.take();
        self.shared.changed.notify_all();
        drop(writer);
        let trimmed = last.map_or(Ok(()), |mut last| {
            last.end(self.shared.salt);
            last.trim()
        });
        self.shared.stop_sync();
        for thread in mem::take(&mut *locked(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!(boot = %self.shared.folder.boot, "a journal thread panicked");
            }
        }
        self.shared.closed.store(true, Ordering::Release);
        trimmed.map_err(Error::at(&self.shared.folder.path))?;
        if self.shared.synced.borrow().failed { Err(Error::SyncFailed) } else { Ok(()) }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(boot = %self.shared.folder.boot, %error, "cannot close the journal");
        }
    }
}
