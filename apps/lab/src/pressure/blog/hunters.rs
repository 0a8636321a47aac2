//! Those who read every ready replica directly, for as long as it is ready.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::BlogConfig;
use super::ground::Ground;
use crate::blog::performance::api;
use crate::measure::connection::Response;
use crate::measure::zipf::Random;
use crate::pressure::addresses::{Addresses, Replica};
use crate::pressure::client::{Client, Target, Wear};
use crate::pressure::failure::{Failure, Kind, Method};
use crate::pressure::sender::Reply;

/// Of so many reads at leisure one is of the list.
const LISTS: usize = 5;
/// A replica that was ready for so long has been read.
const TIME_ENOUGH: Duration = Duration::from_secs(1);
/// After a read that failed: the replica may be on its way out.
const BREATHER: Duration = Duration::from_millis(100);

/// Keeps one hunter at every ready replica until it is stopped.
pub(super) async fn hunt(ground: Arc<Ground>, config: BlogConfig, addresses: Addresses, stopping: CancellationToken) {
    let mut replicas = addresses.watch();
    let mut hunters = JoinSet::new();
    let mut at: HashMap<(String, SocketAddr), CancellationToken> = HashMap::new();
    loop {
        let ready: Vec<Replica> =
            replicas.borrow_and_update().iter().filter(|replica| replica.ready).cloned().collect();
        at.retain(|(name, address), leave| {
            let stays = ready.iter().any(|replica| replica.name == *name && replica.address == *address);
            if !stays {
                leave.cancel();
            }
            stays
        });
        for replica in ready {
            let place = (replica.name.clone(), replica.address);
            let number = at.len();
            if let Entry::Vacant(vacant) = at.entry(place) {
                let leave = vacant.insert(stopping.child_token()).clone();
                hunters.spawn_local(Hunter::new(Arc::clone(&ground), &config, replica, number).run(leave));
            }
        }
        let changed = async {
            // Nobody will change them any more.
            if replicas.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => break,
            () = changed => {}
        }
    }
    while let Some(ended) = hunters.join_next().await {
        if let Err(error) = ended {
            ground.log.unexpected(format!("a hunter ended: {error}"));
        }
    }
}

struct Hunter {
    ground: Arc<Ground>,
    replica: Replica,
    client: Client,
    pause: Duration,
    random: Random,
    request: Vec<u8>,
    /// The version last seen of each hot post, for conditional requests.
    last: Vec<Option<u64>>,
    how: String,
    reads: u64,
}

impl Hunter {
    fn new(ground: Arc<Ground>, config: &BlogConfig, replica: Replica, number: usize) -> Self {
        // Renewed seldom: these are not the connections whose renewal is looked at.
        let client = Client::new(Target::One(replica.address), config.answer, config.life * 10, number);
        Self {
            client,
            pause: config.hunt,
            random: Random::new(0x4855_4e54 + number as u64),
            request: Vec::with_capacity(256),
            last: vec![None; ground.hot.len()],
            reads: 0,
            how: format!("read from {} at {}", replica.name, replica.address),
            replica,
            ground,
        }
    }

    /// Reads what was just written, and between that anything, until it is told to leave. A read that is under way then
    /// is finished.
    async fn run(mut self, leave: CancellationToken) {
        let begun = Instant::now();
        self.read_until(leave).await;
        if self.reads == 0 && begun.elapsed() > TIME_ENOUGH {
            self.ground.unread(&self.replica.name);
        }
    }

    async fn read_until(&mut self, leave: CancellationToken) {
        let mut written = self.ground.written.subscribe();
        while !leave.is_cancelled() {
            let next = tokio::select! {
                () = leave.cancelled() => return,
                hot = recent(&mut written) => Some(hot),
                () = tokio::time::sleep(self.pause) => None,
            };
            match next {
                Some(hot) => self.post(hot).await,
                None if self.random.below(LISTS) == 0 => self.list().await,
                None => {
                    let hot = self.random.below(self.last.len());
                    self.post(hot).await;
                }
            }
        }
    }

    async fn post(&mut self, hot: usize) {
        let id = self.ground.hot[hot].id;
        let known = self.last[hot].filter(|_| self.random.below(2) == 0);
        self.request.clear();
        match known {
            Some(version) => api::get_if_changed(&mut self.request, &format!("/posts/{id}"), version),
            None => api::get_post(&mut self.request, id),
        }
        let ground = Arc::clone(&self.ground);
        let promise = ground.hot[hot].promise();
        let how = std::mem::take(&mut self.how);
        let seen = self.read(|response| ground.judge_post(hot, promise, known, response, &how)).await;
        self.how = how;
        if let Some(version) = seen {
            self.last[hot] = version;
        }
    }

    async fn list(&mut self) {
        self.request.clear();
        api::get(&mut self.request, &self.ground.hot_list());
        let ground = Arc::clone(&self.ground);
        let promises = ground.promises();
        let how = std::mem::take(&mut self.how);
        self.read(|response| ground.judge_list(&promises, response, &how)).await;
        self.how = how;
    }

    async fn read(&mut self, mut judge: impl FnMut(&Response<'_>) -> Reply<Option<u64>>) -> Option<Option<u64>> {
        let began = Instant::now();
        let outcome = self.client.exchange(&self.request, |response| (judge(response), response.status)).await;
        // Counted for the load only.
        self.client.wear = Wear::default();
        let (kind, status, connected, detail) = match outcome {
            Ok(answered) => match answered.value {
                (Reply::Good(seen), _) => {
                    self.reads += 1;
                    self.ground.log.direct(&self.replica.name);
                    return Some(seen);
                }
                (_, status) => (Kind::Status, Some(status), answered.connected, format!("answered {status}")),
            },
            Err(error) => (error.kind, None, error.connected, error.detail),
        };
        self.ground.log.failed(Failure {
            kind,
            status,
            method: Method::Get,
            address: Some(self.replica.address),
            direct: true,
            earlier: 0,
            connected,
            began,
            ended: Instant::now(),
            detail: format!("{detail}; {}", self.replica.name),
        });
        tokio::time::sleep(BREATHER).await;
        None
    }
}

/// The next post that was written; those that came too fast are left out.
async fn recent(written: &mut broadcast::Receiver<usize>) -> usize {
    loop {
        match written.recv().await {
            Ok(hot) => return hot,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
