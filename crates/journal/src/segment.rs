//! One segment file: made whole before it has its name, written through a mapping, never grown.
use crate::folder::Folder;
use crate::record::{self, Salt};
use crate::{BootId, Options};
use memmap2::{MmapMut, MmapOptions};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"journal1";
/// Bytes before the first frame: magic 8, boot 16, base u64, capacity u64, max_record u32, CRC-32 of these u32, zeros.
pub(crate) const HEADER: u64 = 64;

/// What every segment of a stream has in common, and what its frames need to be read.
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

    /// None when the file's header is not the one that belongs at `base` of this boot's stream.
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
        // Written again from what was read: equal means that magic, boot, base and CRC are right, too.
        Ok((layout.header(boot, base) == header).then_some(layout))
    }
}

/// Zeros where the header is too short, which it is not.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// A segment that can be written.
pub(crate) struct Segment {
    map: MmapMut,
    file: Arc<File>,
    base: u64,
    /// Bytes of frames so far.
    used: u64,
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
        let map = map(&file, HEADER + layout.capacity)?;
        fs::rename(unfinished, folder.segment(base))?;
        Ok(Segment { map, file: Arc::new(file), base, used: 0, layout })
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn next_base(&self) -> u64 {
        self.base + self.layout.capacity
    }

    pub(crate) fn fits(&self, len: u32) -> bool {
        self.used + record::framed(u64::from(len)) <= self.layout.capacity
    }

    /// Copies the record in and returns the position after it; None, and nothing written, if it does not fit.
    /// The head goes last: whoever dies half-way leaves a zero length, or a frame that does not check.
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

    /// Marks that nothing follows in this segment. A segment that is full to the brim needs no mark.
    pub(crate) fn end(&mut self, salt: Salt) {
        self.write(self.used, &salt.end_head(self.base + self.used));
    }

    /// Unmaps the file and cuts off what was reserved and not used.
    pub(crate) fn trim(self) -> io::Result<()> {
        let Segment { map, file, used, layout, .. } = self;
        drop(map);
        file.set_len(HEADER + (used + record::HEAD).min(layout.capacity))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Option<()> {
        let start = (HEADER + at) as usize;
        self.map.get_mut(start..start + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }
}

#[expect(
    unsafe_code,
    reason = "a write call per record costs several times the copy: benches/append.rs has the figures"
)]
fn map(file: &File, len: u64) -> io::Result<MmapMut> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: a mapping is unsound if the file changes or shrinks under it. This file was created by us in a folder that
    // we hold the lock of, nobody else writes below it, and `trim` unmaps before it shortens. Readers use pread, so no
    // other reference to these bytes exists in the process. The space is reserved: a store cannot hit a hole.
    unsafe { MmapOptions::new().len(len).map_mut(file) }
}

/// Makes the file `len` bytes of zeros whose blocks are really there, so that a full disk is an error here
/// and not a SIGBUS in the middle of a copy.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        loop {
            match fallocate(file, FallocateFlags::empty(), 0, len) {
                Err(Errno::INTR) => {}
                // Not every file system has it.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                other => return other.map_err(Into::into),
            }
        }
    }
    write_zeros(file, len)
}

/// The portable way to reserve: slower, and the same promise on file systems that overwrite in place.
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
}
