//! How a reader finds what the channel lost, and says how far it has got.

use std::time::Duration;

use bytes::Bytes;
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;

use crate::events::Event;
use crate::journal::rows;
use crate::outbox::Outbox;

pub(crate) type Row = (i64, Vec<u8>, OffsetDateTime);

/// Events from the table, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events, lowest number first. Without gaps: numbers are given out and become visible together.
    pub events: Vec<Event>,
    /// Numbers after the asked one that are no more: pruned, because the reader was away for longer than
    /// [`absence`](crate::events::EventSettings::absence).
    pub lost: u64,
}

/// What a reader has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The event's number.
    pub number: u64,
    /// What nobody understood.
    pub payload: Bytes,
}

/// One reader's place in the events, kept in the database. Its statements run on the caller's connection and have no time
/// limit but that connection's `statement_timeout` and the caller's own.
#[derive(Clone, Debug)]
pub struct Reader {
    outbox: Outbox,
    name: String,
}

impl Outbox {
    /// Events with a number above `after`, lowest first, at most `limit`.
    ///
    /// Fewer than `limit` are all that there are. Statements run on the caller's connection; there is no time limit here.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn events_after(
        &self,
        connection: &mut PgConnection,
        after: u64,
        limit: usize,
    ) -> Result<EventPage, sqlx::Error> {
        let page = sqlx::query_as::<_, Row>(&self.inner.events.page).bind(signed(after)).bind(rows(limit));
        let events: Vec<Event> = page.fetch_all(&mut *connection).await?.into_iter().map(event).collect();
        let lost = match events.first() {
            Some(first) => first.number.saturating_sub(after.saturating_add(1)),
            // Asked second: a page without events, and a number given out since, would look like a loss.
            None => match self.last_event(connection).await?.saturating_sub(after) {
                0 => 0,
                _ => return self.pruned_or_new(connection, after, limit).await,
            },
        };
        Ok(EventPage { events, lost })
    }

    /// There was nothing after `after`, and then the counter was above it: either there is something by now, or it is gone.
    async fn pruned_or_new(
        &self,
        connection: &mut PgConnection,
        after: u64,
        limit: usize,
    ) -> Result<EventPage, sqlx::Error> {
        let last = self.last_event(connection).await?;
        let page = sqlx::query_as::<_, Row>(&self.inner.events.page).bind(signed(after)).bind(rows(limit));
        let events: Vec<Event> = page.fetch_all(connection).await?.into_iter().map(event).collect();
        // Read in this order, what is up to `last` and not there has been deleted.
        let next = events.first().map_or(last.saturating_add(1), |first| first.number);
        Ok(EventPage { events, lost: next.saturating_sub(after.saturating_add(1)) })
    }

    /// The last number given out; 0 before the first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn last_event(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        sqlx::query_scalar(&self.inner.events.last).fetch_one(connection).await.map(unsigned)
    }

    /// The last number that was given out before `window` began; 0 if there is none. Where a replay starts.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn last_event_before(&self, connection: &mut PgConnection, window: Duration) -> Result<u64, sqlx::Error> {
        let last = sqlx::query_scalar(&self.inner.events.last_before).bind(window.as_secs_f64());
        last.fetch_one(connection).await.map(unsigned)
    }

    /// The reader of this name.
    #[must_use]
    pub fn reader(&self, name: &str) -> Reader {
        Reader { outbox: self.clone(), name: name.to_owned() }
    }

    /// A key for an advisory lock of one's own in this schema, the same in every process and release: for readers of
    /// which one at a time reads.
    #[must_use]
    pub fn lock_key(&self, purpose: &str) -> i64 {
        self.schema().lock_key(purpose)
    }
}

impl Reader {
    /// The number up to which this reader has applied everything. A reader that is not known yet is registered, with
    /// everything that the table holds before it.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn position(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let position = sqlx::query_scalar(&self.outbox.inner.events.position).bind(self.name.clone());
        position.fetch_one(connection).await.map(unsigned)
    }

    /// Records that everything up to `number` has been applied, and that this reader is there: pruning waits for readers
    /// that have been seen lately, so call it now and then even with the same number. A lower number changes nothing.
    ///
    /// # Errors
    /// Whatever the database says. Nothing is lost with it: events are applied again.
    pub async fn advance(&self, connection: &mut PgConnection, number: u64) -> Result<(), sqlx::Error> {
        let advance = sqlx::query(&self.outbox.inner.events.advance).bind(self.name.clone()).bind(signed(number));
        advance.execute(connection).await.map(drop)
    }

    /// Keeps an event that was not understood, for a release that does. Once only, however often it is called.
    ///
    /// # Errors
    /// Whatever the database says: then do not go past the event.
    pub async fn set_aside(
        &self,
        connection: &mut PgConnection,
        event: &Event,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        let set_aside = sqlx::query(&self.outbox.inner.events.set_aside)
            .bind(self.name.clone())
            .bind(signed(event.number))
            .bind(event.payload.to_vec())
            .bind(reason.to_owned());
        set_aside.execute(connection).await.map(drop)
    }

    /// Keeps what came over the channel and is no event, for a person to look at; `false` if there are `most` already.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn set_aside_stray(
        &self,
        connection: &mut PgConnection,
        message: &[u8],
        reason: &str,
        most: usize,
    ) -> Result<bool, sqlx::Error> {
        let set_aside = sqlx::query(&self.outbox.inner.events.set_aside_stray)
            .bind(self.name.clone())
            .bind(message.to_vec())
            .bind(reason.to_owned())
            .bind(rows(most));
        Ok(set_aside.execute(connection).await?.rows_affected() > 0)
    }

    /// Events that were set aside, with a number above `after`, lowest first, at most `limit`.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn aside(
        &self,
        connection: &mut PgConnection,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Aside>, sqlx::Error> {
        let aside = sqlx::query_as::<_, (i64, Vec<u8>)>(&self.outbox.inner.events.aside)
            .bind(self.name.clone())
            .bind(signed(after))
            .bind(rows(limit));
        let aside = aside.fetch_all(connection).await?.into_iter();
        Ok(aside.map(|(number, payload)| Aside { number: unsigned(number), payload: payload.into() }).collect())
    }

    /// Forgets events that were set aside and have been applied since.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn understood(&self, connection: &mut PgConnection, numbers: &[u64]) -> Result<(), sqlx::Error> {
        let numbers: Vec<i64> = numbers.iter().copied().map(signed).collect();
        let understood = sqlx::query(&self.outbox.inner.events.understood).bind(self.name.clone()).bind(numbers);
        understood.execute(connection).await.map(drop)
    }
}

pub(crate) fn event((number, payload, recorded_at): Row) -> Event {
    Event { number: unsigned(number), payload: payload.into(), recorded_at: recorded_at.into() }
}

/// A number as SQL takes it. What is too large for it was never given out.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The database counts up from 0.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
