//! The command line and the environment.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};
use service::config::{self, DatabaseArgs, Exit, LogArgs, Mistakes, RedisUrl, ServerArgs, Settings, duration, number};

/// Applies the shop's events to the cache.
#[derive(Clone, Debug, Parser)]
#[command(name = "shop-worker", version, about)]
pub struct Args {
    /// What to do; `serve` if nothing is said
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Apply events, or stand by for one that does
    Serve(ServeArgs),
}

/// The settings of `serve`.
#[derive(Clone, Debug, clap::Args)]
// Nobody sends it requests that would have to be drained, and it holds few connections.
#[command(mut_arg("drain", |arg| arg.default_value("0s")), mut_arg("database_pool", |arg| arg.default_value("3")))]
pub struct ServeArgs {
    /// Where it listens and how it stops.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Its database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// What it does.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// Its logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the worker does.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// URL of the cache's Redis, where the channel is too
    #[arg(long = "cache-redis-url", env = "CACHE_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: RedisUrl,

    /// How often the relay repeats the last number
    #[arg(long, env = "HEARTBEAT", default_value = "250ms", value_parser = duration(Duration::from_millis(10)..=Duration::from_secs(60)), value_name = "TIME")]
    pub heartbeat: Duration,

    /// Whether missed events are read from the table; `false` is for experiments that show why they have to be
    #[arg(long, env = "GAP_REPAIR", default_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub gap_repair: bool,

    /// The most events that are read from the table at once
    #[arg(long, env = "PAGE", default_value = "5000", value_parser = number(1..=100_000_u32), value_name = "COUNT")]
    pub page: u32,

    /// How long a leader may be silent before PostgreSQL ends its session and another one leads
    #[arg(long, env = "LEADER_TIMEOUT", default_value = "3s", value_parser = duration(Duration::from_secs(2)..=Duration::from_secs(600)), value_name = "TIME")]
    pub leader_timeout: Duration,
}

impl Settings for Args {
    fn check(&self, mistakes: &mut Mistakes) {
        let Command::Serve(args) = &self.command;
        args.server.check(mistakes);
        mistakes.add_unless_plain("--cache-redis-url", &args.worker.redis_url);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<ServeArgs, Exit> {
        let Command::Serve(args) =
            parse(std::iter::once("shop-worker").chain(line.split_whitespace()).map(OsString::from))?.command;
        Ok(args)
    }

    const STORES: &str = "--database-url postgres://h/d --cache-redis-url redis://h";

    #[test]
    fn gaps_are_repaired_unless_told() {
        let args = parsed(STORES).unwrap();
        assert!(args.worker.gap_repair);
        assert_eq!((args.database.database_pool, args.server.drain), (3, Duration::ZERO));
        assert!(!parsed(&format!("serve {STORES} --gap-repair=false")).unwrap().worker.gap_repair);
        assert_eq!(parsed(&format!("{STORES} --gap-repair=perhaps")).unwrap_err().code, 64);
        assert_eq!(parsed(&format!("{STORES} --gap-repair")).unwrap_err().code, 64);
    }

    #[test]
    fn tls_is_refused_rather_than_left_out() {
        let exit = parsed("--database-url postgres://h/d --cache-redis-url rediss://u:secret@h").unwrap_err();
        assert_eq!(exit.code, 64);
        assert!(exit.text.contains("CACHE_REDIS_URL") && !exit.text.contains("secret"), "{}", exit.text);
        assert_eq!(exit.text.lines().count(), 1, "{}", exit.text);
    }
}
