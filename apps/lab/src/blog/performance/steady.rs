//! Measuring again what something from outside disturbed.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::api::{self, Cached};
use super::system::System;
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;

/// How often one thing is measured before its disturbance is taken for its nature.
const ATTEMPTS: u32 = 3;
/// How long a replica that was killed may take to be there again.
const BACK: Duration = Duration::from_secs(20);

/// Measures until nothing disturbs: a replica or Redis that somebody kills in the middle spoils a row and
/// not the run. `measure` returns what it found and what was wrong with it.
///
/// # Errors
/// That of the last attempt; or a replica does not come back.
pub(crate) async fn steady<T>(
    system: &System,
    mut measure: impl AsyncFnMut() -> anyhow::Result<(T, Vec<String>)>,
) -> anyhow::Result<(T, Vec<String>)> {
    let mut attempt = 1;
    loop {
        let outcome = measure().await;
        let disturbed = !matches!(&outcome, Ok((_, wrong)) if wrong.is_empty());
        if !disturbed || attempt == ATTEMPTS {
            return outcome;
        }
        match &outcome {
            Ok((_, wrong)) => eprintln!("lab: measuring again: {}", wrong.join("; ")),
            Err(error) => eprintln!("lab: measuring again: {error:#}"),
        }
        everybody_there(system).await?;
        attempt += 1;
    }
}

/// Waits until every replica answers from the cache again: after a restart it first makes sure that it may.
async fn everybody_there(system: &System) -> anyhow::Result<()> {
    let deadline = Instant::now() + BACK;
    let mut request = Vec::new();
    api::get_post(&mut request, system.familiar(1)[0]);
    for &replica in &system.replicas {
        let mut line = Line::new(replica, REQUEST);
        loop {
            let cached = line.exchange(&request).await.map(|response| Cached::of(&response));
            if matches!(cached, Ok(Cached::Hit)) {
                break;
            }
            ensure!(Instant::now() < deadline, "replica {replica} does not answer from the cache");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
