//! A client as there are many in a cluster: one keep-alive connection, which it renews after a while, and which it
//! replaces without a word where HTTP says that this is safe.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::addresses::{Addresses, Route};
use super::failure::Kind;
use crate::measure::connection::{Connection, ExchangeError, Response};
use crate::measure::zipf::Random;

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Connections that are given up for a new one within one exchange. Each of them was found closed by its server.
const MOST_CLOSED: u32 = 3;

/// Where a client sends to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Each connection goes where this route leads then.
    Any(Addresses, Route),
    /// Always to this one.
    One(SocketAddr),
}

/// One client; used by one task at a time.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    within: Duration,
    /// A connection is renewed after this time to twice this time.
    life: Duration,
    turn: usize,
    random: Random,
    held: Option<Held>,
    pub(crate) wear: Wear,
}

/// What connections went through since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wear {
    /// Connections opened.
    pub(crate) opened: u64,
    /// Connections that their server had closed while no request was under way, seen before one was sent.
    pub(crate) closed_idle: u64,
    /// The same, seen only when a request had been sent: it met the closing on its way, was not read by the server, and
    /// was sent again.
    pub(crate) closed_meeting: u64,
}

#[derive(Debug)]
struct Held {
    connection: Connection,
    address: SocketAddr,
    opened: Instant,
    renew: Instant,
    /// Whether it has brought an answer yet.
    proven: bool,
}

/// Why a try failed, before it is known what for.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) connected: Instant,
    pub(crate) detail: String,
}

/// An answer, and by which connection it came.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) value: T,
    pub(crate) address: SocketAddr,
    pub(crate) connected: Instant,
}

impl Client {
    /// `number` tells clients apart: where their connections go, and when they are renewed.
    pub(crate) fn new(target: Target, within: Duration, life: Duration, number: usize) -> Self {
        Self {
            target,
            within,
            life,
            turn: number,
            random: Random::new(0x00c1_1e47 + number as u64),
            held: None,
            wear: Wear::default(),
        }
    }

    /// Lets the connection go, so that the next exchange opens another.
    pub(crate) fn hang_up(&mut self) {
        self.held = None;
    }

    /// Sends one request (that may be sent twice) and reads its answer.
    ///
    /// On a connection that has been in use and that its server closed before it read the request, the request is sent
    /// again on a new one: RFC 9112, section 9.3.1. Nothing else is sent again here.
    pub(crate) async fn exchange<T>(
        &mut self,
        request: &[u8],
        mut read: impl FnMut(&Response<'_>) -> T,
    ) -> Result<Answered<T>, Failed> {
        let mut closed = 0;
        loop {
            let began = Instant::now();
            let mut held = match self.take(began) {
                Some(held) => held,
                None => self.open(began).await?,
            };
            let (address, connected) = (held.address, held.opened);
            let error = match tokio::time::timeout(self.within, held.connection.exchange(request)).await {
                Ok(Ok(response)) => {
                    let value = read(&response);
                    held.proven = true;
                    self.held = Some(held);
                    return Ok(Answered { value, address, connected });
                }
                Ok(Err(error)) => error,
                Err(_) => ExchangeError::Late(self.within),
            };
            if held.proven && closed < MOST_CLOSED && held.connection.unread(&error).await {
                closed += 1;
                self.wear.closed_meeting += 1;
                continue;
            }
            return Err(Failed {
                kind: Kind::of(&error),
                address: Some(address),
                connected,
                detail: error.to_string(),
            });
        }
    }

    /// The connection that there is, if it can take another request.
    fn take(&mut self, now: Instant) -> Option<Held> {
        let held = self.held.take().filter(|held| held.connection.usable() && now < held.renew)?;
        if held.connection.closed_idle() {
            self.wear.closed_idle += 1;
            return None;
        }
        Some(held)
    }

    async fn open(&mut self, began: Instant) -> Result<Held, Failed> {
        let failed = |kind, address, detail| Failed { kind, address, connected: began, detail };
        let address = match &self.target {
            Target::One(address) => *address,
            Target::Any(addresses, route) => addresses
                .pick(*route, self.turn)
                .ok_or_else(|| failed(Kind::Nobody, None, "no replica is ready".to_owned()))?,
        };
        self.turn += 1;
        let connection = match tokio::time::timeout(CONNECT, Connection::open(address)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(failed(Kind::Connect, Some(address), error.to_string())),
            Err(_) => return Err(failed(Kind::Connect, Some(address), format!("no connection within {CONNECT:?}"))),
        };
        self.wear.opened += 1;
        let renew = began + self.life + self.life.mul_f64(self.random.unit());
        Ok(Held { connection, address, opened: began, renew, proven: false })
    }
}
