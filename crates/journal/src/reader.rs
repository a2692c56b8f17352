//! Frames out of one segment file, through one bounded buffer.
use crate::record::{self, ALIGN, HEAD, Head, Salt};
use crate::segment::{HEADER, Layout};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes per read call: large enough that the call costs little per record, small enough to keep for every open reader.
const BUFFER: usize = 256 << 10;
/// Zeros are skipped in blocks of this, compared as a whole.
const BLOCK: usize = 4096;

/// The bytes at a position.
pub(crate) enum Frame<'a> {
    Record {
        payload: &'a [u8],
        after: u64,
    },
    /// No more frames in this segment.
    End,
    Invalid,
}

/// The bytes after an invalid frame.
pub(crate) enum Rest {
    /// A whole frame begins here.
    Frame(u64),
    /// No whole frame; the last byte that is not zero is in the word before this position.
    Torn(u64),
}

pub(crate) struct SegmentReader {
    file: File,
    pub(crate) base: u64,
    layout: Layout,
    salt: Salt,
    buffer: Vec<u8>,
    /// Position of the buffer's first byte.
    start: u64,
}

impl SegmentReader {
    pub(crate) fn new(file: File, base: u64, layout: Layout, salt: Salt) -> SegmentReader {
        SegmentReader { file, base, layout, salt, buffer: Vec::new(), start: base }
    }

    /// The first position after this segment.
    pub(crate) fn limit(&self) -> u64 {
        self.base + self.layout.capacity
    }

    /// Reads the frame at `at`, and nothing from `end` on, where bytes may be half-written.
    pub(crate) fn frame(&mut self, at: u64, end: u64) -> io::Result<Frame<'_>> {
        let end = end.min(self.limit());
        let Some(head) = self.word(at, end)? else { return Ok(Frame::Invalid) };
        let (len, check) = match self.salt.read_head(at, head, self.layout.max_record) {
            Head::End => return Ok(Frame::End),
            Head::Invalid => return Ok(Frame::Invalid),
            Head::Record { len, check } => (u64::from(len), check),
        };
        let (after, salt) = (at + record::framed(len), self.salt);
        if after > end {
            return Ok(Frame::Invalid);
        }
        let payload = self.bytes(at + HEAD, len as usize, end)?;
        let whole = payload.len() as u64 == len && salt.accepts(at, check, payload);
        Ok(if whole { Frame::Record { payload, after } } else { Frame::Invalid })
    }

    /// Searches for a whole frame from `from` (a multiple of 8), at every place where one can begin.
    pub(crate) fn resume(&mut self, from: u64, end: u64) -> io::Result<Rest> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let end = end.min(self.limit());
        let (mut at, mut dirty) = (from, from);
        loop {
            let block = self.bytes(at, BLOCK, end)?;
            if block.is_empty() {
                return Ok(Rest::Torn(dirty));
            }
            let next = at + (block.len() as u64).next_multiple_of(ALIGN);
            if ZEROS.starts_with(block) {
                at = next;
                continue;
            }
            while at < next {
                if self.bytes(at, ALIGN as usize, end)?.iter().any(|b| *b != 0) {
                    dirty = at + ALIGN;
                    if !matches!(self.frame(at, end)?, Frame::Invalid) {
                        return Ok(Rest::Frame(at));
                    }
                }
                at += ALIGN;
            }
        }
    }

    fn word(&mut self, at: u64, end: u64) -> io::Result<Option<[u8; 8]>> {
        Ok(self.bytes(at, HEAD as usize, end)?.try_into().ok())
    }

    /// The `len` bytes at `at`; fewer where `end` or the file's end comes first.
    fn bytes(&mut self, at: u64, len: usize, end: u64) -> io::Result<&[u8]> {
        let len = len.min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        let buffered = self.start + self.buffer.len() as u64;
        if at < self.start || at + len as u64 > buffered {
            self.fill(at, len.max(BUFFER), end)?;
        }
        let skip = (at - self.start) as usize;
        let stop = (skip + len).min(self.buffer.len());
        Ok(self.buffer.get(skip..stop).unwrap_or_default())
    }

    /// Never buffers anything from `end` on, because it may change.
    fn fill(&mut self, at: u64, len: usize, end: u64) -> io::Result<()> {
        let len = len.min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        self.buffer.resize(len, 0);
        self.start = at;
        let mut got = 0;
        while let Some(rest) = self.buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, HEADER + (at - self.base) + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.buffer.clear();
                    return Err(e);
                }
            }
        }
        self.buffer.truncate(got);
        Ok(())
    }
}
