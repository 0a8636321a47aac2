//! The end of the channel that the worker listens at.

use std::time::Duration;

use bytes::Bytes;
use fenced_cache::ConfigError;
use fred::interfaces::{ClientInterface, ClientLike, EventInterface, PubsubInterface};
use fred::types::Message;
use fred::types::config::Config;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::CHANNEL;
use crate::connection::{ChannelError, Connection, parse};

/// How long the channel may be silent before the server is asked whether it is there.
const SILENCE: Duration = Duration::from_millis(600);

/// A subscription to [`CHANNEL`], over a connection of its own. It begins with the connection and ends with it: whoever opens
/// another one must assume to have missed messages.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
    messages: Receiver<Message>,
    ping_at: Instant,
    /// The task has ended: it must not be asked again.
    ended: bool,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, whoever may have sent it.
    Message(Bytes),
    /// Messages came faster than they were taken, and some were dropped: nobody knows which.
    Lagged,
    /// The connection is gone: open another one.
    Lost,
}

impl Subscription {
    /// Where to listen.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is not `redis://`.
    pub fn config(redis_url: &str) -> Result<SubscriptionConfig, ConfigError> {
        parse(redis_url).map(SubscriptionConfig)
    }

    /// Connects and subscribes. Every message that is published after this has returned is heard, or its loss is.
    ///
    /// # Errors
    /// [`ChannelError`] when Redis is not there, or does not let us.
    pub async fn open(config: &SubscriptionConfig) -> Result<Self, ChannelError> {
        let connection = Connection::open(&config.0).await?;
        let messages = connection.client.message_rx();
        connection.client.subscribe(CHANNEL).await?;
        // fred says "subscribed" before the server does, and a refusal reaches nobody, or whoever asks next. So the server is asked
        // how many channels this connection listens to; the answer comes behind that to SUBSCRIBE.
        let connection_now: String = connection.client.client_info().await?;
        if !connection_now.split(' ').any(|field| field == "sub=1") {
            return Err(ChannelError(format!("Redis does not let this user subscribe to {CHANNEL}")));
        }
        Ok(Self { connection, messages, ping_at: Instant::now() + SILENCE, ended: false })
    }

    /// The next thing to be heard. Nothing is missed if the future is dropped.
    pub async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                // What has arrived comes before the end of the connection.
                biased;
                message = self.messages.recv() => {
                    self.ping_at = Instant::now() + SILENCE;
                    return match message {
                        Ok(message) => heard(message),
                        Err(RecvError::Lagged(_)) => Heard::Lagged,
                        Err(RecvError::Closed) => Heard::Lost,
                    };
                }
                _ = &mut self.connection.task, if !self.ended => {
                    self.ended = true;
                    return Heard::Lost;
                }
                () = sleep_until(self.ping_at) => {
                    // Nobody publishes, or the server has stopped without a word.
                    let pinged = self.connection.client.ping::<()>(None).await;
                    self.ping_at = Instant::now() + SILENCE;
                    if self.ended || pinged.is_err() {
                        return Heard::Lost;
                    }
                }
            }
        }
    }

    /// What has arrived already, if anything has.
    pub fn try_next(&mut self) -> Option<Heard> {
        match self.messages.try_recv() {
            Ok(message) => Some(heard(message)),
            Err(TryRecvError::Lagged(_)) => Some(Heard::Lagged),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// Where a [`Subscription`] listens.
#[derive(Clone, Debug)]
pub struct SubscriptionConfig(Config);

fn heard(message: Message) -> Heard {
    // Copied: a slice would keep the whole buffer alive that was read from the socket. Another type than text is nothing that
    // a relay sends; it is handed on as what it is not.
    Heard::Message(message.value.as_bytes().map(Bytes::copy_from_slice).unwrap_or_default())
}
