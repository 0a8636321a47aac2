//! `lab up`: the whole system on this machine, from nothing to its URLs, and back to nothing.

mod cache;
mod migrate;
mod stores;

use std::time::{Duration, Instant};

use clap::Parser as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::blog::performance::{self, PerformanceArgs};
use crate::cli::{self, UpArgs};
use crate::data::{BlogState, DataDir, Held, STATE_FORMAT, State};
use crate::exit::{Ending, Failure};
use crate::fleet::{self, Fleet};
use crate::screen::{self, grouped, say};
use crate::seed::{self, Seeded};
use crate::signals::Signals;
use crate::target::Targets;
use stores::Stores;

/// Signals that come this soon after the first are taken for the same one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Starts everything, runs the experiments, stays until a signal, and stops everything, whatever happened before.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<Ending> {
    let performance = default_performance()?;
    let mut signals = Signals::install()?;
    let data = DataDir::locate(args.data.clone())?;
    let held = data.hold()?;
    let mut system =
        System { args, performance, data, begun: Instant::now(), stores: None, fleet: None, judged: None, _held: held };
    let outcome = tokio::select! {
        outcome = system.run() => outcome,
        signal = signals.next() => Ok(Ending::Interrupted(signal)),
    };
    // After the experiments, a signal is how a run ends, and their judgement is what counts.
    let outcome = match (outcome, system.judged) {
        (Ok(Ending::Interrupted(_)), Some(judged)) => Ok(judged),
        (outcome, _) => outcome,
    };
    // A terminal, a shell and `timeout` may each send the same signal; only one that comes later is meant.
    let impatience = async {
        tokio::time::sleep(SAME_SIGNAL).await;
        signals.forget();
        signals.next().await
    };
    tokio::select! {
        () = system.stop() => {}
        _ = impatience => screen::note("stopping at once"),
    }
    outcome
}

#[derive(Debug)]
struct System {
    args: UpArgs,
    performance: PerformanceArgs,
    data: DataDir,
    begun: Instant,
    stores: Option<Stores>,
    fleet: Option<Fleet>,
    /// What the experiments said, once they are done.
    judged: Option<Ending>,
    // The last to go: until then, nobody else may start on this data.
    _held: Held,
}

impl System {
    async fn run(&mut self) -> anyhow::Result<Ending> {
        let targets = self.start().await?;
        if !self.args.no_experiments {
            let experiments = performance::run(self.performance.clone(), targets.clone());
            let verdict = tokio::select! {
                verdict = experiments => verdict?,
                broken = self.keep_up() => return broken,
            };
            self.judged = Some(verdict.report());
        }
        let judged = *self.judged.get_or_insert(Ending::Held);
        if self.args.once {
            return Ok(judged);
        }
        show_urls(&targets);
        self.keep_up().await
    }

    /// From nothing to replicas that are ready.
    async fn start(&mut self) -> anyhow::Result<Targets> {
        let stores = self.stores.insert(Stores::start(&self.args, &self.data).await?);
        let (database_url, cache_redis_url) = (stores.database_url().to_owned(), stores.cache_redis_url().to_owned());
        let binary = match &self.args.blog_api {
            Some(binary) => binary.clone(),
            None => fleet::blog_api()?,
        };
        fleet::set_home(fleet::Home { binary: Some(binary.clone()), logs: self.data.logs() });
        migrate::migrate(&binary, &database_url, &self.data.logs().join("blog-api-migrate.log")).await?;
        let plan = seed::Plan {
            database_url: database_url.clone(),
            items: self.args.posts,
            streams: seed::default_streams(),
            // A private server has nothing but the lab's rows in it.
            replace: self.args.database_url.is_none(),
        };
        let seeded = seed::blog::seed(&plan).await?;
        let posts = grouped(self.args.posts);
        match seeded {
            Seeded::Before => say(&format!("blog        {posts} posts (there already)")),
            Seeded::Now => {
                // A cache that was filled from the rows before these must not answer for them.
                stores.forget_cached(&["blog:", "blog-naive:"]).await?;
                say(&format!("blog        {posts} posts"));
            }
        }
        let plan = fleet::Plan {
            replicas: self.args.replicas,
            database_url,
            cache_redis_url,
            api_port: self.args.api_port,
            admin_port: self.args.admin_port,
            ..fleet::Plan::default()
        };
        self.fleet = Some(Fleet::start(plan).await?);
        let state = self.publish()?;
        for (index, replica) in state.blog.replicas.iter().enumerate() {
            say(&format!("blog-api {}  {}  admin {}", index + 1, replica.api, replica.admin));
        }
        say(&format!("ready in {:.1} s", self.begun.elapsed().as_secs_f64()));
        Ok(state.targets())
    }

    /// Restarts what dies, and keeps the state file true. Ends only with an error.
    async fn keep_up(&self) -> anyhow::Result<Ending> {
        let (Some(stores), Some(fleet)) = (&self.stores, &self.fleet) else {
            anyhow::bail!("there is nothing to keep up");
        };
        let mut changes = fleet.changes();
        let replicas = async {
            loop {
                changes.next().await;
                self.publish()?;
            }
        };
        tokio::select! {
            never = stores.keep_up(|| self.publish().map(drop)) => match never? {},
            error = replicas => error,
        }
    }

    fn publish(&self) -> anyhow::Result<State> {
        let (Some(stores), Some(fleet)) = (&self.stores, &self.fleet) else {
            anyhow::bail!("there is nothing to publish");
        };
        let started = OffsetDateTime::now_utc() - self.begun.elapsed();
        let state = State {
            format: STATE_FORMAT,
            pid: std::process::id(),
            started_at: started.replace_nanosecond(0)?.format(&Rfc3339)?,
            database_url: stores.database_url().to_owned(),
            cache_redis_url: stores.cache_redis_url().to_owned(),
            postgres_pid: stores.postgres_pid(),
            cache_redis_pid: stores.redis_pid(),
            blog: BlogState { posts: self.args.posts, replicas: fleet.states() },
        };
        self.data.publish(&state)?;
        Ok(state)
    }

    /// Replicas first, while their stores still answer; then the stores.
    async fn stop(&mut self) {
        // The state names what runs; from here on that is no longer true.
        if let Err(error) = self.data.forget() {
            screen::note(&format!("{error:#}"));
        }
        if let Some(fleet) = self.fleet.take() {
            fleet.stop().await;
        }
        if let Some(stores) = self.stores.take() {
            stores.stop().await;
        }
    }
}

/// What the experiments do when nobody says how: the defaults of the flags of `lab blog performance`.
fn default_performance() -> anyhow::Result<PerformanceArgs> {
    #[derive(Debug, clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        performance: PerformanceArgs,
    }
    // Only something in the environment can be wrong here.
    let defaults = Defaults::try_parse_from(["lab"]).map_err(|error| Failure::usage(cli::one_line(&error)))?;
    Ok(defaults.performance)
}

fn show_urls(targets: &Targets) {
    let Some(first) = targets.replicas.first() else { return };
    let last = targets.replicas.last().unwrap_or(first);
    say("");
    for (api, admin) in targets.replicas.iter().zip(&targets.admin) {
        say(&format!("  {api}/docs   metrics: {admin}/metrics"));
    }
    say("");
    say("Try (the second read is a hit, on whichever replica):");
    say(&format!("  curl -i {first}/posts/1"));
    say(&format!(
        "  curl -i -X POST {first}/posts/1/comments -H 'content-type: application/json' -d '{{\"author\":\"author-0001\",\"body\":\"Hello\"}}'"
    ));
    say(&format!("  curl -i {last}/posts/1"));
    say("");
    say("Ctrl-C stops everything.");
}
