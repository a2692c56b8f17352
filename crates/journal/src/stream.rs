//! The reader: records in order, from this process's stream or from that of a process that died.
use std::{fs, io, path::Path, sync::Arc, time::SystemTime};

use crate::{
    BootId, Error, Position,
    dead_stream::{self, DeadStream},
    folder::Folder,
    reader::{Frame, Rest, SegmentReader},
    record::ALIGN,
    segment::Layout,
    shared::Shared,
};

/// One boot's records. Holds the stream's lock, so no other process can read it to ship it. All
/// calls block on the file system.
pub struct Stream {
    folder: Arc<Folder>,
    source: Source,
    /// The segment that was read last.
    open: Option<SegmentReader>,
}

enum Source {
    Live(Arc<Shared>),
    Dead(DeadStream),
}

/// Takes over the streams below `dir` that no live process holds; none if `dir` does not exist. Two processes never get
/// the same one. A stream that cannot be opened is logged, stays on disk and is not returned.
pub fn abandoned(dir: &Path) -> Result<Vec<Stream>, Error> {
    let mut streams = Vec::new();
    for folder in Folder::abandoned(dir)? {
        let boot = folder.boot;
        match Stream::dead(folder) {
            Ok(stream) => streams.push(stream),
            Err(error) => tracing::error!(%boot, %error, "cannot open an abandoned journal stream; it stays"),
        }
    }
    Ok(streams)
}

impl Stream {
    pub(crate) fn live(shared: Arc<Shared>) -> Stream {
        Stream { folder: shared.folder.clone(), source: Source::Live(shared), open: None }
    }

    fn dead(folder: Folder) -> Result<Stream, Error> {
        let found = DeadStream::read(&folder)?;
        if found.torn > 0 {
            tracing::warn!(boot = %folder.boot, position = found.end, bytes = found.torn, "dropped torn journal tail");
        }
        Ok(Stream { folder: Arc::new(folder), source: Source::Dead(found), open: None })
    }

    /// The boot that wrote these records.
    pub fn boot(&self) -> BootId {
        self.folder.boot
    }

    /// The position after the last record that can be read now.
    pub fn end(&self) -> Position {
        Position(match &self.source {
            Source::Live(shared) => shared.committed(),
            Source::Dead(found) => found.end,
        })
    }

    /// Whether the process closed the stream before it ended, so that nothing can be added any more.
    pub fn sealed(&self) -> bool {
        match &self.source {
            Source::Live(shared) => shared.is_closed(),
            Source::Dead(found) => found.sealed,
        }
    }

    /// Bytes dropped after the last whole record. After the death of a process they are of a record that was being
    /// written, so that nothing was answered for it; after a power loss without sync they may be of more.
    pub fn torn_bytes(&self) -> u64 {
        match &self.source {
            Source::Live(_) => 0,
            Source::Dead(found) => found.torn,
        }
    }

    /// Bytes from `from` to the end, including framing and skipped space: how far a reader at `from` is behind.
    pub fn unread(&self, from: Position) -> u64 {
        self.end().0.saturating_sub(from.0)
    }

    /// Calls back with the records from `from` on, each with the position after it, until about `max_bytes` were read
    /// or the end is reached. Returns the position after the last one: the next `from`, and the cursor to store. At or
    /// past the end it returns `from`. Memory: one buffer of 256 KiB, kept.
    ///
    /// [`Error::Corrupt`] comes only from a call that read no record: the call before it
    /// returned what precedes the bad bytes.
    pub fn read(
        &mut self,
        from: Position,
        max_bytes: u64,
        mut each: impl FnMut(Position, &[u8]),
    ) -> Result<Position, Error> {
        let (end, stop) = (self.end().0, from.0.saturating_add(max_bytes.max(1)));
        let (mut at, mut done) = (from.0, from.0);
        while at < end && at < stop {
            let Some(segment) = self.segment(at)? else {
                return if done > from.0 { Ok(Position(done)) } else { Err(self.missing(at, end)?) };
            };
            let base = segment.base;
            match segment.frame(at, end) {
                Ok(Frame::Record { payload, after }) => {
                    (at, done) = (after, after);
                    each(Position(after), payload);
                }
                Ok(Frame::End) => at = segment.limit(),
                Ok(Frame::Invalid) if done > from.0 => break,
                Ok(Frame::Invalid) => return Err(self.corrupt(at, end)?),
                Err(e) => return Err(Error::at(&self.folder.segment(base))(e)),
            }
        }
        Ok(Position(done))
    }

    /// Deletes the segments that end before `up_to` and were last written before `modified_before` (pass the
    /// present to keep none longer than needed; a file's time may be half a minute early). Returns how many segments
    /// are left: 0 once all of an ended stream is confirmed. Never deletes a record from `up_to` on.
    pub fn confirmed(&mut self, up_to: Position, modified_before: SystemTime) -> Result<usize, Error> {
        let over = match &self.source {
            Source::Live(shared) => shared.is_closed(),
            Source::Dead(_) => true,
        };
        let all = over && up_to >= self.end();
        let bases = self.folder.segments()?;
        let mut left = bases.len();
        for base in bases {
            let before = self.layout().is_some_and(|layout| base + layout.capacity <= up_to.0);
            if (all || before) && delete(&self.folder.segment(base), modified_before)? {
                left -= 1;
            }
        }
        Ok(left)
    }

    /// Deletes the stream with everything in it, confirmed or not. [`Error::Live`] while its journal is open.
    pub fn remove(self) -> Result<(), Error> {
        match &self.source {
            Source::Live(shared) if !shared.is_closed() => Err(Error::Live(self.folder.boot)),
            _ => self.folder.remove(),
        }
    }

    fn layout(&self) -> Option<Layout> {
        match &self.source {
            Source::Live(shared) => Some(shared.layout),
            Source::Dead(found) => found.layout,
        }
    }

    /// The segment that holds `at`; None when no readable segment does.
    fn segment(&mut self, at: u64) -> Result<Option<&mut SegmentReader>, Error> {
        let Some(layout) = self.layout() else { return Ok(None) };
        let base = at - at % layout.capacity;
        if self.open.as_ref().is_none_or(|open| open.base != base) {
            self.open = dead_stream::open(&self.folder, base, layout)?;
        }
        Ok(self.open.as_mut())
    }

    /// Why there is no segment to read at `at`.
    fn missing(&self, at: u64, end: u64) -> Result<Error, Error> {
        let bases = self.folder.segments()?;
        Ok(match bases.first() {
            Some(&first) if at < first => Error::Gone { wanted: Position(at), first: Position(first) },
            _ => self.skip_to_next(at, end, &bases),
        })
    }

    /// Where to go on after an invalid frame at `at`.
    fn corrupt(&mut self, at: u64, end: u64) -> Result<Error, Error> {
        let base = at - self.layout().map_or(0, |layout| at % layout.capacity);
        let path = self.folder.segment(base);
        if let Some(segment) = self.segment(at)?
            && let Rest::Frame(next) = segment.resume(at.next_multiple_of(ALIGN), end).map_err(Error::at(&path))?
        {
            return Ok(Error::Corrupt { at: Position(at), resume_at: Position(next) });
        }
        Ok(self.skip_to_next(at, end, &self.folder.segments()?))
    }

    fn skip_to_next(&self, at: u64, end: u64, bases: &[u64]) -> Error {
        let next = bases.iter().copied().find(|base| *base > at).map_or(end, |base| base.min(end));
        Error::Corrupt { at: Position(at), resume_at: Position(next) }
    }
}

/// Returns whether the file is gone; another reader of the same stream may have deleted it first.
fn delete(path: &Path, modified_before: SystemTime) -> Result<bool, Error> {
    let young = |path: &Path| Ok(fs::metadata(path)?.modified()? >= modified_before);
    match young(path).and_then(|young| if young { Ok(false) } else { fs::remove_file(path).map(|()| true) }) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        other => other.map_err(Error::at(path)),
    }
}
