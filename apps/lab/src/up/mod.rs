//! `lab up`: the whole system on this machine, from nothing to its URLs, and back to nothing.

pub(crate) mod cache;
mod experiments;
mod migrate;
mod redis;
mod stores;
mod urls;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::UpArgs;
use crate::data::{BlogState, BookingState, DataDir, Held, STATE_FORMAT, ShopState, State};
use crate::exit::Ending;
use crate::fleet::{self, Cache, Fleet, Service};
use crate::screen::{self, grouped, say};
use crate::seed::{self, Seeded};
use crate::signals::Signals;
use experiments::Experiments;
use redis::Redis;
use stores::Stores;

/// Signals that come this soon after the first are taken for the same one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Starts everything, runs the experiments, stays until a signal, and stops everything, whatever happened before.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<Ending> {
    let experiments = Experiments::by_default()?;
    let mut signals = Signals::install()?;
    let data = DataDir::locate(args.data.clone())?;
    let held = data.hold()?;
    let mut system = System {
        args,
        experiments,
        data,
        begun: Instant::now(),
        stores: None,
        blog: None,
        shop: None,
        booking: None,
        judged: None,
        _held: held,
    };
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

/// The replicas of shop-api, and the workers.
#[derive(Debug)]
struct Shop {
    replicas: Fleet,
    workers: Fleet,
}

#[derive(Debug)]
struct System {
    args: UpArgs,
    experiments: Experiments,
    data: DataDir,
    begun: Instant,
    stores: Option<Stores>,
    blog: Option<Fleet>,
    shop: Option<Shop>,
    booking: Option<Fleet>,
    /// What the experiments said, once they are done.
    judged: Option<Ending>,
    // The last to go: until then, nobody else may start on this data.
    _held: Held,
}

impl System {
    async fn run(&mut self) -> anyhow::Result<Ending> {
        let state = self.start().await?;
        if !self.args.no_experiments {
            let experiments = self.experiments.clone().run(&state);
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
        urls::show(&state);
        self.keep_up().await
    }

    /// From nothing to replicas that are ready.
    async fn start(&mut self) -> anyhow::Result<State> {
        self.stores = Some(Stores::start(&self.args, &self.data).await?);
        let home = fleet::Home { binaries: self.args.binaries()?, logs: self.data.logs() };
        fleet::set_home(home.clone());
        if let Some(binary) = home.binary(Service::Blog) {
            self.start_blog(&binary).await?;
        }
        if let Some(binary) = home.binary(Service::Shop) {
            self.start_shop(&binary).await?;
        }
        if let Some(binary) = home.binary(Service::Booking) {
            self.start_booking(&binary).await?;
        }
        let state = self.publish()?;
        for (name, replica) in state.replicas() {
            say(&format!("{name}  {}  admin {}", replica.api, replica.admin));
        }
        say(&format!("ready in {:.1} s", self.begun.elapsed().as_secs_f64()));
        Ok(state)
    }

    async fn start_blog(&mut self, binary: &Path) -> anyhow::Result<()> {
        let stores = self.stores.as_ref().context("there are no stores")?;
        let cache = stores.cache();
        let database_url = stores.database_url();
        migrate::migrate(binary, database_url, &self.data.logs().join("blog-api-migrate.log")).await?;
        let plan = seed::Plan {
            database_url: database_url.to_owned(),
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
                cache::forget(cache.url(), &["blog:", "blog-naive:"]).await?;
                say(&format!("blog        {posts} posts"));
            }
        }
        let plan = fleet::Plan {
            replicas: self.args.replicas,
            api_port: self.args.api_port,
            admin_port: self.args.admin_port,
            usual_ports: true,
            ..fleet::Plan::blog(database_url, cache.url(), Cache::Fenced)
        };
        self.blog = Some(Fleet::start(plan).await?);
        Ok(())
    }

    async fn start_shop(&mut self, binary: &Path) -> anyhow::Result<()> {
        let stores = self.stores.as_ref().context("there are no stores")?.shop();
        migrate::migrate(binary, &stores.database_url, &self.data.logs().join("shop-api-migrate.log")).await?;
        let plan = seed::Plan {
            database_url: stores.database_url.clone(),
            items: self.args.products,
            streams: seed::default_streams(),
            // A private server has nothing but the lab's rows in it.
            replace: self.args.database_url.is_none(),
        };
        let products = grouped(self.args.products);
        match seed::shop::seed(&plan).await? {
            Seeded::Before => say(&format!("shop        {products} products (there already)")),
            Seeded::Now => {
                // As with the blog's.
                cache::forget(&stores.cache_redis_url, &["shop:"]).await?;
                say(&format!("shop        {products} products"));
            }
        }
        let args = &self.args;
        let plan = fleet::Plan {
            replicas: args.replicas,
            api_port: args.shop_api_port,
            admin_port: args.shop_admin_port,
            usual_ports: true,
            ..fleet::Plan::shop(&stores)
        };
        let workers = fleet::Plan {
            api_port: args.shop_worker_port,
            admin_port: args.shop_worker_admin_port,
            usual_ports: true,
            ..fleet::Plan::shop_worker(&stores)
        };
        let replicas = Fleet::start(plan).await?;
        match Fleet::start(workers).await {
            Ok(workers) => self.shop = Some(Shop { replicas, workers }),
            Err(error) => {
                replicas.stop().await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn start_booking(&mut self, binary: &Path) -> anyhow::Result<()> {
        let stores = self.stores.as_ref().context("there are no stores")?;
        migrate::migrate(binary, stores.database_url(), &self.data.logs().join("booking-api-migrate.log")).await?;
        let mut plan = fleet::Plan {
            replicas: self.args.replicas,
            api_port: self.args.booking_api_port,
            admin_port: self.args.booking_admin_port,
            usual_ports: true,
            ..fleet::Plan::booking(&stores.booking()?)
        };
        // For the pages of events.
        plan.environment.push(("CACHE_REDIS_URL", stores.cache().url().to_owned()));
        self.booking = Some(Fleet::start(plan).await?);
        Ok(())
    }

    /// Restarts what dies, and keeps the state file true. Ends only with an error.
    async fn keep_up(&self) -> anyhow::Result<Ending> {
        let Some(stores) = &self.stores else { anyhow::bail!("there is nothing to keep up") };
        let replicas = |fleet: Option<&Fleet>| {
            let changes = fleet.map(Fleet::changes);
            async {
                let Some(mut changes) = changes else { return std::future::pending().await };
                loop {
                    changes.next().await;
                    self.publish()?;
                }
            }
        };
        tokio::select! {
            never = stores.keep_up(|| self.publish().map(drop)) => match never? {},
            error = replicas(self.blog.as_ref()) => error,
            error = replicas(self.shop.as_ref().map(|shop| &shop.replicas)) => error,
            error = replicas(self.shop.as_ref().map(|shop| &shop.workers)) => error,
            error = replicas(self.booking.as_ref()) => error,
        }
    }

    fn publish(&self) -> anyhow::Result<State> {
        let Some(stores) = &self.stores else { anyhow::bail!("there is nothing to publish") };
        let started = OffsetDateTime::now_utc() - self.begun.elapsed();
        let state = State {
            format: STATE_FORMAT,
            pid: std::process::id(),
            started_at: started.replace_nanosecond(0)?.format(&Rfc3339)?,
            database_url: stores.database_url().to_owned(),
            postgres_pid: stores.postgres_pid(),
            cache_redis_url: Some(stores.cache().url().to_owned()),
            cache_redis_pid: stores.cache().pid(),
            lock_redis_url: stores.lock().map(|redis| redis.url().to_owned()),
            lock_redis_pid: stores.lock().and_then(Redis::pid),
            redlock_redis_urls: stores.redlock().iter().map(|redis| redis.url().to_owned()).collect(),
            redlock_redis_pids: stores.redlock().iter().filter_map(Redis::pid).collect(),
            blog: self.blog.as_ref().map(|fleet| BlogState { posts: self.args.posts, replicas: fleet.states() }),
            booking: self.booking.as_ref().map(|fleet| BookingState { replicas: fleet.states() }),
            shop: self.shop.as_ref().map(|shop| ShopState {
                products: self.args.products,
                replicas: shop.replicas.states(),
                workers: shop.workers.states(),
            }),
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
        let (shop, workers) = self.shop.take().map(|shop| (shop.replicas, shop.workers)).unzip();
        let fleets = [self.blog.take(), shop, workers, self.booking.take()];
        futures_util::future::join_all(fleets.into_iter().flatten().map(Fleet::stop)).await;
        if let Some(stores) = self.stores.take() {
            stores.stop().await;
        }
    }
}
