//! A quick look by hand: two ratios.

use std::time::Duration;

use crate::contended::{self, Turns};
use crate::{Bench, Failure, uncontended};

const WAITERS: usize = 64;
const TIME: Duration = Duration::from_secs(2);

pub(crate) async fn run(bench: &Bench, rounds: usize) -> Result<(), Failure> {
    let ways = ["bare", "fenced", "set-nx"];
    let mut took = ways.map(|_| Vec::new());
    // Rounds of all ways alternate, so that whatever else the machine does meets all; the first one warms up.
    for round in 0..=rounds {
        for (way, took) in ways.iter().zip(&mut took) {
            let pairs = uncontended::run(bench, way, 1_000).await?;
            took.extend(pairs.into_iter().filter(|_| round > 0));
        }
    }
    println!("uncontended acquire + release, {} pairs each", took[0].len());
    let percentiles = took.map(percentiles);
    for (way, (half, most)) in ways.iter().zip(percentiles) {
        let ratio = percentiles[1].0.as_secs_f64() / half.as_secs_f64();
        println!("  {way:<8} p50 {half:>9.1?}  p99 {most:>9.1?}  fenced is {ratio:.3} of its p50");
    }

    let mut ratios = Vec::new();
    println!("hand-off, {WAITERS} waiters in one process, acquisitions per second");
    for _ in 0..rounds.div_ceil(2) {
        let waiters = contended::waiters(bench, "blpop", WAITERS).await?;
        contended::seed(&bench.client).await?;
        let floor = rate(&contended::run(waiters, Duration::ZERO, TIME).await?);
        let waiters = contended::waiters(bench, "fenced", WAITERS).await?;
        let granted = rate(&contended::run(waiters, Duration::ZERO, TIME).await?);
        println!("  BLPOP {floor:>8.0}   fenced {granted:>8.0}   ratio {:.3}", granted / floor);
        ratios.push(granted / floor);
    }
    ratios.sort_by(f64::total_cmp);
    println!("  median ratio: {:.3}", ratios[ratios.len() / 2]);
    bench.lock.close().await;
    Ok(())
}

fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

fn rate(turns: &[Turns]) -> f64 {
    let acquisitions = turns.iter().map(|turns| turns.len() / 3).sum::<usize>();
    f64::from(u32::try_from(acquisitions).unwrap_or(u32::MAX)) / TIME.as_secs_f64()
}
