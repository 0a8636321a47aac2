//! What a leader does: takes events in the order of their numbers, and notices what is missing.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use outbox::events::{Event, Message};
use shop_events::decode;
use tokio::time::{Instant, sleep_until};

use crate::lead::Seat;
use crate::listen::Item;
use crate::worker::Worker;

/// The most events of the channel that are applied together.
const BATCH: usize = 1_000;
/// How often the position is recorded while it moves.
const SAVE: Duration = Duration::from_millis(100);
/// How often it is recorded while it does not: it shows that we are there, and must be well below the session's timeout.
const TOUCH: Duration = Duration::from_millis(500);

/// Why events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// A message has come whose predecessor has not.
    Number(u64),
    /// There is a later number than that of the last message.
    Heartbeat(u64),
    Lagged,
    Connection,
    Silence,
}

impl Gap {
    fn as_str(self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Heartbeat(_) => "heartbeat",
            Self::Lagged => "lagged",
            Self::Connection => "connection",
            Self::Silence => "silence",
        }
    }

    /// The number that has to be reached. Without one nobody knows yet whether anything is missing.
    fn until(self) -> Option<u64> {
        match self {
            Self::Number(number) | Self::Heartbeat(number) => Some(number),
            Self::Lagged | Self::Connection | Self::Silence => None,
        }
    }
}

/// What some items of the channel amount to.
#[derive(Debug, Default)]
struct Heard {
    /// Each follows the one before it, and the first one what is done.
    events: Vec<Event>,
    strays: Vec<(Bytes, shop_events::Unreadable)>,
    /// Behind the events.
    gap: Option<Gap>,
    /// The event that showed the gap.
    beyond: Option<Event>,
}

impl Worker {
    /// Leads until the seat is lost.
    pub(crate) async fn follow(&mut self, seat: &mut Seat) -> Result<Infallible, sqlx::Error> {
        self.done = seat.position().await?;
        (self.saved, self.known, self.touched) = (self.done, self.done, Instant::now());
        self.full_until = Instant::now();
        self.stands(None);
        self.retry_aside(seat).await?;
        self.read_table(seat).await?;
        self.save_at = Instant::now() + SAVE;
        self.beat();
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.save_at) => self.save(seat).await?,
                // Before the silence: a worker that was busy has heartbeats waiting for it.
                Some(item) = self.items.recv() => self.take(seat, item).await?,
                () = sleep_until(self.beat_by) => self.silence(seat).await?,
            }
        }
    }

    async fn take(&mut self, seat: &mut Seat, item: Item) -> Result<(), sqlx::Error> {
        let Heard { events, strays, gap, beyond } = self.hear(item);
        self.apply(seat, events, true).await?;
        for (message, reason) in strays {
            self.keep_stray(seat, &message, &reason).await?;
        }
        match gap {
            Some(gap) if self.settings.gap_repair => self.close(seat, gap).await,
            Some(gap) => self.skip(seat, gap, beyond).await,
            None => Ok(()),
        }
    }

    /// Looks at an item, and at those that have come meanwhile, up to the first gap.
    fn hear(&mut self, first: Item) -> Heard {
        let mut heard = Heard::default();
        let mut next = self.done + 1;
        let mut item = Some(first);
        while let Some(now) = item {
            match now {
                Item::Subscribed => heard.gap = Some(Gap::Connection),
                Item::Lagged => heard.gap = Some(Gap::Lagged),
                Item::Message(bytes) => match decode(&bytes) {
                    Ok(message) => self.place(message, &mut next, &mut heard),
                    Err(reason) => heard.strays.push((bytes, reason)),
                },
            }
            if heard.gap.is_some() || heard.events.len() + heard.strays.len() >= BATCH {
                break;
            }
            item = self.items.try_recv().ok();
        }
        heard
    }

    fn place(&mut self, message: Message, next: &mut u64, heard: &mut Heard) {
        match message {
            Message::Event(event) if event.number == *next => {
                *next += 1;
                heard.events.push(event);
            }
            Message::Event(event) if event.number < *next => self.metrics.duplicates.increment(1),
            Message::Event(event) => {
                heard.gap = Some(Gap::Number(event.number));
                heard.beyond = Some(event);
            }
            Message::Heartbeat { last } => {
                self.beat();
                // A lower one is late: it was overtaken on its way.
                if last >= *next {
                    heard.gap = Some(Gap::Heartbeat(last));
                }
            }
            // `decode` knows no others.
            _ => {}
        }
    }

    /// Reads what is missing.
    async fn close(&mut self, seat: &mut Seat, gap: Gap) -> Result<(), sqlx::Error> {
        let how = gap.as_str();
        let before = self.done;
        if gap.until().is_some() {
            self.metrics.gap_noticed(how);
            self.log_gap(gap);
        }
        let read = self.read_table(seat).await?;
        if gap.until().is_none() {
            if read == 0 {
                return Ok(());
            }
            self.metrics.gap_noticed(how);
            self.log_gap(gap);
        }
        self.metrics.events_repaired.increment(read);
        if gap.until().is_none_or(|number| self.done >= number) {
            self.metrics.gap_repaired(how);
            tracing::debug!(how, from = before + 1, to = self.done, "gap repaired");
        } else {
            // Published and not in the table: not by the relay. It moves nothing, or what comes next would be passed over.
            self.metrics.kept_aside("message", "number");
        }
        Ok(())
    }

    /// Goes past what is missing, as a worker does that knows nothing of numbers. For experiments.
    async fn skip(&mut self, seat: &mut Seat, gap: Gap, beyond: Option<Event>) -> Result<(), sqlx::Error> {
        let Some(number) = gap.until() else { return Ok(()) };
        self.metrics.gap_noticed(gap.as_str());
        self.log_gap(gap);
        let skipped = number - self.done - u64::from(beyond.is_some());
        self.metrics.events_skipped.increment(skipped);
        self.done += skipped;
        self.stands(None);
        self.apply(seat, beyond.into_iter().collect(), true).await
    }

    fn log_gap(&mut self, gap: Gap) {
        if let Some(times) = self.gap_log.now(std::time::Instant::now()) {
            tracing::warn!(how = gap.as_str(), done = self.done, until = gap.until(), times, "events are missing");
        }
    }

    /// No heartbeat in time.
    async fn silence(&mut self, seat: &mut Seat) -> Result<(), sqlx::Error> {
        self.metrics.heartbeats_missed.increment(1);
        self.beat_by = Instant::now() + self.settings.heartbeat;
        if !self.settings.gap_repair {
            return Ok(());
        }
        // The channel may be dead and the table alive.
        self.close(seat, Gap::Silence).await
    }

    /// Applies what the table has behind what is done; how much that was.
    async fn read_table(&mut self, seat: &mut Seat) -> Result<u64, sqlx::Error> {
        let before = self.done;
        self.known = self.known.max(seat.last().await?);
        loop {
            let page = seat.page(self.done, self.settings.page).await?;
            if page.lost > 0 {
                // Nobody knows what they were about. They are older than anything that the cache keeps: see
                // `EventSettings::absence`.
                tracing::error!(
                    lost = page.lost,
                    after = self.done,
                    "events were pruned before any worker applied them"
                );
                self.metrics.events_lost.increment(page.lost);
                self.done += page.lost;
            }
            let full = page.events.len() >= self.settings.page;
            self.apply(seat, page.events, false).await?;
            self.save(seat).await?;
            if !full {
                return Ok(self.done - before);
            }
        }
    }

    /// Tells how far we are.
    pub(crate) fn stands(&mut self, oldest: Option<&Event>) {
        self.known = self.known.max(self.done);
        self.status.stands_at(self.done, self.known, oldest.map(|event| event.recorded_at));
    }

    /// Records the position, if it has moved or if it is time to show that we are there.
    pub(crate) async fn save(&mut self, seat: &mut Seat) -> Result<(), sqlx::Error> {
        self.save_at = Instant::now() + SAVE;
        if self.done == self.saved && self.touched.elapsed() < TOUCH {
            return Ok(());
        }
        seat.advance(self.done).await?;
        (self.saved, self.touched) = (self.done, Instant::now());
        Ok(())
    }
}
