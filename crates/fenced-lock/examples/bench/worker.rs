//! One process among several: it does what stdin says, and answers each line with one line of JSON.
//!
//! - `uncontended WAY PAIRS`: `{"took": [ns, ..]}`
//! - `ready WAY WAITERS`: connects what `contend` will use; `{"ready": WAITERS}`
//! - `seed`: puts the token of `blpop` there; `{"ready": 1}`
//! - `contend INSIDE_US MS`: `{"turns": [[asked, had, given back, ..] per waiter, ..]}`, in ns of the machine's clock
//!
//! It only reports: what the times mean is for its reader to say.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

use crate::contended::{self, Waiter};
use crate::{Bench, Failure, uncontended};

pub(crate) async fn run(bench: &Bench) -> Result<(), Failure> {
    let (mut lines, mut out) = (BufReader::new(stdin()).lines(), stdout());
    let mut waiters = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(bench, &line, &mut waiters).await?;
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    bench.lock.close().await;
    Ok(())
}

async fn answer(bench: &Bench, line: &str, waiters: &mut Vec<Waiter>) -> Result<Value, Failure> {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["uncontended", way, pairs] => {
            let took = uncontended::run(bench, way, pairs.parse()?).await?;
            Ok(
                json!({ "took": took.iter().map(|took| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)).collect::<Vec<_>>() }),
            )
        }
        ["ready", way, count] => {
            *waiters = contended::waiters(bench, way, count.parse()?).await?;
            Ok(json!({ "ready": waiters.len() }))
        }
        ["seed"] => {
            contended::seed(&bench.client).await?;
            Ok(json!({ "ready": 1 }))
        }
        ["contend", inside, time] => {
            let (inside, time) = (Duration::from_micros(inside.parse()?), Duration::from_millis(time.parse()?));
            Ok(json!({ "turns": contended::run(std::mem::take(waiters), inside, time).await? }))
        }
        _ => Err(format!("not understood: {line}").into()),
    }
}
