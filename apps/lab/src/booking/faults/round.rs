//! One round: a fresh event, a victim in its section, others who press, the fault, and what came of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::super::strategy::Strategy;
use super::bed::{Bed, Replicas};
use super::buyers::{Answer, Client, Purchase, Sale, Wish, press};
use super::http;
use super::inject::Hit;
use super::judge::{self, Judged};
use super::look;
use super::matrix::{Fault, VICTIM_SEATS};

/// Those who press, over all replicas but the victim's.
const BUYERS: usize = 12;
/// How long they press before the fault; less long if they have an eighth of the seats by then.
const PRESSED: Duration = Duration::from_millis(150);
/// How long the event may take to be sold out, under the fault and after it.
const SALE: Duration = Duration::from_secs(25);
/// With all but the victim's seats sold, and nobody booking for so long, there is nothing more to be had.
const QUIET: Duration = Duration::from_secs(1);
/// What a section may take beside its payment when nothing disturbs it.
const STARTED: Duration = Duration::from_millis(400);
/// By how much later than the one who books next the victim may hear of its own booking, on a machine that is busy.
const HEARD: Duration = Duration::from_millis(100);
/// How long the victim's client waits for one answer: a process may be stopped for a while.
const VICTIM_WITHIN: Duration = Duration::from_secs(60);

/// What a round is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) bed: &'a Bed,
    pub(super) replicas: &'a Replicas,
    pub(super) fault: Fault,
    pub(super) strategy: Strategy,
    /// Counted from 0.
    pub(super) number: u32,
    /// Seats of the event: what the buyers are to get, and the victim's.
    pub(super) capacity: u32,
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) event: i64,
    pub(super) capacity: u32,
    /// How the victim was seen in its section.
    pub(super) inside: String,
    /// Seats sold before the fault: none while somebody else has the lock.
    pub(super) sold_before: u64,
    /// How the fault was seen.
    pub(super) injected: String,
    /// What the victim was told in the end.
    pub(super) victim: String,
    /// Whether the event was sold out, or all but what the victim kept, before the fault was ended.
    pub(super) sold_out_under_fault: bool,
    /// And after it.
    pub(super) sold_out: bool,
    /// The fault did not reach the victim, or not before it had booked: the others waited for its section and for nothing
    /// else.
    pub(super) undisturbed: bool,
    /// From the fault, or from its end for those who needed the store that was away, to somebody else's next booking, or
    /// to when the victim got in again. Absent when it was not disturbed, or when nothing was booked any more.
    pub(super) recovery_ms: Option<f64>,
    /// By how much later than the end of the holder's lease that was, where the holder had one.
    pub(super) after_lease_ms: Option<f64>,
    pub(super) judged: Judged,
    /// The longest that the lab's own count of the sold seats took, and the longest that a nap of 25 ms took: a stall of
    /// PostgreSQL's, and one of the lab's or of the machine.
    #[serde(default)]
    pub(super) longest_count_ms: f64,
    #[serde(default)]
    pub(super) longest_nap_ms: f64,
    /// Answers that no client should get, each kind once.
    pub(super) surprises: Vec<String>,
    /// Attempts that were not answered.
    pub(super) unanswered: u64,
}

/// What remains of a round for those who look at the event afterwards.
#[derive(Debug)]
pub(super) struct Sold {
    pub(super) event: i64,
    pub(super) capacity: u32,
    pub(super) ledger: Vec<Purchase>,
}

/// What the fault has meant for the others.
#[derive(Debug, Clone, Copy)]
struct Aftermath {
    undisturbed: bool,
    next: Option<Instant>,
}

impl Aftermath {
    /// `victim`: its purchase, and how long its payment takes. `others`: the first booking of somebody else after the fault.
    fn of(since: Instant, victim: Option<(&Purchase, Duration)>, others: Option<Instant>) -> Self {
        let booked = victim.filter(|(victim, _)| matches!(victim.answer, Answer::Booked(_)) && victim.ended > since);
        let Some((victim, work)) = booked else {
            return Self { undisturbed: false, next: others };
        };
        let first = others.is_none_or(|others| victim.ended <= others + HEARD);
        if first && victim.attempts == 1 && victim.ended - victim.began < work + STARTED {
            return Self { undisturbed: true, next: None };
        }
        // One that has begun again, and was the next, had got in when its payment began.
        let inside = victim.ended.checked_sub(work).filter(|inside| first && *inside > since);
        Self { undisturbed: false, next: [others, inside].into_iter().flatten().min() }
    }
}

/// # Errors
/// The round proves nothing: the victim was not seen inside, or the fault was not seen.
pub(super) async fn run(plan: Plan<'_>) -> anyhow::Result<(Round, Sold)> {
    let Plan { bed, replicas, fault, strategy, number, capacity } = plan;
    let (victims, others) = replicas.addresses()?;
    let name = format!("{}-{}-{number}", fault.as_str(), strategy.as_str());
    let event = http::create(others[0], &name, capacity, strategy).await?;
    let sale = Sale::new(event, format!("{name}-{event}"));
    let victim_name = format!("{}-victim", sale.name);

    // In a set, so that nobody goes on buying when this is dropped.
    let mut everybody = JoinSet::new();
    let victim = tokio::sync::oneshot::channel();
    {
        let (sale, answered) = (sale.clone(), victim.0);
        let replicas: Vec<_> = std::iter::once(victims).chain(others.iter().copied()).collect();
        let wish = Wish { buyer: victim_name.clone(), seats: VICTIM_SEATS, work: fault.victim_work(strategy) };
        everybody.spawn(async move {
            let purchase = Client::new(&replicas, VICTIM_WITHIN).buy(&sale, &wish, &sale.closed).await;
            sale.note(purchase.clone());
            // Nobody listens any more when the round has failed.
            let _ = answered.send(purchase);
        });
    }
    let mut victim = victim.1;
    let inside = look::inside(&bed.sight(), strategy, event).await?;
    let work = work(strategy);
    for buyer in 0..BUYERS {
        // Each has a replica that it prefers.
        let mut replicas = others.clone();
        replicas.rotate_left(buyer % others.len());
        everybody.spawn(press(sale.clone(), buyer, replicas, work));
    }
    let sold_before = pressed(bed, event, capacity).await?;
    ensure!(victim.try_recv().is_err(), "the victim had been answered before the fault");
    let mut injected =
        Hit { bed, replicas, fault, strategy, event, round: number }.inject().await.context("not verified")?;
    let mut slowest = Slowest::default();
    let sold_out_under_fault = sold_out(bed, &sale, capacity, &mut slowest).await;
    injected.end(bed).await.context("not verified")?;
    let purchase = tokio::time::timeout(VICTIM_WITHIN, &mut victim).await;
    let sold_out = sold_out(bed, &sale, capacity, &mut slowest).await;
    sale.closed.cancel();
    let purchase = match purchase {
        Ok(purchase) => purchase.ok(),
        // Its own patience ends soon after the sale.
        Err(_) => victim.await.ok(),
    };
    while let Some(ended) = everybody.join_next().await {
        ended.context("a buyer panicked")?;
    }

    let ledger = sale.purchases();
    let judged = judge::judge_event(&bed.database, event, capacity, &ledger, &HashSet::new()).await?;
    // A push is lost after the victim's section, which has nothing to do with the wait for it.
    let section = purchase.as_ref().filter(|_| fault != Fault::PushDropped);
    let section = section.map(|purchase| (purchase, fault.victim_work(strategy)));
    let after = Aftermath::of(injected.since, section, sale.first_booking(injected.since, &victim_name));
    let (undisturbed, next) = (after.undisturbed, after.next);
    let later = |from: Instant| next.map(|next| signed_ms(next, from));
    let round = Round {
        event,
        capacity,
        inside,
        sold_before,
        injected: injected.evidence,
        victim: purchase.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string),
        sold_out_under_fault,
        sold_out,
        undisturbed,
        recovery_ms: later(injected.since),
        after_lease_ms: injected.lease_ends.and_then(later),
        judged,
        longest_count_ms: slowest.count.as_secs_f64() * 1e3,
        longest_nap_ms: slowest.nap.as_secs_f64() * 1e3,
        surprises: sale.surprises(),
        unanswered: ledger.iter().map(|purchase| u64::from(purchase.unanswered)).sum(),
    };
    Ok((round, Sold { event, capacity, ledger }))
}

/// A buyer's payment, which gives sections a width. Longer where they do not wait for each other: they shall still be
/// buying when the fault comes.
fn work(strategy: Strategy) -> Duration {
    let alone =
        matches!(strategy, Strategy::None | Strategy::PgConditional | Strategy::PgUnits | Strategy::RedisReserve);
    Duration::from_millis(if alone { 10 } else { 1 })
}

/// Lets the buyers press. Returns how many seats are sold then.
async fn pressed(bed: &Bed, event: i64, capacity: u32) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let sold = judge::sold(&bed.database, event).await?;
        if sold * 8 >= u64::from(capacity) || began.elapsed() >= PRESSED {
            ensure!(sold + u64::from(VICTIM_SEATS) < u64::from(capacity), "the event was sold out before the fault");
            return Ok(sold);
        }
    }
}

fn signed_ms(to: Instant, from: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_secs_f64() * 1e3,
        None => -from.duration_since(to).as_secs_f64() * 1e3,
    }
}

/// What took longest while the lab waited: told apart from what the service took.
#[derive(Debug, Default)]
struct Slowest {
    count: Duration,
    nap: Duration,
}

/// Waits until nothing is left to be sold, by the lab's own count; not for ever.
async fn sold_out(bed: &Bed, sale: &Arc<Sale>, capacity: u32, slowest: &mut Slowest) -> bool {
    let began = Instant::now();
    loop {
        // While PostgreSQL is away nothing is sold either.
        let asked = Instant::now();
        let sold = judge::sold(&bed.database, sale.event).await.unwrap_or(0);
        slowest.count = slowest.count.max(asked.elapsed());
        if sold >= u64::from(capacity) {
            return true;
        }
        let quiet = sale.last_booking().unwrap_or(began).max(began).elapsed() > QUIET;
        if quiet && sold + u64::from(VICTIM_SEATS) >= u64::from(capacity) {
            return true;
        }
        if began.elapsed() > SALE {
            return false;
        }
        let asleep = Instant::now();
        tokio::time::sleep(Duration::from_millis(25)).await;
        slowest.nap = slowest.nap.max(asleep.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_section_that_goes_on_is_no_recovery() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let victim = |attempts, ended| Purchase {
            buyer: String::new(),
            seats: VICTIM_SEATS,
            answer: Answer::Booked(1),
            attempts,
            unanswered: 0,
            began: begun,
            ended,
        };
        let after = |victim: &Purchase, others| {
            let after = Aftermath::of(at(300), Some((victim, Duration::from_millis(2_500))), others);
            (after.undisturbed, after.next)
        };
        assert_eq!(after(&victim(1, at(2_600)), Some(at(2_610))), (true, None));
        // It had to begin again, in the same request or in another one, and was the first to get in.
        assert_eq!(after(&victim(1, at(4_000)), Some(at(4_010))), (false, Some(at(1_500))));
        assert_eq!(after(&victim(2, at(4_000)), Some(at(4_010))), (false, Some(at(1_500))));
        // The others were before it.
        assert_eq!(after(&victim(1, at(2_600)), Some(at(400))), (false, Some(at(400))));
        let sold_out = Purchase { answer: Answer::SoldOut, ..victim(1, at(2_600)) };
        assert_eq!(after(&sold_out, Some(at(2_700))), (false, Some(at(2_700))));
    }
}
