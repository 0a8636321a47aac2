//! A private PostgreSQL server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::account::Account;
use crate::binaries::{self, PostgresPrograms};
use crate::error::TestbedError;
use crate::folder::{Folder, settle_postmaster};
use crate::guardian::{Ending, Exit, Guarded, Scratch, Spec};
use crate::port;
use crate::process::{Current, log_length, log_since, not_ready, until_ready};

/// How long a fast shutdown may take before it becomes an immediate one.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long a port or shared memory of the process before may stay taken when a server starts again.
const AGAIN_LIMIT: Duration = Duration::from_secs(10);

/// What a PostgreSQL server shall be like. Made by [`PostgresServer::builder`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct PostgresBuilder {
    folder: Option<PathBuf>,
    port: Option<u16>,
    durable: bool,
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Keeps the server's files in this folder (`data`, `server.log`, `lock`), which is created when it is missing and
    /// never removed. Without it the server has a temporary folder that is removed when it stops.
    ///
    /// The folder must be [`reachable`](crate::reachable) for the account that runs PostgreSQL.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Listens on this port of 127.0.0.1, instead of a free one between 20000 and 29999.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// `true`: PostgreSQL's own defaults, as in production; a loss of the machine loses nothing that was committed.
    /// `false` (the default): no fsync, no full page images, 300 connections: for tests. What was committed then survives
    /// a crash of the server ([`PostgresServer::kill`]), but not of the machine.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// One setting of `postgresql.conf`, such as `("shared_buffers", "1GB")`. A later one wins over an earlier one, and
    /// all win over [`durable`](Self::durable).
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server, creating its files first where there are none, and waits until it answers queries.
    ///
    /// A folder whose previous server is still shutting down is waited for, up to a minute.
    ///
    /// # Errors
    /// PostgreSQL is missing or too old, the folder is in use or out of reach, the port that was asked for is taken, or
    /// the server does not come up (then with the end of its log).
    pub async fn start(self) -> Result<PostgresServer, TestbedError> {
        let programs = binaries::postgres()?;
        let account = Account::for_postgres()?;
        let folder = match &self.folder {
            None => Folder::scratch(account.as_ref(), "postgres")?,
            Some(path) => Folder::kept(account.as_ref(), path).await?,
        };
        let setup = Setup { programs, account, folder, durable: self.durable, settings: self.settings };
        let created = setup.create_data().await?;
        let (guarded, port) = setup.launch(self.port, created, None).await?;
        Ok(PostgresServer { port, current: Current::new(guarded), setup })
    }
}

/// Everything that stays the same when the process is replaced.
#[derive(Debug)]
struct Setup {
    programs: PostgresPrograms,
    account: Option<Account>,
    folder: Folder,
    durable: bool,
    settings: Vec<(String, String)>,
}

/// The data folder of a fresh cluster, made once per process and copied for every server that is not durable.
static SEED: OnceCell<(PathBuf, Guarded)> = OnceCell::const_new();

impl Setup {
    /// Makes sure that there is a database cluster. Returns the process that made it, as long as it guards the scratch
    /// folder.
    async fn create_data(&self) -> Result<Option<Guarded>, TestbedError> {
        let data = self.folder.data();
        if !self.folder.is_kept() {
            let scratch = Scratch::New(self.folder.path.clone());
            return self.copy_seed(&data, scratch).await.map(Some);
        }
        if data.join("PG_VERSION").exists() {
            settle_postmaster(&data).await?;
            return Ok(None);
        }
        // Under another name until it is complete: a half-made cluster must not look like one.
        let unfinished = self.folder.path.join("data.new");
        let io = |action| {
            let path = unfinished.clone();
            move |source| TestbedError::Io { action, path, source }
        };
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(io("remove"))?;
        }
        let made = if self.durable {
            self.run(&self.programs.initdb, self.initdb_args(&unfinished), &self.folder, Scratch::None).await?
        } else {
            self.copy_seed(&unfinished, Scratch::None).await?
        };
        made.keep().await;
        fs::rename(&unfinished, &data).map_err(io("rename"))?;
        Ok(None)
    }

    async fn copy_seed(&self, to: &Path, scratch: Scratch) -> Result<Guarded, TestbedError> {
        let (seed, _) = SEED.get_or_try_init(|| self.seed()).await?;
        self.run(Path::new("cp"), vec!["-R".into(), path_text(seed), path_text(to)], &self.folder, scratch).await
    }

    async fn seed(&self) -> Result<(PathBuf, Guarded), TestbedError> {
        let folder = Folder::scratch(self.account.as_ref(), "initdb")?;
        let scratch = Scratch::New(folder.path.clone());
        let guarded = self.run(&self.programs.initdb, self.initdb_args(&folder.data()), &folder, scratch).await?;
        Ok((folder.data(), guarded))
    }

    fn initdb_args(&self, data: &Path) -> Vec<String> {
        let mut args = vec!["-D".into(), path_text(data)];
        args.extend(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"].map(String::from));
        if !self.durable {
            args.push("--no-sync".into());
        }
        args
    }

    /// Runs a program to its end.
    async fn run(
        &self,
        program: &Path,
        args: Vec<String>,
        folder: &Folder,
        scratch: Scratch,
    ) -> Result<Guarded, TestbedError> {
        let log = folder.log();
        let spec = Spec {
            program,
            args,
            account: self.account.as_ref(),
            log: &log,
            // initdb stops the server that it runs inside; killing it would leave that one behind for a moment.
            ending: Ending { signal: "TERM", last_resort: "KILL", patience_seconds: 5 },
            scratch,
            lock: folder.lock(),
        };
        let guarded = Guarded::spawn(spec).await?;
        let exit = guarded.ended().await;
        if exit.success() { Ok(guarded) } else { Err(not_ready("initdb", exit.to_string(), &log_since(&log, 0))) }
    }

    /// Starts a postmaster and waits until it answers. `before` is the process that guarded the folder until now;
    /// `again` is the port that this server had.
    async fn launch(
        &self,
        wanted: Option<u16>,
        mut before: Option<Guarded>,
        again: Option<u16>,
    ) -> Result<(Guarded, u16), TestbedError> {
        let log = self.folder.log();
        // Recovery after a crash takes as long as it takes.
        let limit = Duration::from_secs(if self.durable { 600 } else { 60 });
        let deadline = Instant::now() + AGAIN_LIMIT;
        loop {
            let port = match again.or(wanted) {
                Some(port) => port,
                None => port::free()?,
            };
            let start = log_length(&log);
            let guarded = Guarded::spawn(self.spec(port, &log)).await?;
            if let Some(before) = before.take() {
                before.keep().await;
            }
            let Err(reason) = until_ready(&guarded, limit, async || self.answers(port).await).await else {
                return Ok((guarded, port));
            };
            let written = log_since(&log, start);
            let in_time = Instant::now() < deadline;
            if port::conflict(&written) && again.is_none() && wanted.is_some() {
                return Err(TestbedError::PortTaken { port });
            }
            // The processes of a killed postmaster need a moment to notice.
            let passing = port::conflict(&written) || written.contains("pre-existing shared memory block");
            if !(passing && in_time && guarded.exit().is_some()) {
                if again.is_some() {
                    // There may be another try: the files stay, under the guard of the process before.
                    guarded.signal(Signal::QUIT);
                    guarded.ended().await;
                    guarded.keep().await;
                }
                return Err(not_ready("PostgreSQL", reason, &written));
            }
            before = Some(guarded);
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn spec<'a>(&'a self, port: u16, log: &'a Path) -> Spec<'a> {
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ];
        if !self.durable {
            // Not synchronous_commit: an acknowledged commit must survive `kill`, and without fsync it costs next to nothing.
            settings.extend([("fsync", "off"), ("full_page_writes", "off"), ("max_connections", "300")]);
        }
        settings.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut args = vec!["-D".into(), path_text(&self.folder.data()), "-p".into(), port.to_string()];
        for (name, value) in settings {
            args.extend(["-c".into(), format!("{name}={value}")]);
        }
        let kept = self.folder.is_kept();
        Spec {
            program: &self.programs.postgres,
            args,
            account: self.account.as_ref(),
            log,
            ending: Ending {
                signal: if kept { "INT" } else { "QUIT" },
                last_resort: if kept { "QUIT" } else { "KILL" },
                patience_seconds: if kept { 60 } else { 10 },
            },
            scratch: if kept { Scratch::None } else { Scratch::Kept(self.folder.path.clone()) },
            lock: self.folder.lock(),
        }
    }

    /// Whether the server on this port answers, and is ours: for a moment somebody else's may be there.
    async fn answers(&self, port: u16) -> bool {
        let Ok(mut connection) = options(port, "postgres").connect().await else { return false };
        let folder: Result<String, _> = sqlx::query_scalar("show data_directory").fetch_one(&mut connection).await;
        let _ = connection.close().await;
        folder.is_ok_and(|folder| Path::new(&folder) == self.folder.data())
    }
}

/// Connection options that no `PG…` variable of the environment changes.
pub(crate) fn options(port: u16, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A PostgreSQL server of our own, on 127.0.0.1. Its superuser is `postgres`, without a password.
///
/// Dropping it stops it in the background; [`stop`](Self::stop) waits for that. See the crate's documentation for what
/// happens when this process dies.
#[derive(Debug)]
pub struct PostgresServer {
    current: Current,
    setup: Setup,
    port: u16,
}

impl PostgresServer {
    /// A throw-away server in a temporary folder, unless the builder is told otherwise.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The address of a database of this server: `postgres://postgres@127.0.0.1:PORT/DATABASE`. Every server has the
    /// database `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port, which stays the same through every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the current postmaster (or of the last one, after [`kill`](Self::kill)).
    pub fn pid(&self) -> u32 {
        self.current.get().pid()
    }

    /// The folder that holds `data` and `server.log`.
    pub fn folder(&self) -> &Path {
        &self.setup.folder.path
    }

    /// Waits until the current process has ended, for whatever reason.
    pub fn ended(&self) -> impl Future<Output = Exit> + Send + use<> {
        self.current.get().ended()
    }

    /// Crashes the server (PostgreSQL's immediate shutdown: every process quits at once, nothing is written back) and
    /// waits until it is gone. What was committed before is there after [`start_again`](Self::start_again), by recovery.
    ///
    /// Not SIGKILL: that would leave the postmaster's children running, and committing, for a while.
    pub async fn kill(&self) {
        let guarded = self.current.get();
        guarded.signal(Signal::QUIT);
        guarded.ended().await;
    }

    /// Starts the server again after [`kill`](Self::kill) or a crash, on the same port and files. Nothing happens when it
    /// is running.
    ///
    /// # Errors
    /// It does not come up, or the port has been taken by somebody else for more than ten seconds.
    pub async fn start_again(&self) -> Result<(), TestbedError> {
        let _turn = self.current.turn.lock().await;
        if self.current.get().exit().is_none() {
            return Ok(());
        }
        self.setup.folder.take().await?;
        let (guarded, _) = self.setup.launch(None, None, Some(self.port)).await?;
        self.current.replace(guarded).await;
        Ok(())
    }

    /// A fast shutdown (open transactions are rolled back, connections closed) and a new start on the same port and files.
    ///
    /// # Errors
    /// As [`start_again`](Self::start_again).
    pub async fn restart(&self) -> Result<(), TestbedError> {
        self.shut_down().await;
        self.start_again().await
    }

    /// A fast shutdown. Returns when the server is gone, and its folder if it was a temporary one.
    pub async fn stop(&self) {
        let _turn = self.current.turn.lock().await;
        self.shut_down().await;
        self.current.get().remove().await;
        self.setup.folder.leave();
    }

    async fn shut_down(&self) {
        let guarded = self.current.get();
        guarded.signal(Signal::INT);
        if timeout(STOP_LIMIT, guarded.ended()).await.is_err() {
            guarded.signal(Signal::QUIT);
            guarded.ended().await;
        }
    }

    /// Connects as the superuser.
    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection, TestbedError> {
        Ok(PgConnection::connect_with(&options(self.port, database)).await?)
    }
}
