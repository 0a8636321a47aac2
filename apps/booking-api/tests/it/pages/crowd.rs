//! Many buyers and readers at once, with and without Redis being ill-treated.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use futures_util::future::join_all;

use super::*;

/// What is known of how many seats are booked. Each change is announced before it is sent, and counted when it is acknowledged: a read
/// that begins after an acknowledgement shows that change, and no read shows one that was not sent.
#[derive(Default)]
struct Crowd {
    event: i64,
    book_sent: AtomicI64,
    book_applied: AtomicI64,
    cancel_sent: AtomicI64,
    cancel_applied: AtomicI64,
    reads: AtomicU64,
    hits: AtomicU64,
    buying: AtomicI64,
}

impl Crowd {
    fn of(event: i64, buyers: i64) -> Self {
        Self { event, buying: AtomicI64::new(buyers), ..Self::default() }
    }

    /// Books a seat again and again, and cancels every other booking elsewhere.
    async fn buy(&self, here: &Replica, there: &Replica, times: usize) {
        for n in 0..times {
            self.book_sent.fetch_add(1, SeqCst);
            let made = here.book(self.event, 1).await.expect(201);
            if made.header("x-cache-write") == "applied" {
                self.book_applied.fetch_add(1, SeqCst);
            }
            if n % 2 == 1 {
                self.cancel_sent.fetch_add(1, SeqCst);
                let cancelled = there.cancel(made.json()["id"].as_i64().unwrap()).await.expect(204);
                if cancelled.header("x-cache-write") == "applied" {
                    self.cancel_applied.fetch_add(1, SeqCst);
                }
            }
        }
        self.buying.fetch_sub(1, SeqCst);
    }

    async fn read(&self, replica: &Replica, strategy: &str) {
        while self.buying.load(SeqCst) > 0 {
            let (booked_before, cancelled_before) = (self.book_applied.load(SeqCst), self.cancel_applied.load(SeqCst));
            let read = replica.get(&path(self.event)).await.expect(200);
            let (book_sent, cancel_sent) = (self.book_sent.load(SeqCst), self.cancel_sent.load(SeqCst));
            let shown = booked(&read);
            assert!(
                (booked_before - cancel_sent..=book_sent - cancelled_before).contains(&shown),
                "{strategy}: {shown} booked, of {booked_before} to {book_sent} less {cancelled_before} to {cancel_sent}: {read:?}"
            );
            self.reads.fetch_add(1, SeqCst);
            if read.header("x-cache") == "HIT" {
                self.hits.fetch_add(1, SeqCst);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_that_begins_after_a_booking_was_acknowledged_misses_it() {
    let (_stage, _cache, one, other) = two_replicas().await;
    for strategy in USUAL {
        let crowd = Crowd::of(one.event(strategy, 200).await, 4);
        let buyers = join_all(
            [(&one, &other), (&other, &one)]
                .into_iter()
                .cycle()
                .take(4)
                .map(|(here, there)| crowd.buy(here, there, 10)),
        );
        let readers = join_all([&one, &other, &one, &other].map(|replica| crowd.read(replica, strategy)));
        tokio::join!(buyers, readers);
        for replica in [&one, &other] {
            assert_eq!(booked(&replica.get(&path(crowd.event)).await), 20, "{strategy}");
        }
        assert_eq!((crowd.book_applied.load(SeqCst), crowd.cancel_applied.load(SeqCst)), (40, 20), "{strategy}");
        assert!(crowd.hits.load(SeqCst) > 0, "{strategy}: of {:?} reads none was answered by the cache", crowd.reads);
    }
}

/// What was answered as pending is not promised, and the rest is, whatever Redis forgets.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_misses_an_acknowledged_booking_while_redis_is_killed() {
    let (_stage, cache, one, other) = two_replicas().await;
    let crowd = Crowd::of(one.event("redis-fenced", 5_000).await, 2);
    let ill_treated = async {
        for _ in 0..2 {
            some_more(&crowd).await;
            cache.kill().await;
            one.until_check("redis", "fail").await;
            some_more(&crowd).await;
            cache.restart_empty().await.unwrap();
            one.until_check("replay", "pass").await;
        }
        some_more(&crowd).await;
    };
    let buyers = async {
        // For as long as it takes: both end with the ill-treatment.
        let buying = join_all([(&one, &other), (&other, &one)].map(|(here, there)| crowd.buy(here, there, usize::MAX)));
        tokio::select! {
            _ = buying => unreachable!("nobody buys so often"),
            () = ill_treated => crowd.buying.store(0, SeqCst),
        }
    };
    tokio::join!(buyers, crowd.read(&one, "killed"), crowd.read(&other, "killed"));
    assert!(crowd.book_applied.load(SeqCst) > 0 && crowd.hits.load(SeqCst) > 0);
}

async fn some_more(crowd: &Crowd) {
    let (bought, read) = (crowd.book_sent.load(SeqCst), crowd.reads.load(SeqCst));
    until("it goes on", async || {
        (crowd.book_sent.load(SeqCst) > bought + 20 && crowd.reads.load(SeqCst) > read + 50).then_some(())
    })
    .await;
}
