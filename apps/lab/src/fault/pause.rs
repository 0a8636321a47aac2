//! `pause`: the process of a replica that is inside of its critical section is stopped past the end of its lease, and
//! then goes on as if nothing had happened. The plain lock is the control: it must oversell.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::mends::Mend;
use super::scene::{SETTLED, Scene};
use crate::booking::faults::buyers::{Client, Purchase, Sale, Wish, press};
use crate::booking::faults::http;
use crate::booking::faults::judge::{self, Judged};
use crate::booking::faults::look::{self, Sight};
use crate::booking::strategy::{Promise, Strategy};
use crate::fleet::Service;

/// Seats that the victim wants, by which a plain lock oversells.
const VICTIM_SEATS: u32 = 4;
/// Seats of the event: enough for everybody to press for a while.
const CAPACITY: u32 = 60;
/// Those who press on the other replicas.
const BUYERS: usize = 12;
/// The victim's payment, in the middle of its section: time to see it there and to stop it.
const WORK: Duration = Duration::from_secs(2);
/// How long the pause lasts beyond the end of the lease.
const BEYOND: Duration = Duration::from_secs(1);
/// And where nobody can see a lease, in all.
const UNSEEN: Duration = Duration::from_secs(5);
/// How long the others may take to buy all that is left, once the lease has ended.
const SALE: Duration = Duration::from_secs(8);
/// How long the victim's client waits for one answer.
const VICTIM_WITHIN: Duration = Duration::from_secs(60);
/// How long the victim's purchase may take after its replica went on.
const ANSWERED: Duration = Duration::from_secs(60);

/// What became of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Paused {
    pub(crate) strategy: Strategy,
    pub(crate) event: i64,
    pub(crate) capacity: u32,
    pub(crate) replica: String,
    /// How the victim was seen in its section.
    pub(crate) inside: String,
    pub(crate) paused_s: f64,
    /// By how much longer than its lease that was, where that can be seen.
    pub(crate) beyond_lease_s: Option<f64>,
    /// Seats that the others bought meanwhile.
    pub(crate) sold_meanwhile: u64,
    /// What the victim was told in the end.
    pub(crate) victim: String,
    pub(crate) judged: Judged,
}

impl Paused {
    /// What is broken, or not proved.
    pub(crate) fn broken(&self) -> Vec<String> {
        let Self { strategy, judged, .. } = self;
        let mut broken = Vec::new();
        match strategy.promise() {
            Promise::Always if judged.oversold > 0 => {
                broken.push(format!("{strategy}: {} seats oversold", judged.oversold));
            }
            Promise::Undisturbed | Promise::Nothing if judged.oversold == 0 => {
                broken.push(format!("{strategy} is the control and did not oversell: the pause proved nothing"));
            }
            _ => {}
        }
        for (count, what) in [(judged.lost, "lost"), (judged.doubled, "doubled"), (judged.unasked, "not asked for")] {
            if count > 0 {
                broken.push(format!("{strategy}: {count} bookings {what}"));
            }
        }
        broken
    }
}

/// One round of one strategy.
pub(super) async fn round(scene: &Scene<'_>, sight: &Sight, strategy: Strategy) -> anyhow::Result<Paused> {
    let service = Service::Booking;
    let replicas = scene.cluster.settled(service, SETTLED).await?.replicas;
    ensure!(replicas.len() > 1, "booking-api has one replica: nobody is left to press");
    let (victim, others) = (&replicas[0], &replicas[1..]);
    let others: Vec<_> = others.iter().map(|replica| replica.api).collect();
    let name = format!("lab: pause, {strategy}");
    let event = http::create(others[0], &name, CAPACITY, strategy).await?;
    let sale = Sale::new(event, format!("pause-{strategy}-{event}"));

    // In a set, so that nobody goes on buying when this is dropped.
    let mut everybody = JoinSet::new();
    let (answer, mut purchase) = tokio::sync::oneshot::channel::<Purchase>();
    let wish = Wish { buyer: format!("{}-victim", sale.name), seats: VICTIM_SEATS, work: WORK };
    let first: Vec<_> = std::iter::once(victim.api).chain(others.iter().copied()).collect();
    let its_sale = sale.clone();
    everybody.spawn(async move {
        let purchase = Client::new(&first, VICTIM_WITHIN).buy(&its_sale, &wish, &its_sale.closed).await;
        its_sale.note(purchase.clone());
        // Nobody listens any more when the round has failed.
        let _ = answer.send(purchase);
    });
    let inside = look::inside(sight, strategy, event).await?;
    for buyer in 0..BUYERS {
        let mut replicas = others.clone();
        replicas.rotate_left(buyer % others.len());
        everybody.spawn(press(sale.clone(), buyer, replicas, Duration::from_millis(1)));
    }

    let (uid, restarts) = scene.cluster.restarts(&victim.pod).await?;
    scene.mends.promise(Mend::Continue { pod: victim.pod.clone(), service });
    let active = scene.breaks(&victim.pod);
    let said = scene.cluster.signal(&victim.pod, service, "STOP").await?;
    let stopped = Instant::now();
    ensure!(said.contains("is stopped"), "{} was not stopped: {}", victim.pod, said.trim());
    ensure!(purchase.try_recv().is_err(), "the victim had its answer before its replica was stopped");
    let lease = look::lease_left(sight, strategy, event).await?.map(|left| Instant::now() + left);
    let until = lease.map_or(stopped + UNSEEN, |ends| ends + BEYOND);
    tokio::time::sleep_until(until.into()).await;
    let sold_meanwhile = sold(&sight.database, event).await?;
    scene.mends.mend(scene.cluster).await.map_err(|lines| anyhow::anyhow!(lines.join("; ")))?;
    let went_on = Instant::now();
    drop(active);
    let same = scene.cluster.restarts(&victim.pod).await?;
    ensure!(same == (uid, restarts), "{} was restarted while it was stopped: it never went on", victim.pod);

    let purchase = tokio::time::timeout(ANSWERED, &mut purchase).await.context("the victim is not answered")??;
    sale.closed.cancel();
    while let Some(ended) = everybody.join_next().await {
        ended.context("a buyer panicked")?;
    }
    let judged = judge::judge_event(&sight.database, event, CAPACITY, &sale.purchases(), &HashSet::new()).await?;
    let paused = Paused {
        strategy,
        event,
        capacity: CAPACITY,
        replica: victim.pod.clone(),
        inside,
        paused_s: (went_on - stopped).as_secs_f64(),
        beyond_lease_s: lease.map(|ends| went_on.saturating_duration_since(ends).as_secs_f64()),
        sold_meanwhile,
        victim: purchase.to_string(),
        judged,
    };
    scene.saw(format!(
        "{strategy}: {} stopped for {:.1} s in its section ({}), {sold_meanwhile} seats sold meanwhile; told {}; {} oversold",
        paused.replica, paused.paused_s, paused.inside, paused.victim, paused.judged.oversold
    ));
    Ok(paused)
}

/// Waits until the others have bought all that is left for them; not for ever. Returns how many seats are sold then.
async fn sold(database: &PgPool, event: i64) -> anyhow::Result<u64> {
    let deadline = Instant::now() + SALE;
    loop {
        let sold = judge::sold(database, event).await?;
        if sold >= u64::from(CAPACITY) || Instant::now() > deadline {
            return Ok(sold);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
