//! A try that failed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::measure::connection::ExchangeError;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Put,
    /// With an idempotency key.
    Post,
}

impl Method {
    pub(crate) fn reads(self) -> bool {
        self == Self::Get
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// There was no replica to send it to.
    Nobody,
    /// No connection could be had.
    Connect,
    /// The connection broke before the answer was whole.
    Broken,
    /// The server read the request and closed the connection before it had answered.
    Closed,
    /// No answer in time.
    Late,
    /// An answer by which the server did not do what was asked.
    Status,
    /// An answer that is no HTTP.
    Malformed,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Closed => "closed",
            Self::Late => "late",
            Self::Status => "status",
            Self::Malformed => "malformed",
        }
    }

    /// Of an exchange on a connection that was there.
    pub(crate) fn of(error: &ExchangeError) -> Self {
        match error {
            ExchangeError::Connect(..) => Self::Connect,
            ExchangeError::Broken(_) => Self::Broken,
            ExchangeError::Closed => Self::Closed,
            ExchangeError::Late(_) => Self::Late,
            ExchangeError::Malformed(_) | ExchangeError::TooLarge => Self::Malformed,
        }
    }
}

/// One try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The status, of [`Kind::Status`].
    pub(crate) status: Option<u16>,
    pub(crate) method: Method,
    /// Where it was sent; nowhere, of [`Kind::Nobody`].
    pub(crate) address: Option<SocketAddr>,
    /// Sent by a reader of one replica, not over the service's route.
    pub(crate) direct: bool,
    /// Tries of the same request that had failed before.
    pub(crate) earlier: u32,
    /// When its connection was begun to be opened.
    pub(crate) connected: Instant,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// In the words of the error or the answer.
    pub(crate) detail: String,
}

impl Failure {
    /// Whether the server, or what is between, was never heard.
    pub(crate) fn unanswered(&self) -> bool {
        matches!(self.kind, Kind::Connect | Kind::Broken | Kind::Closed | Kind::Late)
    }

    /// As a line, with its moment counted from `start`.
    pub(crate) fn told(&self, start: Instant) -> Told {
        Told {
            at_s: self.began.saturating_duration_since(start).as_secs_f64(),
            took_ms: (self.ended - self.began).as_secs_f64() * 1e3,
            connection_ms: self.began.saturating_duration_since(self.connected).as_secs_f64() * 1e3,
            kind: self.kind,
            status: self.status,
            method: self.method,
            address: self.address.map(|address| address.to_string()),
            direct: self.direct,
            earlier: self.earlier,
            detail: self.detail.clone(),
        }
    }
}

/// A failed try as it goes into the file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// Seconds from the start of the load to the try.
    pub(crate) at_s: f64,
    pub(crate) took_ms: f64,
    /// How old its connection was.
    pub(crate) connection_ms: f64,
    pub(crate) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) method: Method,
    pub(crate) address: Option<String>,
    /// Sent by a reader of this one replica.
    pub(crate) direct: bool,
    pub(crate) earlier: u32,
    pub(crate) detail: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_s, took_ms, connection_ms, kind, method, earlier, detail, .. } = self;
        let to = self.address.as_deref().unwrap_or("nobody");
        let direct = if self.direct { "the replica " } else { "" };
        write!(
            f,
            "{} to {direct}{to} at {at_s:.3} s: {} after {took_ms:.1} ms on a connection of {connection_ms:.0} ms ({detail}",
            method.as_str(),
            kind.as_str()
        )?;
        if *earlier > 0 {
            write!(f, "; {earlier} earlier tries of it")?;
        }
        f.write_str(")")
    }
}
