//! Cutting a byte stream into the messages of its protocol.
//!
//! Faults are aimed at messages, because where TCP cuts a stream into chunks is luck: two replies may share a chunk, and
//! one command may come in three. RESP 2 and 3 and PostgreSQL's protocol (without TLS) are recognised by the first byte
//! that the client sends. Anything else, and anything that turns out not to follow its protocol, is passed on in the
//! chunks in which it came.

use bytes::{Buf, Bytes, BytesMut};

use super::Direction;

/// A line or a length beyond this is no protocol that we know.
const MOST: usize = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// The client has sent nothing yet.
    Undecided,
    Resp,
    Postgres,
    Raw,
}

/// A part of the stream at whose start a fault may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) bytes: Bytes,
    /// A whole message; otherwise a chunk, in which a needle may lie anywhere or have begun before.
    pub(super) whole: bool,
    /// After this the other side has all it needs for an answer.
    pub(super) complete_request: bool,
}

/// Cuts both directions of one connection.
#[derive(Debug)]
pub(super) struct Framer {
    protocol: Protocol,
    lanes: [Lane; 2],
    /// PostgreSQL's client sends untyped messages until its startup message.
    started: bool,
    /// Requests for encryption whose answer, one byte without a length, has not come yet.
    single_bytes: u32,
}

#[derive(Debug, Default)]
struct Lane {
    buffer: BytesMut,
    /// RESP: how far the current message has been understood, and how many values it still lacks.
    scanned: usize,
    lacking: u64,
}

enum Cutting {
    /// A message of this length.
    Message(usize),
    Incomplete,
    Invalid,
}

impl Framer {
    pub(super) fn new() -> Self {
        Self {
            protocol: Protocol::Undecided,
            lanes: [Lane::default(), Lane::default()],
            started: false,
            single_bytes: 0,
        }
    }

    /// Takes a chunk in.
    pub(super) fn push(&mut self, direction: Direction, bytes: &[u8]) {
        if self.protocol == Protocol::Undecided && !bytes.is_empty() {
            self.protocol = match (direction, bytes.first()) {
                (Direction::ClientToServer, Some(b'*')) => Protocol::Resp,
                // Some clients ask for RESP 3 by a line, as a person would, and go on in RESP.
                (Direction::ClientToServer, Some(b'H')) if bytes.starts_with(b"HELLO ") => Protocol::Resp,
                // The first byte of the length of a startup message, which is short.
                (Direction::ClientToServer, Some(0)) => Protocol::Postgres,
                _ => Protocol::Raw,
            };
        }
        self.lanes[direction.index()].buffer.extend_from_slice(bytes);
    }

    /// The next message that is complete.
    pub(super) fn next(&mut self, direction: Direction) -> Option<Unit> {
        let lane = &mut self.lanes[direction.index()];
        if lane.buffer.is_empty() {
            return None;
        }
        let cutting = match self.protocol {
            Protocol::Resp => lane.cut_resp(direction),
            Protocol::Postgres => self.cut_postgres(direction),
            Protocol::Undecided | Protocol::Raw => Cutting::Invalid,
        };
        let lane = &mut self.lanes[direction.index()];
        match cutting {
            Cutting::Incomplete => None,
            Cutting::Invalid => {
                self.protocol = Protocol::Raw;
                Some(Unit { bytes: lane.buffer.split().freeze(), whole: false, complete_request: true })
            }
            Cutting::Message(length) => {
                let bytes = lane.buffer.split_to(length).freeze();
                let complete_request = match (self.protocol, direction) {
                    // Query, Sync, FunctionCall: the server answers these, and only these, without waiting for more.
                    (Protocol::Postgres, Direction::ClientToServer) => matches!(bytes[0], b'Q' | b'S' | b'F'),
                    _ => true,
                };
                Some(Unit { bytes, whole: true, complete_request })
            }
        }
    }

    /// What is left of a message whose end will not come.
    pub(super) fn rest(&mut self, direction: Direction) -> Option<Bytes> {
        let bytes = self.lanes[direction.index()].buffer.split().freeze();
        (!bytes.is_empty()).then_some(bytes)
    }

    fn cut_postgres(&mut self, direction: Direction) -> Cutting {
        const STARTUP: u32 = 3 << 16;
        const TLS: u32 = 80_877_103;
        const GSS: u32 = 80_877_104;
        let buffer = &self.lanes[direction.index()].buffer;
        let untyped = direction == Direction::ClientToServer && !self.started;
        if direction == Direction::ServerToClient && self.single_bytes > 0 {
            self.single_bytes -= 1;
            // After a yes the stream is encrypted.
            return if buffer[0] == b'N' { Cutting::Message(1) } else { Cutting::Invalid };
        }
        let mut header = &buffer[..];
        if !untyped {
            header.advance(1);
        }
        if header.len() < 4 {
            return Cutting::Incomplete;
        }
        let Ok(length) = usize::try_from(header.get_u32()) else { return Cutting::Invalid };
        let total = length + usize::from(!untyped);
        if !(4..MOST).contains(&length) || (untyped && length < 8) {
            return Cutting::Invalid;
        }
        if buffer.len() < total {
            return Cutting::Incomplete;
        }
        if untyped {
            match header.get_u32() {
                TLS | GSS => self.single_bytes += 1,
                // Also later minor versions of protocol 3.
                code => self.started = code >> 16 == STARTUP >> 16,
            }
        }
        Cutting::Message(total)
    }
}

impl Lane {
    fn cut_resp(&mut self, direction: Direction) -> Cutting {
        if self.scanned == 0 {
            self.lacking = 1;
        }
        while self.lacking > 0 {
            let unread = &self.buffer[self.scanned..];
            let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") else {
                return if unread.len() > 64 * 1024 { Cutting::Invalid } else { Cutting::Incomplete };
            };
            let line = &unread[..end];
            let mut length = end + 2;
            let Some((kind, argument)) = line.split_first() else { return Cutting::Invalid };
            let number = std::str::from_utf8(argument).ok().and_then(|text| text.parse::<i64>().ok());
            let count = number.map(|number| u64::try_from(number).unwrap_or(0));
            match (kind, count) {
                (b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(', _) => self.lacking -= 1,
                (b'$' | b'!' | b'=', Some(size)) => {
                    // A negative size is a null: no bytes follow.
                    if number.is_some_and(|number| number >= 0) {
                        let size = usize::try_from(size).unwrap_or(MOST);
                        if size >= MOST {
                            return Cutting::Invalid;
                        }
                        length += size + 2;
                    }
                    if unread.len() < length {
                        return Cutting::Incomplete;
                    }
                    self.lacking -= 1;
                }
                (b'*' | b'~' | b'>', Some(count)) => self.lacking = (self.lacking - 1).saturating_add(count),
                (b'%', Some(count)) => self.lacking = (self.lacking - 1).saturating_add(count.saturating_mul(2)),
                // Attributes stand before the value that they describe.
                (b'|', Some(count)) => self.lacking = self.lacking.saturating_add(count.saturating_mul(2)),
                // A command as a person types it.
                (b'a'..=b'z' | b'A'..=b'Z', _) if direction == Direction::ClientToServer && self.scanned == 0 => {
                    self.lacking = 0;
                }
                _ => return Cutting::Invalid,
            }
            self.scanned += length;
        }
        Cutting::Message(std::mem::take(&mut self.scanned))
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{ClientToServer, ServerToClient};
    use super::*;

    /// Feeds a stream in pieces of every size; the units must be the same each time.
    fn units(direction: Direction, before: &[u8], stream: &[u8], expected: &[&[u8]]) {
        for size in 1..=stream.len() {
            let mut framer = Framer::new();
            framer.push(ClientToServer, before);
            while framer.next(ClientToServer).is_some() {}
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                framer.push(direction, chunk);
                while let Some(unit) = framer.next(direction) {
                    assert!(unit.whole);
                    found.push(unit.bytes);
                }
            }
            assert_eq!(found, expected, "in chunks of {size}");
            assert_eq!(framer.rest(direction), None);
        }
    }

    #[test]
    fn commands_and_replies_of_redis() {
        let get = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n";
        units(ClientToServer, b"", &[&get[..], b"PING\r\n", get].concat(), &[get, b"PING\r\n", get]);
        units(ClientToServer, b"HELLO 3\r\n", &[&get[..], get].concat(), &[get, get]);
        let push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
        units(ServerToClient, b"HELLO 3\r\n", &[b":1\r\n", &push[..]].concat(), &[b":1\r\n", push]);
        let replies: [&[u8]; 9] = [
            b"+OK\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"_\r\n",
            b"*2\r\n:1\r\n*2\r\n$0\r\n\r\n-ERR x\r\n",
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            b"%1\r\n+a\r\n*0\r\n",
            b"|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n",
            b"=7\r\ntxt:a\r\n\r\n",
        ];
        units(ServerToClient, get, &replies.concat(), &replies);
    }

    #[test]
    fn messages_of_postgresql() {
        let tls = [&8u32.to_be_bytes()[..], &80_877_103u32.to_be_bytes()].concat();
        let startup = [&9u32.to_be_bytes()[..], &196_608u32.to_be_bytes(), b"\0"].concat();
        let query = [&b"Q"[..], &11u32.to_be_bytes(), b"COMMIT\0"].concat();
        units(ClientToServer, b"", &[&tls[..], &startup, &query].concat(), &[&tls, &startup, &query]);
        let notice = [&b"N"[..], &5u32.to_be_bytes(), b"\0"].concat();
        let ready = [&b"Z"[..], &5u32.to_be_bytes(), b"I"].concat();
        units(ServerToClient, &tls, &[&b"N"[..], &notice, &ready].concat(), &[b"N", &notice, &ready]);
    }

    #[test]
    fn a_request_of_postgresql_is_complete_with_query_or_sync() {
        let startup = [&9u32.to_be_bytes()[..], &196_608u32.to_be_bytes(), b"\0"].concat();
        let mut framer = Framer::new();
        framer.push(ClientToServer, &startup);
        assert!(!framer.next(ClientToServer).unwrap().complete_request);
        for (kind, complete) in [(b'P', false), (b'B', false), (b'E', false), (b'S', true), (b'Q', true)] {
            framer.push(ClientToServer, &[&[kind][..], &4u32.to_be_bytes()].concat());
            assert_eq!(framer.next(ClientToServer).unwrap().complete_request, complete);
        }
    }

    #[test]
    fn other_streams_pass_in_their_chunks() {
        for first in [&b"GET / HTTP/1.1\r\n"[..], b"*x\r\n", b"\xff\xfe", b"\0\0\0\x01\0\0\0\0"] {
            let mut framer = Framer::new();
            framer.push(ClientToServer, first);
            let unit = framer.next(ClientToServer).unwrap();
            assert_eq!((&unit.bytes[..], unit.whole), (first, false));
            framer.push(ServerToClient, b"*2\r\n");
            assert_eq!(framer.next(ServerToClient).unwrap().bytes, &b"*2\r\n"[..]);
        }
    }

    #[test]
    fn what_a_closed_connection_left_unfinished_is_not_lost() {
        let mut framer = Framer::new();
        framer.push(ClientToServer, b"*2\r\n$3\r\nGET");
        assert_eq!(framer.next(ClientToServer), None);
        assert_eq!(framer.rest(ClientToServer).unwrap(), &b"*2\r\n$3\r\nGET"[..]);
    }
}
