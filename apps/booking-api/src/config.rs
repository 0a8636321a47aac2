//! The command line and the environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use service::config::{
    self, DatabaseArgs, Exit, LogArgs, MigrateArgs, Mistakes, RedisUrl, ServerArgs, Settings, duration,
};

use crate::strategies::locks;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Books seats of events, and never sells one twice.
#[derive(Clone, Debug, Parser)]
#[command(name = "booking-api", version, about)]
pub struct Args {
    /// What to do; `serve` if nothing is said
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and only for a moment")]
pub enum Command {
    /// Serve the API
    Serve(ServeArgs),
    /// Make or bring up to date the schema `booking` of the database
    Migrate(MigrateArgs),
    /// Print the OpenAPI document
    Openapi,
}

/// The settings of `serve`.
#[derive(Clone, Debug, clap::Args)]
// A booking may wait for its lock and then for its payment.
#[command(mut_arg("request_timeout", |arg| arg.default_value("30s")))]
pub struct ServeArgs {
    /// Where it listens and how it stops.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Its database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Its locks.
    #[command(flatten)]
    pub locks: LockArgs,
    /// Its bookings.
    #[command(flatten)]
    pub bookings: BookingArgs,
    /// Its cache.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Its logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How locks are kept. The times must be equal in all replicas.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Locks")]
pub struct LockArgs {
    /// URL of the locks' Redis, which also hands out the seats of redis-reserve: with AOF, and maxmemory-policy noeviction
    #[arg(long, env = "LOCK_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub lock_redis_url: RedisUrl,

    /// URLs of the independent Redis of redlock, an odd number from 3 on, with commas between; without them there is no redlock
    #[arg(long, env = "REDLOCK_REDIS_URLS", hide_env_values = true, value_name = "URLS", value_delimiter = ',')]
    pub redlock_redis_urls: Vec<RedisUrl>,

    /// Longest wait for an event's lock; a booking that waits longer gets 423
    #[arg(long, env = "LOCK_DEADLINE", default_value = "5s", value_parser = duration(MILLISECOND..=MINUTE), value_name = "TIME")]
    pub lock_deadline: Duration,

    /// redis-fenced and pg-*: lease after a renewal, which is what a dead or stopped holder costs the others
    #[arg(long, env = "LOCK_LEASE", default_value = "10s", value_parser = duration(MILLISECOND..=DAY), value_name = "TIME")]
    pub lock_lease: Duration,

    /// redis-fenced: lease of a grant until its first renewal
    #[arg(long, env = "LOCK_FIRST_LEASE", default_value = "3s", value_parser = duration(MILLISECOND..=DAY), value_name = "TIME")]
    pub lock_first_lease: Duration,

    /// redis-fenced: how often a waiter asks, in case that its grant was lost
    #[arg(long, env = "LOCK_POLL", default_value = "1s", value_parser = duration(MILLISECOND..=DAY), value_name = "TIME")]
    pub lock_poll: Duration,

    /// redis and redlock: their lease
    #[arg(long, env = "PLAIN_LEASE", default_value = "10s", value_parser = duration(MILLISECOND..=DAY), value_name = "TIME")]
    pub plain_lease: Duration,

    /// Longest time that a lock is held; then it is lost
    #[arg(long, env = "MAX_HOLD", default_value = "60s", value_parser = duration(MILLISECOND..=DAY), value_name = "TIME")]
    pub max_hold: Duration,

    /// Whether a fence waits for its own flush to the disk; behind a pooler in transaction mode it must
    #[arg(long, env = "LOCK_ENTER", default_value = "relaxed", value_name = "MODE")]
    pub lock_enter: EnterMode,

    /// Namespace of Kubernetes in which the Leases of k8s-lease are; that of the pod unless told
    #[arg(long, env = "K8S_NAMESPACE", value_name = "NAME")]
    pub k8s_namespace: Option<String>,
}

/// Whether a fence waits for its own flush to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnterMode {
    /// It does not, which saves one of two flushes; needs direct connections to PostgreSQL
    Relaxed,
    /// It does; works through any pooler
    Durable,
}

/// What is kept of bookings beside themselves.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bookings")]
pub struct BookingArgs {
    /// How long an Idempotency-Key is known
    #[arg(long, env = "IDEMPOTENCY_RETENTION", default_value = "24h", value_parser = duration(SECOND..=365 * DAY), value_name = "TIME")]
    pub idempotency_retention: Duration,

    /// redis-reserve: how long a reservation may be neither claimed nor given back until its seat is free again
    #[arg(long, env = "RESERVATION_TIMEOUT", default_value = "30s", value_parser = duration(100 * MILLISECOND..=DAY), value_name = "TIME")]
    pub reservation_timeout: Duration,
}

/// How events' pages are cached.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheArgs {
    /// URL of the cache's Redis, through which events' pages are read; without it they come from the database
    #[arg(long, env = "CACHE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub cache_redis_url: Option<RedisUrl>,
}

impl Settings for Args {
    fn check(&self, mistakes: &mut Mistakes) {
        if let Command::Serve(args) = &self.command {
            args.check(mistakes);
        }
    }
}

impl ServeArgs {
    fn check(&self, mistakes: &mut Mistakes) {
        self.server.check(mistakes);
        if self.server.request_timeout <= self.locks.lock_deadline {
            let allowed = format!("must be longer than --lock-deadline ({:?})", self.locks.lock_deadline);
            mistakes.add("--request-timeout", format!("{:?}", self.server.request_timeout), allowed);
        }
        locks::check(&self.locks, mistakes);
        if let Some(url) = &self.cache.cache_redis_url {
            mistakes.add_unless_plain("--cache-redis-url", url);
        }
    }
}

/// Reads the settings of this process, or prints what is wrong with them and ends it.
#[must_use]
pub fn load() -> Args {
    parse(std::env::args_os()).unwrap_or_else(|exit| exit.exit())
}

/// The settings in these arguments, of which the first one is the program's name.
///
/// # Errors
/// What to print, and the exit status.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    config::load_from(config::serve_unless_told(args))
}
