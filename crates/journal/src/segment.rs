//! One segment file: complete before it gets its name, written through a mapping, never grown.
use crate::folder::Folder;
use crate::record::{self, Salt};
use crate::{BootId, Options};
use memmap2::{MmapOptions, MmapRaw};
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"journal1";
/// Bytes before the first frame: magic 8, boot 16, base u64, capacity u64, max_record u32, CRC-32 of these u32, zeros.
pub(crate) const HEADER: u64 = 64;
/// The background touches the pages this far ahead of the writer, as many at a time. The first touch of a page may wait
/// for the file system's own journal, on ext4 some 20 ms several times a minute. At 100 MB/s this is 40 ms ahead,
/// usually seconds; touching takes about a millisecond. A smaller value would wake the background more often, and each
/// time take its core from another thread.
const AHEAD: u64 = 4 << 20;
/// Touched when a segment is made: enough until the background has touched more, and little for
/// a process that writes nothing.
const FIRST_TOUCH: u64 = 1 << 20;

/// What all segments of a stream have in common and a reader of frames needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes for frames in a segment: segment n covers positions from n times this.
    pub(crate) capacity: u64,
    pub(crate) max_record: u32,
}

impl Layout {
    pub(crate) fn of(options: &Options) -> Layout {
        Layout { capacity: options.segment_bytes - HEADER, max_record: options.max_record }
    }

    fn header(self, boot: BootId, base: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(boot.as_bytes());
        header.extend_from_slice(&base.to_le_bytes());
        header.extend_from_slice(&self.capacity.to_le_bytes());
        header.extend_from_slice(&self.max_record.to_le_bytes());
        header.extend_from_slice(&record::crc(&header).to_le_bytes());
        header.resize(HEADER as usize, 0);
        header
    }

    /// None when the file's header does not belong at `base` of this boot's stream.
    pub(crate) fn read(file: &File, boot: BootId, base: u64) -> io::Result<Option<Layout>> {
        let mut header = [0; HEADER as usize];
        match file.read_exact_at(&mut header, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let layout = Layout {
            capacity: u64::from_le_bytes(field(&header, 32)),
            max_record: u32::from_le_bytes(field(&header, 40)),
        };
        // Comparing with a header made from these values also checks magic, boot, base and CRC.
        Ok((layout.header(boot, base) == header).then_some(layout))
    }
}

/// Zeros if the header were too short; its length makes that impossible.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// A segment that can be written.
pub(crate) struct Segment {
    map: Arc<MmapRaw>,
    file: Arc<File>,
    base: u64,
    /// Bytes of frames written.
    used: u64,
    /// Bytes for frames whose pages are touched.
    warm: u64,
    /// More pages need touching, and the background knows.
    cold: bool,
    layout: Layout,
}

impl Segment {
    /// Reserves the space, writes the header and gives the file its name. `base` is a multiple of the capacity.
    /// An error leaves nothing behind.
    pub(crate) fn create(folder: &Folder, layout: Layout, base: u64) -> io::Result<Segment> {
        let unfinished = folder.unfinished();
        let made = Segment::make(folder, layout, base, &unfinished);
        if made.is_err() {
            // The first error is the one to report; a file that stays is replaced by the next attempt.
            let _ = fs::remove_file(&unfinished);
        }
        made
    }

    fn make(folder: &Folder, layout: Layout, base: u64, unfinished: &Path) -> io::Result<Segment> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(unfinished)?;
        reserve(&file, HEADER + layout.capacity)?;
        file.write_all_at(&layout.header(folder.boot, base), 0)?;
        let len = usize::try_from(HEADER + layout.capacity).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        fs::rename(unfinished, folder.segment(base))?;
        let warm = FIRST_TOUCH.min(layout.capacity);
        let segment = Segment { map: Arc::new(map), file: Arc::new(file), base, used: 0, warm, cold: false, layout };
        segment.pages(0, warm).touch();
        Ok(segment)
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// A handle to sync the part written so far.
    pub(crate) fn written(&self) -> Written {
        Written { map: self.map.clone(), base: self.base, capacity: self.layout.capacity }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn next_base(&self) -> u64 {
        self.base + self.layout.capacity
    }

    /// Whether there is room for the record and for the mark that ends the segment.
    fn fits(&self, len: u32) -> bool {
        self.used + record::framed(u64::from(len)) + record::HEAD <= self.layout.capacity
    }

    /// Whether the writer came close to untouched pages. True once, until `take_cold` takes them.
    pub(crate) fn turns_cold(&mut self) -> bool {
        let turns = !self.cold && self.warm < self.layout.capacity && self.used + AHEAD > self.warm;
        self.cold |= turns;
        turns
    }

    /// The pages to touch next, if any.
    pub(crate) fn take_cold(&mut self) -> Option<Pages> {
        mem::take(&mut self.cold).then(|| {
            let from = self.warm.max(self.used);
            self.warm = (from + AHEAD).min(self.layout.capacity);
            self.pages(from, self.warm)
        })
    }

    fn pages(&self, from: u64, to: u64) -> Pages {
        Pages { map: self.map.clone(), from: HEADER + from, to: HEADER + to }
    }

    /// Copies the record in and returns the position after it. None, with nothing written, if it does not fit. The head
    /// is written last: a writer that dies half-way leaves a zero length, or a frame that fails its check.
    pub(crate) fn put(&mut self, salt: Salt, payload: &[u8], len: u32, crc: u32) -> Option<u64> {
        if !self.fits(len) {
            return None;
        }
        let head = salt.head(self.base + self.used, len, crc);
        self.write(self.used + record::HEAD, payload)?;
        self.write(self.used, &head)?;
        self.used += record::framed(u64::from(len));
        Some(self.base + self.used)
    }

    /// Marks that nothing follows in this segment.
    pub(crate) fn end(&mut self, salt: Salt) {
        self.write(self.used, &salt.end_head(self.base + self.used));
    }

    /// Cuts off unused reserved space. Afterwards, touching the pages that are gone returns
    /// an error and raises no signal.
    pub(crate) fn trim(self) -> io::Result<()> {
        let Segment { file, used, .. } = self;
        file.set_len(HEADER + used + record::HEAD)
    }

    /// None, with nothing written, when the segment has no room.
    #[expect(unsafe_code, reason = "a write call per record costs several times the copy: see benches/append.rs")]
    fn write(&mut self, at: u64, bytes: &[u8]) -> Option<()> {
        let start = usize::try_from(HEADER + at).ok()?;
        if start.checked_add(bytes.len())? > self.map.len() {
            return None;
        }
        // SAFETY: the bytes lie in the mapping, as the comparison above shows, and the mapping lives as long as
        // `self.map`. Nothing else in the process writes or refers to them: `&mut self` is the only writer, `Pages`
        // changes no byte, and readers use pread. The file has these blocks and keeps them: only `trim` shortens it,
        // which consumes `self`, and other processes leave a folder alone whose lock we hold.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(start), bytes.len()) };
        Some(())
    }
}

/// The part of a segment that was written.
#[derive(Clone)]
pub(crate) struct Written {
    map: Arc<MmapRaw>,
    base: u64,
    capacity: u64,
}

impl Written {
    /// Syncs the bytes of these positions that lie in this segment. It does not write out the pages ahead of them,
    /// because the writer would then wait for the file system when it reaches them.
    pub(crate) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let within = |position: u64| position.clamp(self.base, self.base + self.capacity) - self.base;
        let (from, to) = (within(from), within(to));
        let offset = |at: u64| usize::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        self.map.flush_range(offset(HEADER + from)?, offset(to - from)?)
    }
}

/// Pages that will be written soon.
pub(crate) struct Pages {
    map: Arc<MmapRaw>,
    from: u64,
    to: u64,
}

impl Pages {
    /// Makes the pages present and writable. Where the kernel cannot (Linux before 5.14),
    /// the writer touches them first.
    pub(crate) fn touch(self) {
        #[cfg(target_os = "linux")]
        if let Err(error) =
            self.map.advise_range(memmap2::Advice::PopulateWrite, self.from as usize, (self.to - self.from) as usize)
        {
            tracing::debug!(%error, "cannot touch journal pages ahead; the writer touches them");
        }
    }
}

/// Makes the file `len` bytes of zeros with blocks on the disk, so that a full disk is an error here and not a
/// SIGBUS in the middle of a copy.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        loop {
            match fallocate(file, FallocateFlags::empty(), 0, len) {
                Err(Errno::INTR) => {}
                // Some file systems do not support it.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                other => return other.map_err(Into::into),
            }
        }
    }
    write_zeros(file, len)
}

/// The portable way to reserve: slower, with the same promise on file systems that overwrite in place.
fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    const CHUNK: u64 = 64 << 10;
    let zeros = [0; CHUNK as usize];
    let mut at = 0;
    while at < len {
        let part = zeros.get(..(len - at).min(CHUNK) as usize).unwrap_or(&zeros);
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_reserve_what_was_asked_for() {
        let file = tempfile::tempfile().unwrap();
        write_zeros(&file, (64 << 10) + 100).unwrap();
        assert_eq!(file.metadata().unwrap().len(), (64 << 10) + 100);
    }

    #[test]
    fn a_header_is_read_back_for_its_own_place_only() {
        let (boot, layout) = (BootId::from_bytes([3; 16]), Layout { capacity: 4096 - HEADER, max_record: 100 });
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Layout::read(&file, boot, 0).unwrap(), None);
        file.write_all_at(&layout.header(boot, 8), 0).unwrap();
        assert_eq!(Layout::read(&file, boot, 8).unwrap(), Some(layout));
        assert_eq!(Layout::read(&file, boot, 0).unwrap(), None);
        assert_eq!(Layout::read(&file, BootId::from_bytes([4; 16]), 8).unwrap(), None);
    }

    #[test]
    fn the_writer_never_meets_a_page_that_was_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let boot = BootId::from_bytes([3; 16]);
        let folder = Folder::create(dir.path(), boot).unwrap();
        let layout = Layout { capacity: 3 * AHEAD + 8192 - HEADER, max_record: 4096 };
        let mut segment = Segment::create(&folder, layout, 0).unwrap();
        let record = [7; 4096];
        while segment.put(Salt::of(boot), &record, 4096, record::crc(&record)).is_some() {
            assert!(segment.used <= segment.warm);
            if segment.turns_cold() {
                assert!(!segment.turns_cold(), "the background is told once");
                let pages = segment.take_cold().unwrap();
                assert_eq!(pages.to, HEADER + segment.warm);
                pages.touch();
            }
            assert!(segment.take_cold().is_none());
        }
        assert_eq!(segment.warm, layout.capacity);
    }
}
