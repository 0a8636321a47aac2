//! Many ask at once for what has just expired: how many loads does the database see?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::api::{self, Cached};
use super::endpoint::{self, Endpoint};
use super::loads::{Counter, OneLoad, Source};
use super::pace::Pace;
use super::store::Place;
use super::system::System;
use crate::measure::connection::{Connection, Line};
use crate::measure::figures::Figure;
use crate::measure::http::REQUEST;
use crate::measure::latencies::as_f64;
use crate::measure::own_thread::on_own_thread;
use crate::measure::table::{Group, replicas, time};

/// Loads from which is learned what one load does to the counters, but for the most expensive endpoint.
const LEARN: usize = 3;
/// How long loads are held back after the first of them has reached the database, so that all readers
/// come while it is under way, however fast it is.
const HOLD: Duration = Duration::from_millis(100);

/// What the section found about one set of replicas.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stampede {
    pub(crate) readers: usize,
    pub(crate) replicas: usize,
    pub(crate) counted_by: Source,
    pub(crate) rounds: Vec<Round>,
    pub(crate) broken: Vec<String>,
}

/// One stampede.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    /// Loads that the database saw.
    pub(crate) loads: i64,
    /// From the first request to the last answer.
    pub(crate) took_us: f64,
    pub(crate) outcomes: Vec<(Cached, usize)>,
}

/// Lets `readers` stampede over the replicas, on several endpoints.
pub(crate) async fn run(
    system: &System,
    pace: &Pace,
    replicas: &[SocketAddr],
    readers: usize,
) -> anyhow::Result<Stampede> {
    let counter = Counter::find(&system.database).await?;
    let mut found = Stampede {
        readers,
        replicas: replicas.len(),
        counted_by: counter.source.clone(),
        rounds: Vec::new(),
        broken: Vec::new(),
    };
    for (endpoint, rounds) in [
        (Endpoint::Post, pace.stampedes),
        (Endpoint::Author, pace.stampedes),
        (Endpoint::TagPosts, pace.stampedes),
        (Endpoint::Popular, pace.popular_stampedes),
    ] {
        let rounds = match counter.source {
            Source::PgStatStatements => rounds,
            // Each count of that kind takes more than ten seconds.
            Source::PgStatUserTables => usize::from(endpoint == Endpoint::Post),
        };
        if rounds == 0 {
            continue;
        }
        let places = entry_places(system, replicas, endpoint).await?;
        let one = learn(system, replicas, &counter, endpoint, &places).await?;
        for identity in identities(system, endpoint, rounds) {
            let round = Herd { system, replicas, endpoint, places: &places, identity: &identity };
            let (round, wrong) = round.rush(&counter, &one, readers).await?;
            found.rounds.push(round);
            found.broken.extend(wrong);
        }
    }
    Ok(found)
}

/// Where the entries are that *these* replicas keep, which may do it in another way than those under test.
async fn entry_places(system: &System, replicas: &[SocketAddr], endpoint: Endpoint) -> anyhow::Result<Vec<Place>> {
    let identity = identities(system, endpoint, 1).concat();
    system.store.clear().await?;
    let mut line = Line::new(replicas[0], REQUEST);
    read(&mut line, endpoint, &identity).await?;
    let places = system.store.places(&identity).await?;
    ensure!(!places.is_empty(), "reading {} left no entry in Redis that names it", endpoint.path(&identity));
    Ok(places)
}

fn identities(system: &System, endpoint: Endpoint, count: usize) -> Vec<String> {
    match endpoint {
        Endpoint::Popular => vec!["popular".to_owned(); count],
        _ => endpoint.identities(system, count),
    }
}

/// Learns from misses one after the other what one load does to the database's counters.
async fn learn(
    system: &System,
    replicas: &[SocketAddr],
    counter: &Counter,
    endpoint: Endpoint,
    places: &[Place],
) -> anyhow::Result<OneLoad> {
    let mut line = Line::new(replicas[0], REQUEST);
    let loads = if endpoint == Endpoint::Popular { 1 } else { LEARN };
    let identities = identities(system, endpoint, loads);
    let mut before = counter.settled().await?;
    for (warm, identity) in identities.iter().cycle().take(2 * loads).enumerate() {
        if warm == loads {
            // The first ones prepared their statements, which some versions count apart.
            before = counter.settled().await?;
        }
        endpoint::forget(&system.store, places, std::slice::from_ref(identity)).await?;
        let cached = read(&mut line, endpoint, identity).await?;
        ensure!(cached == Cached::Miss, "{} answered {} without an entry", endpoint.path(identity), cached.as_str());
    }
    OneLoad::learn(&before, &counter.settled().await?, i64::try_from(loads)?)
        .with_context(|| endpoint.label().to_owned())
}

async fn read(line: &mut Line, endpoint: Endpoint, identity: &str) -> anyhow::Result<Cached> {
    let mut request = Vec::new();
    let path = endpoint.path(identity);
    api::get(&mut request, &path);
    let response = line.exchange(&request).await?;
    ensure!(response.status == 200, "{path} answered {}", response.status);
    Ok(Cached::of(&response))
}

struct Herd<'a> {
    system: &'a System,
    replicas: &'a [SocketAddr],
    endpoint: Endpoint,
    places: &'a [Place],
    identity: &'a str,
}

impl Herd<'_> {
    async fn rush(&self, counter: &Counter, one: &OneLoad, readers: usize) -> anyhow::Result<(Round, Vec<String>)> {
        let Self { system, replicas, endpoint, identity, .. } = *self;
        let path = endpoint.path(identity);
        // A real entry that really expires.
        let mut line = Line::new(replicas[0], REQUEST);
        read(&mut line, endpoint, identity).await?;
        system.store.expire(&endpoint::keys(self.places, &[identity.to_owned()])).await?;
        let before = counter.settled().await?;
        // The expensive endpoint needs no help to be slow, and its tables are not locked under other readers.
        let gate = match endpoint {
            Endpoint::Popular => None,
            _ => Some(Gate::shut(&system.database_url).await?),
        };
        let mut request = Vec::new();
        api::get(&mut request, &path);
        let addresses = replicas.to_vec();
        let (all_sent, sent) = tokio::sync::oneshot::channel();
        let herd = on_own_thread("stampede", move || stampede(addresses, readers, request, all_sent));
        let gatekeeper = async {
            // Also when the herd failed and drops its end, the gate must open.
            let _ = sent.await;
            match gate {
                Some(gate) => gate.open_after_arrival().await,
                None => Ok(()),
            }
        };
        let (herd, opened) = tokio::join!(herd, gatekeeper);
        let (took, answers) = herd?;
        opened?;
        // When readers gave up, what they asked for may go on for minutes: what was counted so far is enough.
        let after = if answers.len() == readers { counter.settled().await? } else { counter.read().await? };
        let loads = one.count(&before, &after);
        let mut wrong = Vec::new();
        if answers.len() < readers {
            let without = readers - answers.len();
            wrong.push(format!("stampede on {path}: {without} readers had no answer within {REQUEST:?}"));
        }
        let mut outcomes: Vec<(Cached, usize)> = Vec::new();
        let refused = answers.iter().filter(|(status, ..)| *status != 200).count();
        if let Some((status, ..)) = answers.iter().find(|(status, ..)| *status != 200) {
            wrong.push(format!("stampede on {path}: {refused} readers were not answered 200, the first {status}"));
        }
        for (_, cached, _) in &answers {
            match outcomes.iter_mut().find(|(known, _)| known == cached) {
                Some((_, count)) => *count += 1,
                None => outcomes.push((*cached, 1)),
            }
        }
        if refused == 0 && answers.windows(2).any(|two| two[0].2 != two[1].2) {
            wrong.push(format!("stampede on {path}: readers of the same entry were given different bodies"));
        }
        if loads == 0 && answers.len() == readers {
            wrong.push(format!("stampede on {path}: the database saw no load at all, so nothing was proved"));
        }
        outcomes.sort_unstable();
        let round = Round { endpoint, path, loads, took_us: took.as_secs_f64() * 1e6, outcomes };
        Ok((round, wrong))
    }
}

/// Opens all connections first, then sends all requests at once. Readers that are not answered in time are left out.
async fn stampede(
    addresses: Vec<SocketAddr>,
    readers: usize,
    request: Vec<u8>,
    all_sent: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<(Duration, Vec<(u16, Cached, Vec<u8>)>)> {
    let mut connections = Vec::with_capacity(readers);
    for number in 0..readers {
        connections.push(Connection::open(addresses[number % addresses.len()]).await?);
    }
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut connection in connections {
        let request = request.clone();
        running.spawn_local(async move {
            match tokio::time::timeout(REQUEST, connection.exchange(&request)).await {
                Ok(answered) => {
                    let response = answered?;
                    anyhow::Ok(Some((response.status, Cached::of(&response), response.body.to_vec())))
                }
                Err(_) => Ok(None),
            }
        });
    }
    // One turn of the scheduler: each of them has written its request.
    tokio::task::yield_now().await;
    let _ = all_sent.send(());
    let mut answers = Vec::with_capacity(readers);
    while let Some(ended) = running.join_next().await {
        answers.extend(ended??);
    }
    Ok((begun.elapsed(), answers))
}

/// A lock on the posts' table that holds every load back, so that it is certain that all readers come
/// during the load: otherwise a fast load would be over before the last of them is there.
struct Gate {
    connection: PgConnection,
}

impl Gate {
    async fn shut(database_url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database_url).await?;
        connection
            .execute("begin; set local lock_timeout = '5s'; lock table blog.posts in access exclusive mode")
            .await?;
        Ok(Self { connection })
    }

    async fn open_after_arrival(mut self) -> anyhow::Result<()> {
        let waiting = "select count(*) from pg_locks where not granted and relation = 'blog.posts'::regclass \
                       and database = (select oid from pg_database where datname = current_database())";
        let deadline = Instant::now() + Duration::from_secs(2);
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut self.connection).await? == 0 {
            ensure!(Instant::now() < deadline, "no load of the stampede reached the database within 2 s");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(HOLD).await;
        self.connection.execute("rollback").await?;
        self.connection.close().await?;
        Ok(())
    }
}

impl Stampede {
    /// Most loads that one stampede caused.
    pub(crate) fn most_loads(&self) -> Option<i64> {
        self.rounds.iter().map(|round| round.loads).max()
    }

    pub(crate) fn rows(&self, group: &mut Group, name: &str) {
        for endpoint in Endpoint::ALL {
            let rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.endpoint == endpoint).collect();
            let Some(first) = rounds.first() else {
                continue;
            };
            let loads: Vec<String> = rounds.iter().map(|round| round.loads.to_string()).collect();
            let slowest = rounds.iter().map(|round| round.took_us).fold(0.0, f64::max);
            let outcomes: Vec<String> =
                first.outcomes.iter().map(|(cached, count)| format!("{count} {}", cached.as_str())).collect();
            group.row([format!("{name}: {}", endpoint.label()), loads.join(" "), time(slowest), outcomes.join(", ")]);
        }
    }

    pub(crate) fn table(&self, cache: &str, naive: Option<&Self>) -> Group {
        let title = format!("{} REQUESTS AT ONCE ON AN EXPIRED ENTRY", self.readers);
        let mut group = Group::new(&title, &["loads in each round", "slowest round", "answers of the first round"]);
        self.rows(&mut group, cache);
        if let Some(naive) = naive {
            naive.rows(&mut group, "naive (control)");
        }
        group.note(format!(
            "over {}; loads as PostgreSQL counts them ({})",
            replicas(self.replicas),
            self.counted_by.as_str()
        ));
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let what = format!("{} at once on an expired key, {}: loads", self.readers, replicas(self.replicas));
        let most = self.most_loads().and_then(|loads| u64::try_from(loads).ok()).map(as_f64);
        vec![Figure::exactly(&what, most, 1.0, "")]
    }

    /// What did not hold for the replicas under test.
    pub(crate) fn judged(&self) -> Vec<String> {
        let more = self
            .rounds
            .iter()
            .filter(|round| round.loads > 1)
            .map(|round| format!("stampede on {}: {} loads instead of exactly 1", round.path, round.loads));
        self.broken.iter().cloned().chain(more).collect()
    }
}
