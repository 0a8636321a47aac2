//! What is asked of every backend. `Err` says what went wrong.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use fenced_lock::{Kind, LockError, Name};
use rustix::process::Signal;
use testbed::Direction;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::helper::Helper;
use super::servers::Bed;
use super::stores::Process;
use crate::bed::{LEASE, PATIENCE, until, within};
use crate::sections::counts;

pub(crate) type Checked = Result<(), String>;

/// The longest that a lock may stay with somebody who is gone: its lease, the first lease of a waiter that is gone as
/// well, a poll; and what a busy machine adds.
const SOON: Duration = Duration::from_millis(1_500 + 900 + 150 + 1_500);

fn name(event: i64) -> Name {
    Name::new("event", event).unwrap()
}

/// Reads, takes its time, writes.
async fn book(process: &Process, event: i64, buyer: &str, inside: Duration) -> Result<bool, String> {
    let booking = async {
        let mut section = process.sections.enter(event, within(PATIENCE)).await?;
        let (capacity, booked) = counts(&mut section, event).await?;
        if booked >= capacity {
            return Ok(false);
        }
        sleep(inside).await;
        let mut write = section.write().await?;
        sqlx::query("insert into bookings (event, buyer, fence) values ($1, $2 || ' ' || $1, 0)")
            .bind(event)
            .bind(buyer)
            .execute(&mut *write)
            .await?;
        Ok(write.commit().await.is_ok())
    };
    booking.await.map_err(|error: fenced_lock::SectionError| format!("{buyer}: {error}"))
}

async fn sold_at_most(bed: &Bed, event: i64, capacity: i64) -> Checked {
    match bed.booked(event).await {
        0 => Err("nothing was sold".into()),
        sold if sold > capacity => Err(format!("{sold} of {capacity} seats sold")),
        _ => Ok(()),
    }
}

pub(crate) async fn exclusion(bed: &Bed) -> Checked {
    let event = bed.event(5).await;
    let processes = [Arc::new(bed.process().await), Arc::new(bed.process().await)];
    let mut buyers = JoinSet::new();
    for buyer in 0..12_usize {
        let process = Arc::clone(&processes[buyer % 2]);
        buyers.spawn(async move { book(&process, event, &format!("buyer {buyer}"), Duration::from_millis(5)).await });
    }
    while let Some(booked) = buyers.join_next().await {
        booked.unwrap()?;
    }
    sold_at_most(bed, event, 5).await
}

/// A holder that has vanished without a word.
pub(crate) async fn expiry(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let ((holder, network), next) = (bed.disturbed().await, bed.process().await);
    let _guard = holder.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    network.vanish();
    let began = Instant::now();
    let guard = next.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    let took = began.elapsed();
    drop(guard);
    if took <= SOON { Ok(()) } else { Err(format!("had after {took:?}")) }
}

/// Its lease passes after its write has begun, and it does not notice.
pub(crate) async fn paused_in_write(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let ((holder, network), next) = (bed.disturbed().await, bed.process().await);
    let mut section = holder.sections.enter(event, within(PATIENCE)).await.map_err(|error| error.to_string())?;
    counts(&mut section, event).await.map_err(|error| error.to_string())?;
    let mut write = section.write().await.map_err(|error| error.to_string())?;
    network.hold();
    let mut booking = tokio::spawn(async move { book(&next, event, "next", Duration::ZERO).await });
    let booked = timeout(2 * LEASE, &mut booking).await;
    network.release();
    let late = sqlx::query("insert into bookings (event, buyer, fence) values ($1, 'late ' || $1, 0)").bind(event);
    if late.execute(&mut *write).await.is_ok() {
        let _ = write.commit().await;
    } else {
        drop(write);
    }
    match booked {
        Ok(booked) => booked.unwrap()?,
        Err(_) => booking.await.unwrap()?,
    };
    sold_at_most(bed, event, 1).await
}

/// SIGSTOP between reading and writing, until somebody else has been inside.
pub(crate) async fn stopped(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let next = bed.process().await;
    let mut holder = Helper::inside(&bed.stores, event).await;
    holder.signal(Signal::STOP);
    let booked = timeout(PATIENCE, book(&next, event, "next", Duration::ZERO)).await;
    holder.signal(Signal::CONT);
    if !booked.map_err(|_| "nobody else was let in")?? {
        return Err("nobody else could book".into());
    }
    holder.writes().await;
    sold_at_most(bed, event, 1).await
}

pub(crate) async fn killed(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let next = bed.process().await;
    let holder = Helper::inside(&bed.stores, event).await;
    holder.signal(Signal::KILL);
    let began = Instant::now();
    if !book(&next, event, "next", Duration::ZERO).await? {
        return Err("the seat was lost".into());
    }
    let took = began.elapsed();
    if took <= SOON { Ok(()) } else { Err(format!("had after {took:?}")) }
}

/// The message that the lock is the waiter's does not arrive.
pub(crate) async fn lost_wake_up(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let (holder, (waiter, network)) = (bed.process().await, bed.disturbed().await);
    let guard = holder.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    let lost = network.proxies()[0]
        .drop_matching(Direction::ServerToClient, |message| message.windows(8).any(|part| part == b"smessage"));
    let waiting = tokio::spawn(async move { waiter.lock.acquire(&name(event), within(PATIENCE)).await.map(drop) });
    bed.queued(event, 1).await;
    guard.release().await.map_err(|error| error.to_string())?;
    let began = Instant::now();
    waiting.await.unwrap().map_err(|error| error.to_string())?;
    let took = began.elapsed();
    if lost.count() == 0 {
        return Err("no push was lost, so nothing was shown".into());
    }
    // A poll, before the grant's own lease is over.
    if took < Duration::from_millis(900) { Ok(()) } else { Err(format!("had after {took:?}")) }
}

/// Drops `future` when it has been polled so often and would have to wait once more.
async fn polled<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left == 0 => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}

/// Acquisitions of a held and of a free lock, dropped after every number of polls and every 250 µs.
pub(crate) async fn cancelled(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let (holder, canceller, next) = (bed.process().await, bed.process().await, bed.process().await);
    // Connected, so that the drops come at different moments of an acquisition and not all before it.
    canceller
        .lock
        .acquire(&name(event), within(PATIENCE))
        .await
        .map_err(|error| error.to_string())?
        .release()
        .await
        .ok();
    for held in [true, false] {
        let guard = match held {
            true => Some(holder.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?),
            false => None,
        };
        for drop_after in 0..24_u32 {
            let limit = drop_after * Duration::from_micros(250);
            let _ = timeout(limit, canceller.lock.acquire(&name(event), within(PATIENCE))).await;
            let _ = timeout(limit, polled(drop_after, canceller.lock.acquire(&name(event), within(PATIENCE)))).await;
        }
        drop(guard);
        let began = Instant::now();
        let guard = next.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
        let took = began.elapsed();
        // Not by a lease that runs out.
        if took >= LEASE / 2 {
            return Err(format!("had after {took:?}"));
        }
        guard.release().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A release that arrives when somebody else has the lock.
pub(crate) async fn late_release(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let ((holder, network), next, third) = (bed.disturbed().await, bed.process().await, bed.process().await);
    let guard = holder.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    network.hold();
    drop(guard);
    let guard = next.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    network.release();
    // Until it has arrived, however slow the machine.
    for _ in 0..20 {
        sleep(Duration::from_millis(5)).await;
        match third.lock.try_acquire(&name(event), within(PATIENCE)).await {
            Err(LockError::Contended) => {}
            Ok(_) => return Err("a third one was let in".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
    guard.release().await.map_err(|error| error.to_string())
}

pub(crate) async fn again(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let process = bed.process().await;
    for _ in 0..20 {
        let guard = process.lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
        guard.release().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(crate) async fn order(bed: &Bed) -> Checked {
    const WAITERS: usize = 10;
    let event = bed.event(1).await;
    let processes = [bed.process().await, bed.process().await];
    let guard = processes[0].lock.acquire(&name(event), within(PATIENCE)).await.map_err(|error| error.to_string())?;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for waiter in 0..WAITERS {
        let (lock, served) = (processes[waiter % 2].lock.clone(), Arc::clone(&served));
        waiters.spawn(async move {
            let guard = lock.acquire(&name(event), within(PATIENCE)).await?;
            served.lock().unwrap().push(waiter);
            guard.release().await
        });
        bed.queued(event, i64::try_from(waiter).unwrap() + 1).await;
    }
    guard.release().await.map_err(|error| error.to_string())?;
    while let Some(done) = waiters.join_next().await {
        done.unwrap().map_err(|error| error.to_string())?;
    }
    let served = served.lock().unwrap();
    if served.iter().copied().eq(0..WAITERS) { Ok(()) } else { Err(format!("served {served:?}")) }
}

/// Higher with every acquisition, whoever makes it, also after the store has forgotten everything and the section has
/// entered.
pub(crate) async fn fences(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let processes = [bed.process().await, bed.process().await];
    let mut last = 0;
    for round in 0..12_usize {
        if round == 6 {
            bed.forget().await;
        }
        let section = processes[round % 2].sections.enter(event, within(PATIENCE)).await;
        let section = section.map_err(|error| error.to_string())?;
        match section.fence() {
            None => return Err("there is none".into()),
            Some(fence) if fence <= last => return Err(format!("{fence} after {last}")),
            Some(fence) => last = fence,
        }
        section.release().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The store of the lock comes back empty between a holder's reading and its writing.
pub(crate) async fn forgotten(bed: &Bed) -> Checked {
    let event = bed.event(1).await;
    let (holder, next) = (bed.process().await, bed.process().await);
    let mut section = holder.sections.enter(event, within(PATIENCE)).await.map_err(|error| error.to_string())?;
    counts(&mut section, event).await.map_err(|error| error.to_string())?;
    bed.forget().await;
    if !book(&next, event, "next", Duration::ZERO).await? {
        return Err("nobody could book".into());
    }
    if let Ok(mut write) = section.write().await {
        let late = sqlx::query("insert into bookings (event, buyer, fence) values ($1, 'late ' || $1, 0)").bind(event);
        if late.execute(&mut *write).await.is_ok() {
            let _ = write.commit().await;
        }
    }
    sold_at_most(bed, event, 1).await?;
    // And everybody goes on.
    until("the lock works again", async || {
        holder.lock.acquire(&name(event), within(Duration::from_secs(1))).await.is_ok()
    })
    .await;
    Ok(())
}

/// Whether the question makes sense for this backend; if not, why not.
pub(crate) fn pointless(kind: Kind, check: &str) -> Option<&'static str> {
    match (check, kind) {
        ("lost wake-up", Kind::RedisFenced) => None,
        ("lost wake-up", _) => Some("nobody is woken"),
        ("fences", Kind::PgAdvisory | Kind::PgRow) => Some("needs none"),
        ("expiry" | "killed holder" | "cancelled" | "order", Kind::None) => Some("nobody waits"),
        _ => None,
    }
}
