//! The end of the channel that the outbox's relay speaks into.

use std::time::Duration;

use fenced_cache::{BoxError, BoxFuture, ConfigError};
use fred::interfaces::PubsubInterface;
use fred::types::config::Config;
use outbox::events::{Message, Publish};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::CHANNEL;
use crate::connection::{ChannelError, Connection, parse};
use crate::envelope::encode;

/// Between two tries to connect: until then publishing fails at once, and does not hold up the numbering of events.
const RETRY: Duration = Duration::from_millis(250);

/// Publishes to [`CHANNEL`], over one connection that is made when it is needed.
///
/// An error ends the connection: what was sent on it may arrive or not, so nothing is sent behind it.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    not_before: Option<Instant>,
}

impl Publisher {
    /// A publisher to this Redis, which need not be there yet.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is not `redis://`.
    pub fn new(redis_url: &str) -> Result<Self, ConfigError> {
        Ok(Self { config: parse(redis_url)?, state: Mutex::default() })
    }

    async fn send(&self, messages: &[Message]) -> Result<(), ChannelError> {
        let mut state = self.state.lock().await;
        // Taken out: a caller that goes away in the middle leaves no connection whose state nobody knows.
        let connection = match state.connection.take() {
            Some(connection) if !connection.task.is_finished() => connection,
            _ => {
                if state.not_before.is_some_and(|at| at > Instant::now()) {
                    return Err(ChannelError("it could not be reached a moment ago".into()));
                }
                state.not_before = Some(Instant::now() + RETRY);
                Connection::open(&self.config).await?
            }
        };
        // One write, in this order. Who has heard a message is not asked: the table is there for those who have not.
        let pipeline = connection.client.pipeline();
        for message in messages.iter().filter_map(encode) {
            pipeline.publish::<(), _, _>(CHANNEL, message).await?;
        }
        for taken in pipeline.try_all::<i64>().await {
            taken?;
        }
        state.connection = Some(connection);
        Ok(())
    }
}

impl Publish for Publisher {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move { self.send(&messages).await.map_err(BoxError::from) })
    }
}
