//! Reading an HTTP/1.1 response out of bytes: the head, and the three ways a body can be framed.

use std::ops::Range;

/// Most header fields of one response.
const MAX_FIELDS: usize = 64;
/// Largest head accepted, in bytes. A server that sends more is not one that the lab drives.
const MAX_HEAD: usize = 64 * 1024;

/// Why bytes are not an HTTP/1.1 response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the response's head is not HTTP/1.1: {0}")]
    Head(httparse::Error),
    #[error("the response's head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("the response's Content-Length is not one number")]
    Length,
    #[error("the response's chunks are malformed")]
    Chunk,
    #[error("the response's transfer coding is not understood")]
    Coding,
    #[error("bytes follow the response that nobody asked for")]
    Surplus,
}

/// Where one header field lies in the bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// A response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes up to the body.
    pub(crate) length: usize,
    pub(crate) framing: Framing,
    /// The server will close the connection after this response.
    pub(crate) last: bool,
}

/// Parses a head if all of it is there, and notes its fields in `fields`.
///
/// # Errors
/// [`Malformed`] when it can never become a response to a GET, POST, PUT or DELETE.
pub(crate) fn parse_head(input: &[u8], fields: &mut Vec<Field>) -> Result<Option<Head>, Malformed> {
    let mut parsed = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut parsed);
    let length = match response.parse(input).map_err(Malformed::Head)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if input.len() > MAX_HEAD => return Err(Malformed::HeadTooLarge),
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let mut last = response.version == Some(0);
    let mut content_length = None;
    let mut chunked = false;
    fields.clear();
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(field.value)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<usize>().ok())
                .ok_or(Malformed::Length)?;
            if content_length.replace(value).is_some_and(|other| other != value) {
                return Err(Malformed::Length);
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Coding);
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("connection") {
            if field.value.eq_ignore_ascii_case(b"close") {
                last = true;
            } else if field.value.eq_ignore_ascii_case(b"keep-alive") {
                last = false;
            }
        } else {
            fields.push(Field { name: place(input, field.name.as_bytes()), value: place(input, field.value) });
        }
    }
    let framing = match (status, chunked, content_length) {
        (100..=199 | 204 | 304, _, _) => Framing::Length(0),
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    Ok(Some(Head { status, length, framing, last: last || framing == Framing::UntilClose }))
}

/// Where `part`, a slice of `whole`, lies in it. A range outlives the borrow, which ends when more is read.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// Decodes a chunked body into `body` if all of it is there, and says how many bytes it took.
///
/// # Errors
/// [`Malformed::Chunk`].
pub(crate) fn decode_chunked(input: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, Malformed> {
    body.clear();
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&input[at..]).map_err(|_| Malformed::Chunk)? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return Ok(None),
        };
        let size = usize::try_from(size).map_err(|_| Malformed::Chunk)?;
        at += line;
        if size == 0 {
            return trailers(&input[at..]).map(|end| end.map(|end| at + end));
        }
        let end = at.checked_add(size).ok_or(Malformed::Chunk)?;
        let Some(terminator) = input.get(end..end + 2) else {
            return Ok(None);
        };
        if terminator != b"\r\n" {
            return Err(Malformed::Chunk);
        }
        body.extend_from_slice(&input[at..end]);
        at = end + 2;
    }
}

/// The end of the trailer section, which nobody here reads.
fn trailers(input: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut at = 0;
    loop {
        let Some(line) = input[at..].windows(2).position(|two| two == b"\r\n") else {
            return if input.len() > MAX_HEAD { Err(Malformed::Chunk) } else { Ok(None) };
        };
        at += line + 2;
        if line == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Framing, Head, Malformed, decode_chunked, parse_head};

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        parse_head(text.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn a_head_is_complete_or_not_yet_there() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Cache: HIT\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(head(&text[..cut]), Ok(None), "cut at {cut}");
        }
        let mut fields = Vec::new();
        let parsed = parse_head(format!("{text}12345").as_bytes(), &mut fields);
        let expected = Head { status: 200, length: text.len(), framing: Framing::Length(5), last: false };
        assert_eq!(parsed, Ok(Some(expected)));
        let [Field { name, value }] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!((&text[name.clone()], &text[value.clone()]), ("X-Cache", "HIT"));
    }

    #[test]
    fn the_framing_follows_the_rfc() {
        for (text, framing, last) in [
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\ncontent-length: 3\r\n\r\n", Framing::Chunked, false),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 900\r\n\r\n", Framing::Length(0), false),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0), false),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n", Framing::Length(1), true),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", Framing::Length(1), true),
        ] {
            let parsed = head(text).unwrap().unwrap();
            assert_eq!((parsed.framing, parsed.last), (framing, last), "{text}");
        }
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for (text, error) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", Malformed::Length),
            ("HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\n", Malformed::Length),
            ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", Malformed::Length),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", Malformed::Coding),
        ] {
            assert_eq!(head(text), Err(error), "{text}");
        }
        assert!(matches!(head("SSH-2.0-x\r\n"), Err(Malformed::Head(_))));
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000));
        assert_eq!(head(&endless), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let text = b"5;note=x\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n";
        let mut body = Vec::new();
        for cut in 0..text.len() {
            assert_eq!(decode_chunked(&text[..cut], &mut body), Ok(None), "cut at {cut}");
        }
        assert_eq!(decode_chunked(text, &mut body), Ok(Some(text.len())));
        assert_eq!(body, b"hello world");
    }

    #[test]
    fn malformed_chunks_are_errors() {
        let mut body = Vec::new();
        for text in [&b"x\r\n"[..], b"2\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffff\r\nabc"] {
            assert_eq!(decode_chunked(text, &mut body), Err(Malformed::Chunk), "{text:?}");
        }
    }
}
