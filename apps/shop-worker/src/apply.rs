//! What happens to events: what they make stale is deleted, and what is not understood is kept.

use std::collections::HashSet;
use std::time::{Duration, Instant as Clock, SystemTime};

use bytes::Bytes;
use fenced_cache::Invalidate as _;
use outbox::events::Event;
use shop_events::{ShopEvent, Unreadable};
use tokio::time::{Instant, sleep};

use crate::lead::Seat;
use crate::worker::Worker;

/// The most names that are deleted at once: they are in flight together, and a reader's commands queue behind them.
const TOGETHER: usize = 500;
/// Between two tries to have deletions confirmed.
const RETRY_FIRST: Duration = Duration::from_millis(25);
const RETRY_LAST: Duration = Duration::from_millis(250);
/// The most messages without a number that are written down, and how much of each.
const STRAYS: usize = 1_000;
const STRAY_BYTES: usize = 4_096;
/// How long none is written down once there are so many.
const FULL: Duration = Duration::from_secs(60);
/// The most events kept aside that are looked at together.
const ASIDE: usize = 1_000;

impl Worker {
    /// Applies events that follow what is done, in their order, and returns when each deletion is confirmed.
    pub(crate) async fn apply(
        &mut self,
        seat: &mut Seat,
        events: Vec<Event>,
        from_channel: bool,
    ) -> Result<(), sqlx::Error> {
        let Some(last) = events.last().map(|event| event.number) else { return Ok(()) };
        self.known = self.known.max(last);
        self.stands(events.first());
        let mut names = HashSet::new();
        for event in &events {
            match ShopEvent::parse(&event.payload) {
                Ok(understood) => self.name(&understood, &mut names),
                Err(unreadable) => self.keep_event(seat, event, &unreadable).await?,
            }
        }
        self.delete(seat, names).await?;
        self.done = last;
        self.metrics.applied.increment(u64::try_from(events.len()).unwrap_or(u64::MAX));
        if from_channel {
            let now = SystemTime::now();
            for event in &events {
                // The two clocks are not one.
                let delay = now.duration_since(event.recorded_at).unwrap_or_default();
                self.metrics.delay.record(delay.as_secs_f64());
            }
        }
        self.stands(None);
        Ok(())
    }

    fn name(&self, event: &ShopEvent, names: &mut HashSet<Bytes>) {
        let effects = self.names.effects(event);
        names.extend(effects.keys().chain(effects.tags()).cloned());
    }

    /// Deletes each name, however often and however long that takes: behind an event that is not applied nothing is done.
    async fn delete(&mut self, seat: &mut Seat, names: HashSet<Bytes>) -> Result<(), sqlx::Error> {
        let names: Vec<Bytes> = names.into_iter().collect();
        for together in names.chunks(TOGETHER) {
            let mut retry = RETRY_FIRST;
            while let Err(unconfirmed) = self.cache.invalidate_names(together.to_vec()).await {
                self.metrics.unconfirmed.increment(1);
                if let Some(times) = self.unconfirmed_log.now(Clock::now()) {
                    tracing::warn!(%unconfirmed, times, "deletions are not confirmed; trying again until they are");
                }
                // Redis may be away for long: the seat is ours meanwhile.
                self.save(seat).await?;
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_LAST);
            }
            self.metrics.names.increment(u64::try_from(together.len()).unwrap_or(u64::MAX));
            if self.touched.elapsed() > Duration::from_millis(500) {
                self.save(seat).await?;
            }
        }
        Ok(())
    }

    /// A committed change that this release does not understand: the next one may.
    async fn keep_event(&mut self, seat: &mut Seat, event: &Event, unreadable: &Unreadable) -> Result<(), sqlx::Error> {
        seat.set_aside(event, &unreadable.to_string()).await?;
        self.metrics.kept_aside("event", unreadable.as_str());
        if let Some(times) = self.aside_log.now(Clock::now()) {
            tracing::warn!(number = event.number, %unreadable, times, "an event is not understood and kept aside");
        }
        Ok(())
    }

    /// Something on the channel that is no message of any relay that this release knows. If it was an event, its number is missing,
    /// and it is found in the table.
    pub(crate) async fn keep_stray(
        &mut self,
        seat: &mut Seat,
        message: &[u8],
        unreadable: &Unreadable,
    ) -> Result<(), sqlx::Error> {
        self.metrics.kept_aside("message", unreadable.as_str());
        if let Some(times) = self.aside_log.now(Clock::now()) {
            tracing::warn!(%unreadable, times, "a message on the channel is not understood");
        }
        let now = Instant::now();
        if now >= self.full_until {
            let beginning = message.get(..STRAY_BYTES).unwrap_or(message);
            if !seat.set_aside_stray(beginning, &unreadable.to_string(), STRAYS).await? {
                self.full_until = now + FULL;
                tracing::warn!(most = STRAYS, "no more messages are kept: somebody should look at those that are");
            }
        }
        Ok(())
    }

    /// Applies what a release before did not understand and this one does.
    pub(crate) async fn retry_aside(&mut self, seat: &mut Seat) -> Result<(), sqlx::Error> {
        let mut after = 0;
        loop {
            let aside = seat.aside(after, ASIDE).await?;
            let Some(last) = aside.last() else { return Ok(()) };
            after = last.number;
            let mut names = HashSet::new();
            let mut understood = Vec::new();
            for aside in &aside {
                if let Ok(event) = ShopEvent::parse(&aside.payload) {
                    self.name(&event, &mut names);
                    understood.push(aside.number);
                }
            }
            if understood.is_empty() {
                continue;
            }
            self.delete(seat, names).await?;
            seat.understood(&understood).await?;
            tracing::info!(events = understood.len(), "events that were kept aside are understood and applied");
        }
    }
}
