//! What the connections of a load ask for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;

use super::api::{self, Answer};
use crate::measure::load::{ClosedLoop, Requests};
use crate::measure::tally::Tally;
use crate::measure::zipf::Random;

/// Reads each post once, so that it is cached.
pub(crate) async fn prime(replicas: &[SocketAddr], ids: Arc<[i64]>) -> anyhow::Result<Tally<Answer>> {
    let plan = ClosedLoop {
        addresses: replicas.to_vec(),
        connections: 16.min(ids.len()),
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(60),
    };
    let tally = plan.run(Answer::of, each_once(ids.to_vec())).await?;
    let answered = tally.count(|answer| answer.status == 200);
    ensure!(
        answered == ids.len() as u64,
        "{} of {} posts could not be read{}",
        ids.len() as u64 - answered,
        ids.len(),
        tally.first_failure().map(|failure| format!(": {failure}")).unwrap_or_default()
    );
    Ok(tally)
}

/// Requests of all connections together for each id once.
pub(crate) fn each_once(ids: Vec<i64>) -> impl FnMut(usize) -> Requests {
    let ids: Arc<[i64]> = ids.into();
    let next = Arc::new(AtomicUsize::new(0));
    move |_| {
        let (ids, next) = (ids.clone(), next.clone());
        Box::new(move |into| {
            let Some(&id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return false;
            };
            api::get_post(into, id);
            true
        })
    }
}

/// Endless requests for some posts.
pub(crate) fn hot_posts(ids: Arc<[i64]>) -> impl FnMut(usize) -> Requests {
    move |connection| {
        let ids = ids.clone();
        let mut random = Random::new(connection as u64);
        Box::new(move |into| {
            api::get_post(into, ids[random.below(ids.len())]);
            true
        })
    }
}

/// Endless requests for one path.
pub(crate) fn constant(path: String) -> impl FnMut(usize) -> Requests {
    move |_| {
        let path = path.clone();
        Box::new(move |into| {
            api::get(into, &path);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::each_once;

    #[test]
    fn all_connections_together_ask_for_each_id_once() {
        let mut of = each_once(vec![7, 8, 9]);
        let (mut one, mut two) = (of(0), of(1));
        let mut asked = String::new();
        for connection in [0, 1, 0] {
            let mut into = Vec::new();
            assert!(if connection == 0 { one(&mut into) } else { two(&mut into) });
            asked.push_str(&String::from_utf8(into).unwrap()[..12]);
        }
        assert_eq!(asked, "GET /posts/7GET /posts/8GET /posts/9");
        assert!(!one(&mut Vec::new()) && !two(&mut Vec::new()));
    }
}
