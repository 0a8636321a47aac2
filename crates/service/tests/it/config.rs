//! What is said about wrong settings.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use service::config::{self, DatabaseArgs, DatabaseUrl, EX_USAGE, LogArgs, Mistakes, RedisUrl, ServerArgs, Settings};

#[derive(Parser, Debug)]
#[command(name = "blog-api", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    log: LogArgs,
    /// URL of the cache
    #[arg(long, env = "IT_CACHE_REDIS_URL", hide_env_values = true)]
    cache_redis_url: RedisUrl,
    /// Strategy
    #[arg(long, default_value = "fenced")]
    cache: Strategy,
    #[arg(long, default_value = "20", value_parser = config::number(1..=100_u32))]
    page: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Strategy {
    Fenced,
    Naive,
    Off,
}

impl Settings for Args {
    fn check(&self, mistakes: &mut Mistakes) {
        self.server.check(mistakes);
        if self.cache == Strategy::Off && self.page > 50 {
            mistakes.add("--page", self.page, "must be 50 at most without a cache");
        }
    }
}

const RIGHT: [&str; 5] =
    ["blog-api", "--database-url", "postgres://u:secret@localhost/d", "--cache-redis-url", "redis://:secret@localhost"];

fn load(more: &[&str]) -> Result<Args, config::Exit> {
    config::load_from(RIGHT.iter().chain(more))
}

/// The lines of a refused command line.
#[track_caller]
fn lines(args: &[&str]) -> Vec<String> {
    let exit = config::load_from::<Args, _>(args).unwrap_err();
    assert_eq!(exit.code, EX_USAGE, "{}", exit.text);
    assert!(!exit.text.contains("secret"), "{}", exit.text);
    exit.text.lines().map(str::to_owned).collect()
}

#[test]
fn right_settings_are_what_they_say() {
    let args = load(&["--drain", "250ms", "--body-limit", "64KiB", "--cache", "off", "--listen", "[::1]:0"]).unwrap();
    assert_eq!(args.server.drain, Duration::from_millis(250));
    assert_eq!(args.server.body_limit, 65_536);
    assert_eq!(args.server.listen.to_string(), "[::1]:0");
    assert_eq!(args.database.database_pool, 10);
    assert_eq!(args.cache, Strategy::Off);
    assert_eq!(args.cache_redis_url.expose(), "redis://:secret@localhost");
    assert!(!format!("{args:?}").contains("secret"), "{args:?}");
    assert_eq!(format!("{:?}", args.log.log_format), "Text");
}

#[test]
fn each_wrong_setting_has_its_line_all_at_once() {
    let found = lines(&[
        "blog-api",
        "--listen",
        "nonsense",
        "--drain=5",
        "--cache",
        "maybe",
        "--database-url",
        "mysql://u:secret@h/d",
        "--database-pool",
        "0",
        "--colour",
        "blue",
        "--page=1000",
        "--log-format",
        "xml",
        "--cache-redis-url",
        "redis//:secret@h",
    ]);
    let expected = [
        ("--listen (env LISTEN) \"nonsense\"", "must be an IP address and a port, such as 127.0.0.1:8080"),
        ("--drain (env DRAIN) \"5\"", "must be a duration from"),
        ("--cache \"maybe\"", "must be one of fenced, naive, off"),
        ("--database-url (env DATABASE_URL) \"mysql://u:***@h/d\"", "must be a PostgreSQL URL"),
        ("--database-pool (env DATABASE_POOL) \"0\"", "must be a whole number from 1 to 1000"),
        ("--colour", "there is no such flag"),
        ("--page \"1000\"", "must be a whole number from 1 to 100"),
        ("--log-format (env LOG_FORMAT) \"xml\"", "must be one of text, json"),
        ("--cache-redis-url (env IT_CACHE_REDIS_URL) \"redis//:***@h\"", "must be a Redis URL"),
    ];
    for (setting, allowed) in expected {
        let of_it: Vec<_> = found.iter().filter(|line| line.starts_with(&format!("error: {setting}"))).collect();
        assert!(of_it.len() == 1 && of_it[0].contains(allowed), "{setting}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

/// With variables that nobody's environment has.
#[derive(Parser, Debug)]
struct Needy {
    #[arg(long, env = "SERVICE_IT_DATABASE_URL")]
    database_url: DatabaseUrl,
    #[arg(long, env = "SERVICE_IT_REDIS_URL")]
    redis_url: RedisUrl,
    #[arg(long, value_parser = config::number(1..=9_u8))]
    page: u8,
}

impl Settings for Needy {}

#[test]
fn what_must_be_set_is_said_together_with_what_is_wrong() {
    let exit = config::load_from::<Needy, _>(["needy", "--page", "x"]).unwrap_err();
    let mut lines: Vec<_> = exit.text.lines().collect();
    lines.sort_unstable();
    let expected = [
        "error: --database-url (env SERVICE_IT_DATABASE_URL): must be set",
        "error: --page \"x\": must be a whole number from 1 to 9",
        "error: --redis-url (env SERVICE_IT_REDIS_URL): must be set",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn odd_command_lines_are_one_line_each() {
    for (args, expected) in [
        (&["--page"][..], "--page: needs a value"),
        (&["--cache"], "--cache: needs a value, one of fenced, naive, off"),
        (&["extra"], "extra: there is no such flag or argument"),
        (&["-z"], "-z: there is no such flag or argument"),
        (&["--pag", "3"], "--pag: there is no such flag; a similar one is --page"),
        (&["--page", "1", "--page", "2"], "--page: may be given once"),
        (&["--page", ""], "--page \"\": must be a whole number"),
        (&["--page", "two\nlines"], "--page \"two\\nlines\": must be"),
    ] {
        let all: Vec<_> = RIGHT.iter().chain(args).copied().collect();
        let found = lines(&all);
        assert!(found.len() == 1 && found[0].starts_with(&format!("error: {expected}")), "{args:?}: {found:#?}");
    }
}

#[test]
fn values_that_do_not_go_together() {
    let error = load(&["--cache", "off", "--page", "60", "--listen", "127.0.0.1:80", "--admin-listen", "127.0.0.1:80"]);
    let text = error.unwrap_err().text;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "error: --admin-listen (env ADMIN_LISTEN) \"127.0.0.1:80\": must be another address than that of --listen",
            "error: --page \"60\": must be 50 at most without a cache",
        ]
    );
}

#[test]
fn help_and_version_are_no_mistakes() {
    let help = load(&["--help"]).unwrap_err();
    assert_eq!(help.code, 0);
    for part in ["--listen", "[env: LISTEN=", "--database-url", "DATABASE_URL", "Usage: blog-api"] {
        assert!(help.text.contains(part), "{part} is missing in\n{}", help.text);
    }
    let version = load(&["--version"]).unwrap_err();
    assert_eq!((version.code, version.text.trim()), (0, concat!("blog-api ", env!("CARGO_PKG_VERSION"))));
}

#[derive(Parser, Debug)]
#[command(name = "tool")]
struct Tool {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve {
        #[command(flatten)]
        server: ServerArgs,
        #[arg(long, value_parser = config::number(1..=9_u8))]
        replicas: Vec<u8>,
    },
    Migrate,
}

impl Settings for Tool {}

#[test]
fn subcommands_are_looked_at_as_a_whole() {
    let exit = config::load_from::<Tool, _>([
        "tool",
        "serve",
        "--listen",
        "x",
        "--nope=1",
        "--grace",
        "y",
        "--replicas",
        "12",
    ]);
    let exit = exit.unwrap_err();
    assert_eq!((exit.code, exit.text.lines().count()), (EX_USAGE, 4), "{}", exit.text);
    assert!(exit.text.contains("--grace (env GRACE) \"y\""), "{}", exit.text);
    let exit = config::load_from::<Tool, _>(["tool", "sevre"]).unwrap_err();
    assert_eq!((exit.code, exit.text.lines().count()), (EX_USAGE, 1), "{}", exit.text);
    assert!(exit.text.contains("sevre"), "{}", exit.text);
    let fine = config::load_from::<Tool, _>(["tool", "serve", "--replicas", "3"]).unwrap();
    assert!(
        matches!(fine.command, Some(Command::Serve { replicas, server }) if replicas == [3] && server.drain.as_secs() == 5)
    );
    assert!(matches!(config::load_from::<Tool, _>(["tool", "migrate"]).unwrap().command, Some(Command::Migrate)));
}
