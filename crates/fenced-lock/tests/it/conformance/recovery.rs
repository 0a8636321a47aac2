//! How long a lock stays with a holder that was killed.

use std::time::Duration;

use fenced_lock::{Kind, Name};
use rustix::process::Signal;
use tokio::time::Instant;

use super::helper::Helper;
use super::servers::Bed;
use crate::bed::{PATIENCE, client, command, within};

/// What may come on top of the lease that is left.
const MORE: Duration = Duration::from_millis(100);
/// A machine that does other things as well may be late once, and not each time.
const TRIES: usize = 3;

/// The specification's L2: what is left of its lease, by Redis' own clock, and no more; nor less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_costs_what_is_left_of_its_lease() {
    let bed = Bed::start(Kind::RedisFenced).await;
    let observer = client(&bed.stores.redis[0]).await;
    let micros = async |line: &str| -> u64 { command(&observer, line).await.as_u64().unwrap() };
    let mut late = Vec::new();
    for _ in 0..TRIES {
        let event = bed.event(1).await;
        let holder = Helper::inside(&bed.stores, event).await;
        let next = bed.process().await;
        let waiting = tokio::spawn(async move {
            let name = Name::new("event", event).unwrap();
            let guard = next.lock.acquire(&name, within(PATIENCE)).await.unwrap();
            (Instant::now(), guard)
        });
        bed.queued(event, 1).await;
        holder.signal(Signal::KILL);
        let killed = Instant::now();
        let end = micros(&format!("HGET test:fl:{{0}}:l:event:{event} x")).await;
        let time: Vec<u64> = command(&observer, "TIME").await.convert().unwrap();
        let left = Duration::from_micros(end.saturating_sub(time[0] * 1_000_000 + time[1]));
        let (had, guard) = waiting.await.unwrap();
        let took = had - killed;
        assert!(took >= left.saturating_sub(Duration::from_millis(5)), "{took:?}: {left:?} of the lease were left");
        drop(guard);
        if took <= left + MORE {
            return;
        }
        late.push((took, left));
    }
    panic!("had and lease left, each time: {late:?}");
}
