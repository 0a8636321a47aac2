//! One keep-alive connection to a replica, used by one task at a time.
//!
//! Not hyper's client, because it was measured: 64 connections on one thread, answers of 1.5 kB, 6.9
//! microseconds of the generator's processor time a request instead of 9.8, most of it in the kernel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::response::{Field, Framing, Head, Malformed, decode_chunked, parse_head};

/// Largest response accepted, in bytes.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;
/// Room for a response before the first read, in bytes; larger ones grow it once.
const ROOM: usize = 16 * 1024;

/// Why a request got no answer. None of them says whether the server acted on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server closed the connection before it answered")]
    Closed,
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the response is larger than {MAX_RESPONSE} bytes")]
    TooLarge,
}

/// A connection. HTTP/1.1 without pipelining, `TCP_NODELAY`.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    body: Vec<u8>,
    fields: Vec<Field>,
    usable: bool,
}

/// An answer, borrowed from the connection that it came by.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    input: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Response<'a> {
    /// The first value of a header field; `name` in any case. Content-Length, Transfer-Encoding and
    /// Connection belong to the connection and are not shown.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.fields
            .iter()
            .find(|field| self.input[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| &self.input[field.value.clone()])
    }
}

impl Connection {
    /// Connects within five seconds.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, ExchangeError> {
        const WITHIN: Duration = Duration::from_secs(5);
        let stream = tokio::time::timeout(WITHIN, TcpStream::connect(address))
            .await
            .map_err(|_| ExchangeError::Late(WITHIN))?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| ExchangeError::Connect(address, error))?;
        Ok(Self {
            stream,
            input: Vec::with_capacity(ROOM),
            body: Vec::new(),
            fields: Vec::with_capacity(16),
            usable: true,
        })
    }

    /// Whether another request may be sent: the last exchange ended well and the server keeps the
    /// connection open.
    pub(crate) fn usable(&self) -> bool {
        self.usable
    }

    /// Whether the server is known to have closed this connection while no request was under way on it.
    #[cfg(any(feature = "k8s", test))]
    pub(crate) fn closed_idle(&self) -> bool {
        // Bytes that nobody asked for end it as well.
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// After an exchange that ended with `error`: whether the server certainly never read the request, because it had
    /// closed the connection before.
    ///
    /// A closed socket answers what it is sent by a reset. A server that reads a request and closes then without an
    /// answer has acknowledged it, and no reset follows.
    #[cfg(any(feature = "k8s", test))]
    pub(crate) async fn unread(&self, error: &ExchangeError) -> bool {
        /// For the reset to come back; there is no harm in one that comes later, but the doubt stays.
        const RESET: Duration = Duration::from_millis(50);
        let reset = |kind| matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        match error {
            _ if !self.input.is_empty() => false,
            ExchangeError::Broken(error) => reset(error.kind()),
            ExchangeError::Closed => {
                let told = tokio::time::timeout(RESET, self.stream.ready(tokio::io::Interest::ERROR)).await;
                told.is_ok() && matches!(self.stream.take_error(), Ok(Some(error)) if reset(error.kind()))
            }
            _ => false,
        }
    }

    /// Sends one whole request (not a HEAD) and reads its answer. Has no time limit of its own, because
    /// a timer a request is not free; dropped in the middle, the connection is not usable any more.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>, ExchangeError> {
        self.usable = false;
        self.input.clear();
        self.stream.write_all(request).await?;
        let (head, start) = self.head().await?;
        let (body_in_input, end) = match head.framing {
            Framing::Length(length) => {
                if length > MAX_RESPONSE {
                    return Err(ExchangeError::TooLarge);
                }
                let end = start + head.length + length;
                while self.input.len() < end {
                    self.read().await?;
                }
                (Some(start + head.length..end), end)
            }
            Framing::Chunked => loop {
                let chunks = &self.input[start + head.length..];
                if let Some(taken) = decode_chunked(chunks, &mut self.body)? {
                    break (None, start + head.length + taken);
                }
                self.read().await?;
            },
            Framing::UntilClose => {
                loop {
                    match self.read().await {
                        Ok(()) => {}
                        Err(ExchangeError::Closed) => break,
                        Err(error) => return Err(error),
                    }
                }
                (Some(start + head.length..self.input.len()), self.input.len())
            }
        };
        if self.input.len() > end {
            return Err(Malformed::Surplus.into());
        }
        self.usable = !head.last;
        Ok(Response {
            status: head.status,
            body: body_in_input.map_or(&self.body[..], |range| &self.input[range]),
            input: &self.input[start..],
            fields: &self.fields,
        })
    }

    /// Reads up to the end of the final head, past interim (1xx) ones.
    async fn head(&mut self) -> Result<(Head, usize), ExchangeError> {
        let mut start = 0;
        loop {
            self.read().await?;
            while let Some(head) = parse_head(&self.input[start..], &mut self.fields)? {
                if head.status >= 200 {
                    return Ok((head, start));
                }
                start += head.length;
            }
        }
    }

    async fn read(&mut self) -> Result<(), ExchangeError> {
        if self.input.len() > MAX_RESPONSE {
            return Err(ExchangeError::TooLarge);
        }
        if self.input.capacity() - self.input.len() < ROOM / 4 {
            self.input.reserve(ROOM.max(self.input.len()));
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(ExchangeError::Closed),
            _ => Ok(()),
        }
    }
}

/// A connection that is opened when it is needed and replaced when it broke.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    within: Duration,
    connection: Option<Connection>,
}

impl Line {
    /// Nothing is opened yet. Each exchange ends `within` that time.
    pub(crate) fn new(address: SocketAddr, within: Duration) -> Self {
        Self { address, within, connection: None }
    }

    /// Sends one request, on a new connection if the last one is gone.
    ///
    /// # Errors
    /// Nothing is sent twice: after an error the caller knows only that it has no answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>, ExchangeError> {
        let connection = match self.connection.take() {
            Some(connection) if connection.usable() => self.connection.insert(connection),
            _ => self.connection.insert(Connection::open(self.address).await?),
        };
        tokio::time::timeout(self.within, connection.exchange(request))
            .await
            .unwrap_or(Err(ExchangeError::Late(self.within)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, ExchangeError, Line};
    use crate::measure::response::Malformed;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers each request of each connection with the next script: pieces, each flushed by itself.
    async fn server(scripts: Vec<Vec<&'static str>>, close_after: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut scripts = scripts.into_iter();
            'connections: loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                for _ in 0..close_after {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut request).await.unwrap() == 0 {
                            continue 'connections;
                        }
                    }
                    for piece in scripts.next().unwrap_or_default() {
                        stream.write_all(piece.as_bytes()).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        address
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[tokio::test]
    async fn answers_of_every_framing_share_one_connection() {
        let address = server(
            vec![
                vec!["HTTP/1.1 200 OK\r\ncontent-", "length: 5\r\nX-Cache: HIT\r\n\r\nhe", "llo"],
                vec![
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n",
                    "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
                    "0\r\n\r\n",
                ],
                vec!["HTTP/1.1 304 Not Modified\r\netag: \"7\"\r\n\r\n"],
                vec!["HTTP/1.1 200 OK\r\n\r\nto the end"],
            ],
            4,
        )
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        let hit = connection.exchange(REQUEST).await.unwrap();
        assert_eq!((hit.status, hit.body, hit.header("x-cache")), (200, &b"hello"[..], Some(&b"HIT"[..])));
        let created = connection.exchange(REQUEST).await.unwrap();
        assert_eq!((created.status, created.body, created.header("x-cache")), (201, &b"abc"[..], None));
        let same = connection.exchange(REQUEST).await.unwrap();
        assert_eq!((same.status, same.body, same.header("ETag")), (304, &b""[..], Some(&b"\"7\""[..])));
        assert!(connection.usable());
        assert_eq!(connection.exchange(REQUEST).await.unwrap().body, b"to the end");
        assert!(!connection.usable());
    }

    #[tokio::test]
    async fn bytes_that_nobody_asked_for_are_an_error() {
        let address = server(vec![vec!["HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200"]], 1).await;
        let mut connection = Connection::open(address).await.unwrap();
        let error = connection.exchange(REQUEST).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Malformed(Malformed::Surplus)), "{error}");
        assert!(!connection.usable());
    }

    #[tokio::test]
    async fn a_line_opens_a_new_connection_and_repeats_nothing() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1";
        let address = server(vec![vec![answer], vec!["HTTP/1.1 200"], vec![answer]], 1).await;
        let mut line = Line::new(address, Duration::from_secs(5));
        assert_eq!(line.exchange(REQUEST).await.unwrap().body, b"1");
        // The server closed: seen by the next request, which is not sent again by itself.
        assert!(line.exchange(REQUEST).await.is_err());
        let cut = line.exchange(REQUEST).await.unwrap_err();
        assert!(matches!(cut, ExchangeError::Closed | ExchangeError::Broken(_)), "{cut}");
        assert_eq!(line.exchange(REQUEST).await.unwrap().body, b"1");
    }

    #[tokio::test]
    async fn a_line_waits_no_longer_than_it_may() {
        let address = server(vec![vec![]], 2).await;
        let mut line = Line::new(address, Duration::from_millis(20));
        assert!(matches!(line.exchange(REQUEST).await, Err(ExchangeError::Late(_))));
    }
}
