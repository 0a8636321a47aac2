//! Numbers events and publishes them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::types::time::OffsetDateTime;
use tokio::select;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::condition::Condition;
use crate::events::read::{event, signed, unsigned};
use crate::events::{COUNT_MOST, Event, EventSettings, Message, Metrics, Publish};
use crate::journal::rows;
use crate::outbox::Outbox;
use crate::progress::{backoff, jittered};
use crate::session::Session;

/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// How often a relay that stands by asks whether somebody leads.
const STANDBY_POLL: Duration = Duration::from_millis(250);

pub(crate) struct EventRelay {
    outbox: Outbox,
    settings: EventSettings,
    publish: Arc<dyn Publish>,
    metrics: Arc<Metrics>,
    /// Who we are in the counter's row.
    name: String,
    leading: Option<Leading>,
    /// Kept while it leads: a pool that is busy must not hold up events, and giving a connection back costs a round trip.
    session: Option<Session>,
    heartbeat_at: Instant,
    count_at: Instant,
    failures: u32,
    database: Condition,
    channel: Condition,
}

/// What a leader knows.
struct Leading {
    /// The last number given out.
    last: u64,
    /// Until then nobody else leads; counted from before the lease was asked for.
    until: Instant,
}

/// Number, payload, time, and the seconds since then.
type Numbered = (i64, Vec<u8>, OffsetDateTime, f64);

impl EventRelay {
    pub(crate) fn new(
        outbox: Outbox,
        settings: EventSettings,
        publish: Arc<dyn Publish>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            outbox,
            settings,
            publish,
            metrics,
            name: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            leading: None,
            session: None,
            heartbeat_at: now,
            count_at: now,
            failures: 0,
            database: Condition::new("the event relay's database"),
            channel: Condition::new("the event relay's channel"),
        }
    }

    /// Runs until `shutdown`, and then gives its lease back. A transaction that is under way then is dropped: either it was
    /// committed, and readers find its events in the table, or the next leader numbers them.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        shutdown
            .run_until_cancelled(async {
                loop {
                    let wait = self.turn().await;
                    if self.leading.is_some() {
                        select! {
                            () = self.outbox.inner.poked.notified() => {}
                            () = sleep(wait) => {}
                        }
                    } else {
                        sleep(wait).await;
                    }
                }
            })
            .await;
        self.metrics.leading.set(0.0);
        self.session = None;
        // Also when it is not known to lead: its last try to may have worked.
        let resign = sqlx::query(&self.outbox.inner.events.resign).bind(self.name.clone());
        if let Err(error) = self.outbox.ask(move |connection| Box::pin(resign.execute(connection))).await {
            tracing::debug!(%error, "the lease of the event relay was not given back; it lapses");
        }
    }

    /// One round; returns how long to wait for the next.
    async fn turn(&mut self) -> Duration {
        let worked = self.try_turn().await;
        self.metrics.leading.set(if self.leading.is_some() { 1.0 } else { 0.0 });
        if self.leading.is_none() {
            self.session = None;
        }
        match worked {
            Ok(wait) => {
                self.failures = 0;
                self.database.worked();
                wait
            }
            Err(error) => {
                // What was committed is not known, so neither is the last number.
                self.leading = None;
                self.metrics.database_errors.increment(1);
                self.database.failed(&error);
                self.failures = self.failures.saturating_add(1);
                // The lease is ours for a while yet, and nobody else numbers meanwhile: the first tries are quick.
                if self.failures < 3 { Duration::from_millis(10) } else { backoff(self.failures - 3) }
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Duration, sqlx::Error> {
        if self.leading.is_none() {
            if !self.lead().await? {
                return Ok(jittered(STANDBY_POLL));
            }
            // First of all: readers may have missed the last messages of the leader before.
            self.heartbeat_at = Instant::now();
            self.beat().await?;
        }
        let full = self.number().await?;
        self.beat().await?;
        self.count().await?;
        if full || self.leading.is_none() {
            return Ok(Duration::ZERO);
        }
        Ok(self.settings.poll.min(self.heartbeat_at.saturating_duration_since(Instant::now())))
    }

    /// Takes the lease if nobody has it.
    async fn lead(&mut self) -> Result<bool, sqlx::Error> {
        let leadable = sqlx::query_scalar::<_, bool>(&self.outbox.inner.events.leadable).bind(self.name.clone());
        if !self.outbox.ask(move |connection| Box::pin(leadable.fetch_one(connection))).await? {
            return Ok(false);
        }
        if !self.renew().await? {
            return Ok(false);
        }
        tracing::info!("this process numbers and publishes events");
        Ok(true)
    }

    /// Begins or goes on to lead; `false` if somebody else does.
    async fn renew(&mut self) -> Result<bool, sqlx::Error> {
        let mut session = self.take_session().await?;
        let renewed = self.renew_in(&mut session).await?.is_some();
        self.session = Some(session);
        Ok(renewed)
    }

    /// To be put back when it is known to be fine: one that is not is closed when it is dropped.
    async fn take_session(&mut self) -> Result<Session, sqlx::Error> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.outbox.session().await,
        }
    }

    /// Locks the counter's row for the transaction that `session` is in, if it is in one. The last number.
    async fn renew_in(&mut self, session: &mut Session) -> Result<Option<u64>, sqlx::Error> {
        let until = Instant::now() + self.settings.lease;
        let lead = sqlx::query_scalar::<_, i64>(&self.outbox.inner.events.lead)
            .bind(self.name.clone())
            .bind(self.settings.lease.as_secs_f64());
        let last = session.run(move |connection| Box::pin(lead.fetch_optional(connection))).await?.map(unsigned);
        if last.is_none() && self.leading.take().is_some() {
            tracing::warn!("another process numbers events now: this one was too slow to renew its lease");
        }
        if let Some(last) = last {
            self.leading = Some(Leading { last, until });
        }
        Ok(last)
    }

    /// Numbers and publishes one batch. Whether there may be more.
    async fn number(&mut self) -> Result<bool, sqlx::Error> {
        let mut session = self.take_session().await?;
        // Asked outside of any transaction: most polls find nothing.
        let pending = sqlx::query_scalar::<_, bool>(&self.outbox.inner.events.pending);
        if !session.run(move |connection| Box::pin(pending.fetch_one(connection))).await? {
            self.session = Some(session);
            return Ok(false);
        }
        session.begin().await?;
        // Not the lease of before: it may have lapsed, and another relay may be publishing.
        let Some(before) = self.renew_in(&mut session).await? else {
            session.rollback().await?;
            return Ok(false);
        };
        let number = sqlx::query_as::<_, Numbered>(&self.outbox.inner.events.number)
            .bind(signed(before))
            .bind(rows(self.settings.batch));
        let numbered = session.run(move |connection| Box::pin(number.fetch_all(connection))).await?;
        let count = numbered.len();
        let last = before + u64::try_from(count).unwrap_or(u64::MAX);
        session.commit().await?;
        self.session = Some(session);
        if let Some(leading) = &mut self.leading {
            leading.last = last;
        }
        self.metrics.last.set(gauge(last));
        self.metrics.numbered.increment(last - before);
        let mut events: Vec<Event> = Vec::with_capacity(count);
        for (number, payload, recorded_at, delay) in numbered {
            self.metrics.delay.record(delay.max(0.0));
            events.push(event((number, payload, recorded_at)));
        }
        if self.publish(events.into_iter().map(Message::Event).collect()).await {
            self.metrics.published.increment(last - before);
        }
        Ok(count >= self.settings.batch)
    }

    /// Publishes the last number when it is time to, and renews the lease.
    async fn beat(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        if now < self.heartbeat_at {
            return Ok(());
        }
        self.heartbeat_at = now + self.settings.heartbeat;
        // Numbering renews it as well.
        let renewed_late = |leading: &Leading| leading.until < now + self.settings.lease / 2 + self.settings.heartbeat;
        if self.leading.as_ref().is_some_and(renewed_late) && !self.renew().await? {
            return Ok(());
        }
        let Some(Leading { last, until }) = self.leading else { return Ok(()) };
        if until > Instant::now() {
            self.metrics.last.set(gauge(last));
            self.publish(vec![Message::Heartbeat { last }]).await;
        }
        Ok(())
    }

    async fn publish(&mut self, messages: Vec<Message>) -> bool {
        if messages.is_empty() {
            return true;
        }
        let publishing = AssertUnwindSafe(async { self.publish.publish(messages).await }).catch_unwind();
        let failed = match timeout(self.settings.publish_within, publishing).await {
            Ok(Ok(Ok(()))) => {
                self.channel.worked();
                return true;
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "publishing panicked".to_owned(),
            Err(_) => format!("publishing did not end within {:?}", self.settings.publish_within),
        };
        self.metrics.publish_errors.increment(1);
        self.channel.failed(&failed);
        false
    }

    async fn count(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        if now < self.count_at {
            return Ok(());
        }
        self.count_at = now + COUNT_EVERY;
        let backlog = sqlx::query_as::<_, (i64, f64, i64)>(&self.outbox.inner.events.backlog).bind(COUNT_MOST);
        let (pending, age, lag) = self.outbox.ask(move |connection| Box::pin(backlog.fetch_one(connection))).await?;
        self.metrics.pending.set(gauge(unsigned(pending)));
        self.metrics.pending_age.set(age.max(0.0));
        self.metrics.reader_lag.set(gauge(unsigned(lag)));
        Ok(())
    }
}

/// Gauges are floats, exact up to 2^53: more events than a century of them has.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn gauge(number: u64) -> f64 {
    number as f64
}
