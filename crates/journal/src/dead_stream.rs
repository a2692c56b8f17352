//! A dead process's segments: where its stream ends, and which bytes a crash tore.
use crate::Error;
use crate::folder::Folder;
use crate::reader::{Frame, Rest, SegmentReader};
use crate::record::{HEAD, Salt};
use crate::segment::{HEADER, Layout};
use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::Path;

/// The result of reading a dead process's segments.
#[derive(Default)]
pub(crate) struct DeadStream {
    /// None when no segment has a valid header.
    pub(crate) layout: Option<Layout>,
    pub(crate) end: u64,
    pub(crate) sealed: bool,
    /// Bytes after `end` that are not zero.
    pub(crate) torn: u64,
}

impl DeadStream {
    /// Finds the end: it is after the last whole record in the last segment that has one.
    /// Later segments are empty or torn.
    pub(crate) fn read(folder: &Folder) -> Result<DeadStream, Error> {
        let bases = folder.segments()?;
        let mut found = DeadStream { end: bases.first().copied().unwrap_or(0), ..DeadStream::default() };
        for &base in &bases {
            let path = folder.segment(base);
            let file = File::open(&path).map_err(Error::at(&path))?;
            found.layout = Layout::read(&file, folder.boot, base).map_err(Error::at(&path))?;
            if found.layout.is_some() {
                break;
            }
        }
        for (age, &base) in bases.iter().rev().enumerate() {
            let segment = found.layout.map(|layout| open(folder, base, layout)).transpose()?.flatten();
            let path = folder.segment(base);
            let ended = match segment {
                Some(mut segment) => found.scan(&mut segment).map_err(Error::at(&path))?,
                None => found.opaque(folder, base).map_err(Error::at(&path))?,
            };
            if let Some(sealed) = ended {
                found.sealed = sealed && age == 0;
                break;
            }
        }
        Ok(found)
    }

    /// Sets the end if there is a whole frame, and returns whether the last frame is an end mark.
    fn scan(&mut self, segment: &mut SegmentReader) -> io::Result<Option<bool>> {
        let (mut at, mut end, mut ended) = (segment.base, None, false);
        while !ended {
            match segment.frame(at, u64::MAX)? {
                Frame::Record { after, .. } => {
                    at = after;
                    end = Some(after);
                }
                // A bad record before the mark is no torn tail: it lies before the end, and `read` reports it.
                Frame::End => {
                    ended = true;
                    end = Some(at);
                }
                Frame::Invalid => match segment.resume(at, u64::MAX)? {
                    Rest::Frame(next) => at = next,
                    Rest::Torn(dirty) => {
                        self.torn += dirty.saturating_sub(at);
                        break;
                    }
                },
            }
        }
        if let Some(end) = end {
            self.end = end;
        }
        Ok(end.map(|_| ended))
    }

    /// A segment without a valid header. It holds nothing if it is all zeros, because its header never reached the
    /// disk; otherwise it holds records that cannot be read, and `read` must report them.
    fn opaque(&mut self, folder: &Folder, base: u64) -> io::Result<Option<bool>> {
        let path = folder.segment(base);
        let len = fs::metadata(&path)?.len();
        if is_zero(&path)? {
            return Ok(None);
        }
        self.end = base + len.saturating_sub(HEADER).max(HEAD);
        Ok(Some(false))
    }
}

fn is_zero(path: &Path) -> io::Result<bool> {
    let mut reader = io::BufReader::new(File::open(path)?);
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(true);
        }
        if chunk.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        let len = chunk.len();
        reader.consume(len);
    }
}

/// None when there is no such file, or its header is not valid for this place.
pub(crate) fn open(folder: &Folder, base: u64, layout: Layout) -> Result<Option<SegmentReader>, Error> {
    let path = folder.segment(base);
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::at(&path))?,
    };
    let found = Layout::read(&file, folder.boot, base).map_err(Error::at(&path))?;
    Ok((found == Some(layout)).then(|| SegmentReader::new(file, base, layout, Salt::of(folder.boot))))
}
