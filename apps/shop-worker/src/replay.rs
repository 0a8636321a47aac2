//! What the cache is told again after its Redis was replaced.

use std::time::Duration;

use fenced_cache::{BoxFuture, Identity, Journal, JournalError, Record, RecordId, Settled, TransactionId};
use outbox::Outbox;
use shop_events::{Names, ShopEvent};
use sqlx::PgPool;
use tokio::time::timeout;

/// The longest that one question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The events as the cache's journal: a primary that was promoted may not have heard of deletions that were confirmed.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) outbox: Outbox,
    pub(crate) pool: PgPool,
    pub(crate) names: Names,
    /// Not where gaps are not repaired: this would repair them.
    pub(crate) on: bool,
}

impl Replay {
    async fn page(&self, window: Duration, after: RecordId, limit: usize) -> Result<Vec<Record>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let after = match u64::try_from(after.0) {
            Ok(number) => number,
            // "From the beginning."
            Err(_) => self.outbox.last_event_before(&mut connection, window).await?,
        };
        let page = self.outbox.events_after(&mut connection, after, limit).await?;
        let record = |event: &outbox::events::Event| {
            // What is not understood is kept aside by the leader.
            let effects = ShopEvent::parse(&event.payload).map(|event| self.names.effects(&event)).unwrap_or_default();
            Record {
                id: RecordId(i64::try_from(event.number).unwrap_or(i64::MAX)),
                keys: effects.keys().cloned().collect(),
                tags: effects.tags().cloned().collect(),
            }
        };
        Ok(page.events.iter().map(record).collect())
    }
}

/// The worker's own name for a node: the API's replicas, which share the table, replay other rows.
fn own(node: &str) -> String {
    format!("{}/{node}", crate::READER)
}

impl Journal for Replay {
    fn applied(&self, _: RecordId) {}

    fn settle(&self, transaction: TransactionId) -> BoxFuture<'_, Result<Settled, JournalError>> {
        self.outbox.settle(transaction)
    }

    /// None: what is not applied is what the worker is about to apply.
    fn unapplied(&self, _: RecordId, _: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn younger_than(
        &self,
        window: Duration,
        after: RecordId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move {
            if !self.on {
                return Ok(Vec::new());
            }
            match timeout(LIMIT, self.page(window, after, limit)).await {
                Ok(page) => page.map_err(|error| JournalError(error.into())),
                Err(elapsed) => Err(JournalError(elapsed.into())),
            }
        })
    }

    fn identity(&self, node: &str) -> BoxFuture<'_, Result<Option<Identity>, JournalError>> {
        self.outbox.identity(&own(node))
    }

    fn remember(&self, node: &str, identity: &Identity) -> BoxFuture<'_, Result<(), JournalError>> {
        self.outbox.remember(&own(node), identity)
    }
}
