//! Follows where a client's heads begin and end, just enough to find a request that gives its length twice.
//!
//! hyper drops a `Content-Length` next to a `Transfer-Encoding`, so no handler could see it. A name's bytes are
//! compared only while they match; the rest of each line is skipped in one step.

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// The state of following one connection's input.
pub(crate) struct Framing {
    place: Place,
    line: Line,
    /// Whether the request line is complete: empty lines before it have no meaning.
    in_fields: bool,
    /// The two fields that give a body's length, as far as this head has shown them.
    length: Option<u64>,
    is_chunked: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Head,
    /// This many bytes of a body are still missing.
    Body(u64),
    /// The connection ends with this request, so its input is no longer followed.
    Unfollowed,
}

/// The place within a line of a head.
#[derive(Clone, Copy)]
enum Line {
    Start,
    /// After a carriage return at the start of the line.
    Blank,
    /// This many bytes of the name have matched.
    Name(&'static [u8], usize),
    /// Within the value of `Content-Length`; the number so far.
    Length(u64),
    Rest,
}

impl Framing {
    pub(crate) const fn new() -> Self {
        Self { place: Place::Head, line: Line::Start, in_fields: false, length: None, is_chunked: false }
    }

    /// Follows the next bytes. When a head has both fields, this overwrites the second one's colon with a byte that no
    /// parser accepts and returns true: hyper then refuses that request when it comes to it.
    pub(crate) fn follow(&mut self, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        while let Some(rest @ [byte, ..]) = bytes.get(at..) {
            at += match (self.place, self.line) {
                (Place::Unfollowed, _) => return false,
                (Place::Body(left), _) => self.pass_body(left, rest.len()),
                (Place::Head, Line::Rest) => match memchr::memchr(b'\n', rest) {
                    Some(end) => self.end_line(end),
                    None => return false,
                },
                (Place::Head, Line::Name(name, come)) if come < name.len() => self.pass_name(name, come, rest),
                (Place::Head, Line::Name(name, _)) if *byte == b':' => {
                    if self.is_second(name) {
                        self.place = Place::Unfollowed;
                        if let Some(colon) = bytes.get_mut(at) {
                            *colon = 0;
                        }
                        return true;
                    }
                    1
                }
                (Place::Head, line) => self.pass_byte(line, *byte),
            };
        }
        false
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Head) && (self.in_fields || !matches!(self.line, Line::Start | Line::Blank))
    }

    /// Passes the part of the body that is in `here` bytes, and returns its length.
    fn pass_body(&mut self, left: u64, here: usize) -> usize {
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        self.place = match left - passed as u64 {
            0 => Place::Head,
            left => Place::Body(left),
        };
        passed
    }

    /// Compares the next bytes with `name` and returns how many match; 0 when the line begins with something else.
    fn pass_name(&mut self, name: &'static [u8], come: usize, rest: &[u8]) -> usize {
        let here = rest.len().min(name.len() - come);
        let is_it = match (name.get(come..come + here), rest.get(..here)) {
            (Some(expected), Some(here)) => here.eq_ignore_ascii_case(expected),
            _ => false,
        };
        self.line = if is_it { Line::Name(name, come + here) } else { Line::Rest };
        if is_it { here } else { 0 }
    }

    /// Passes one byte, or none when the rest of the line may be skipped in one step.
    fn pass_byte(&mut self, line: Line, byte: u8) -> usize {
        self.line = match (line, byte) {
            (Line::Start | Line::Blank, b'\n') => return self.end_head(),
            (Line::Start, b'\r') => Line::Blank,
            (Line::Start, b'c' | b'C') => Line::Name(CONTENT_LENGTH, 1),
            (Line::Start, b't' | b'T') => Line::Name(TRANSFER_ENCODING, 1),
            (Line::Length(length), b'0'..=b'9') => {
                Line::Length(length.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Line::Length(_), b' ' | b'\t' | b'\r') => line,
            (Line::Length(length), b'\n') => {
                self.length = Some(length);
                return self.end_line(0);
            }
            // This includes an invalid length, which hyper refuses.
            _ => {
                self.line = Line::Rest;
                return 0;
            }
        };
        1
    }

    /// Records the field; true when the head already has the other one.
    fn is_second(&mut self, name: &[u8]) -> bool {
        if name == CONTENT_LENGTH {
            self.line = Line::Length(0);
            self.length = Some(0);
        } else {
            self.line = Line::Rest;
            self.is_chunked = true;
        }
        self.is_chunked && self.length.is_some()
    }

    /// Passes everything up to and including the line feed.
    fn end_line(&mut self, before: usize) -> usize {
        self.in_fields = true;
        self.line = Line::Start;
        before + 1
    }

    fn end_head(&mut self) -> usize {
        self.line = Line::Start;
        if self.in_fields {
            self.place = match self.length {
                // The server answers a chunked request and closes.
                _ if self.is_chunked => Place::Unfollowed,
                None | Some(0) => Place::Head,
                Some(length) => Place::Body(length),
            };
            (self.in_fields, self.length) = (false, None);
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a second length was found, and the text that hyper gets, when the input comes in pieces of `size` bytes.
    fn followed(text: &str, size: usize) -> (bool, String) {
        let mut framing = Framing::new();
        let mut bytes = text.as_bytes().to_vec();
        let mut seen = false;
        for piece in bytes.chunks_mut(size) {
            seen |= framing.follow(piece);
        }
        (seen, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_head_with_both_fields_is_spoilt_at_the_second_however_it_comes() {
        let before = "\r\nGET /1 HTTP/1.1\r\nhost: x\r\n\r\nPOST /2 HTTP/1.1\r\ncontent-length: 20\r\n\r\ntransfer-encoding:\r\n";
        for (first, second) in [
            ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"),
            ("TRANSFER-ENCODING:chunked\r\n", "content-LENGTH:\t5\r\n"),
            ("content-length: 5\n", "transfer-encoding: chunked\n"),
        ] {
            let text = format!("{before}POST /3 HTTP/1.1\r\n{first}Content-Type: x\r\n{second}\r\n0\r\n\r\n");
            let spoilt = format!(
                "{before}POST /3 HTTP/1.1\r\n{first}Content-Type: x\r\n{}\r\n0\r\n\r\n",
                second.replacen(':', "\0", 1)
            );
            for size in [1, 2, 3, 7, 64, 1_000] {
                assert_eq!(followed(&text, size), (true, spoilt.clone()), "{size}");
            }
        }
    }

    #[test]
    fn a_head_is_under_way_from_its_first_byte_to_its_empty_line() {
        for (text, expected) in [
            ("", false),
            ("\r\n", false),
            ("G", true),
            ("GET / HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\r\n\r", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\na", false),
            ("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nabGET", true),
        ] {
            let mut framing = Framing::new();
            framing.follow(&mut text.as_bytes().to_vec());
            assert_eq!(framing.is_in_head(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_gives_its_length_once_passes_unchanged() {
        for text in [
            "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nPOST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 43\r\n\r\n\r\ncontent-length: 1\r\ntransfer-encoding: x\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\ncontent-length: 5\r\n",
            "POST / HTTP/1.1\r\ncontent-lengths: 1\r\nxcontent-length: 1\r\nx: content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "TRACE / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nab\r\n\nCONNECT x HTTP/1.1\r\n\r\n",
        ] {
            for size in [1, 5, 1_000] {
                assert_eq!(followed(text, size), (false, text.to_owned()), "{text}");
            }
        }
    }
}
