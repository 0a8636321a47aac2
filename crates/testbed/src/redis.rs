//! A private Redis server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::binaries;
use crate::error::TestbedError;
use crate::folder::Folder;
use crate::guardian::{Ending, Exit, Guarded, Scratch, Spec};
use crate::port;
use crate::process::{Current, log_length, log_since, not_ready, until_ready};

/// How long the port may stay taken when a server starts again.
const AGAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may write its last file before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What a Redis server shall be like. Made by [`RedisServer::builder`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RedisBuilder {
    folder: Option<PathBuf>,
    port: Option<u16>,
    append_only: bool,
    settings: Vec<(String, String)>,
}

impl RedisBuilder {
    /// Keeps the server's files in this folder (`data`, `server.log`, `lock`), which is created when it is missing and
    /// never removed. Without it the server has a temporary folder that is removed when it stops.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Listens on this port of 127.0.0.1, instead of a free one between 20000 and 29999.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Writes an append-only file (fsync once a second), so that data survives [`RedisServer::kill`] and
    /// [`RedisServer::start_again`]. Without it, and without a `save` setting, nothing is written to disk.
    pub fn appendonly(mut self, append_only: bool) -> Self {
        self.append_only = append_only;
        self
    }

    /// One setting of `redis.conf`, such as `("maxmemory", "2mb")`. A value of several words becomes several arguments,
    /// an empty one an empty argument. A later setting wins over an earlier one.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it answers commands (about 20 ms).
    ///
    /// # Errors
    /// Redis is missing or too old, the folder is in use or out of reach, the port that was asked for is taken, or the
    /// server does not come up (then with the end of its log).
    pub async fn start(self) -> Result<RedisServer, TestbedError> {
        let program = binaries::redis()?;
        let folder = match &self.folder {
            None => Folder::scratch(None, "redis")?,
            Some(path) => {
                let folder = Folder::kept(None, path).await?;
                fs::create_dir_all(folder.data()).map_err(|source| TestbedError::Io {
                    action: "create",
                    path: folder.data(),
                    source,
                })?;
                folder
            }
        };
        let setup = Setup { program, folder, append_only: self.append_only, settings: self.settings };
        let (guarded, port) = setup.launch(self.port, None).await?;
        Ok(RedisServer { port, current: Current::new(guarded), setup })
    }
}

#[derive(Debug)]
struct Setup {
    program: PathBuf,
    folder: Folder,
    append_only: bool,
    settings: Vec<(String, String)>,
}

impl Setup {
    /// Where Redis puts its files. A scratch folder has no folder inside it: its guardian makes only the one.
    fn data(&self) -> PathBuf {
        if self.folder.is_kept() { self.folder.data() } else { self.folder.path.clone() }
    }

    async fn launch(&self, wanted: Option<u16>, again: Option<u16>) -> Result<(Guarded, u16), TestbedError> {
        let log = self.folder.log();
        let deadline = Instant::now() + AGAIN_LIMIT;
        let mut before: Option<Guarded> = None;
        loop {
            let port = match again.or(wanted) {
                Some(port) => port,
                None => port::free()?,
            };
            let start = log_length(&log);
            let guarded = Guarded::spawn(self.spec(port, &log, again.is_none() && before.is_none())).await?;
            if let Some(before) = before.take() {
                before.keep().await;
            }
            let limit = Duration::from_secs(60);
            let Err(reason) = until_ready(&guarded, limit, async || answers(port, guarded.pid()).await).await else {
                return Ok((guarded, port));
            };
            let written = log_since(&log, start);
            let conflict = port::conflict(&written);
            if conflict && again.is_none() && wanted.is_some() {
                return Err(TestbedError::PortTaken { port });
            }
            if !(conflict && Instant::now() < deadline && guarded.exit().is_some()) {
                if again.is_some() {
                    // There may be another try: the files stay, under the guard of the process before.
                    guarded.signal(Signal::KILL);
                    guarded.ended().await;
                    guarded.keep().await;
                }
                return Err(not_ready("Redis", reason, &written));
            }
            before = Some(guarded);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn spec<'a>(&'a self, port: u16, log: &'a Path, first: bool) -> Spec<'a> {
        let data = self.data().to_string_lossy().into_owned();
        let mut settings = vec![
            ("port", port.to_string()),
            ("bind", "127.0.0.1".into()),
            ("daemonize", "no".into()),
            ("save", String::new()),
            ("appendonly", if self.append_only { "yes" } else { "no" }.into()),
        ];
        settings.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut args = vec!["--dir".into(), data];
        for (name, value) in settings {
            args.push(format!("--{name}"));
            if value.is_empty() {
                args.push(value);
            } else {
                args.extend(value.split_whitespace().map(String::from));
            }
        }
        let kept = self.folder.is_kept();
        let scratch = self.folder.path.clone();
        Spec {
            program: &self.program,
            args,
            account: None,
            log,
            ending: if kept {
                Ending { signal: "TERM", last_resort: "KILL", patience_seconds: 30 }
            } else {
                Ending::KILL
            },
            scratch: match (kept, first) {
                (true, _) => Scratch::None,
                (false, true) => Scratch::New(scratch),
                (false, false) => Scratch::Kept(scratch),
            },
            lock: self.folder.lock(),
        }
    }
}

/// Whether the server on this port answers (it does not while it still loads its file), and is the process that we mean.
async fn answers(port: u16, pid: u32) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"INFO server\r\nSELECT 0\r\n").await?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"+OK\r\n") && !reply.starts_with(b"-") {
            if stream.read_buf(&mut reply).await? == 0 {
                break;
            }
        }
        let reply = String::from_utf8_lossy(&reply);
        // With `requirepass` among the settings it does not tell us more than that it is there.
        Ok::<_, std::io::Error>(reply.contains(&format!("process_id:{pid}\r\n")) || reply.starts_with("-NOAUTH"))
    };
    ask.await.unwrap_or(false)
}

/// A Redis server of our own, on 127.0.0.1, without a password.
///
/// Dropping it stops it in the background; [`stop`](Self::stop) waits for that. See the crate's documentation for what
/// happens when this process dies.
#[derive(Debug)]
pub struct RedisServer {
    current: Current,
    setup: Setup,
    port: u16,
}

impl RedisServer {
    /// A server that keeps nothing on disk, unless the builder is told otherwise.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Its address: `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port, which stays the same through every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the current process (or of the last one, after [`kill`](Self::kill)).
    pub fn pid(&self) -> u32 {
        self.current.get().pid()
    }

    /// The folder with `server.log` and whatever the server writes.
    pub fn folder(&self) -> &Path {
        &self.setup.folder.path
    }

    /// Waits until the current process has ended, for whatever reason.
    pub fn ended(&self) -> impl Future<Output = Exit> + Send + use<> {
        self.current.get().ended()
    }

    /// SIGKILL. Returns when the process is gone and its connections are closed.
    pub async fn kill(&self) {
        let guarded = self.current.get();
        guarded.signal(Signal::KILL);
        guarded.ended().await;
    }

    /// SIGSTOP: connections stay open and are still accepted by the kernel, but nothing is answered until
    /// [`resume`](Self::resume). Returns when the process has stopped.
    pub fn pause(&self) {
        let guarded = self.current.get();
        guarded.signal(Signal::STOP);
        // The signal takes effect a moment after the call. Elsewhere than on Linux nobody can tell when.
        let state = format!("/proc/{}/stat", guarded.pid());
        for _ in 0..1_000 {
            match fs::read_to_string(&state) {
                Ok(text) if !text.rsplit(") ").next().unwrap_or_default().starts_with('T') => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                _ => return,
            }
        }
    }

    /// SIGCONT: the server answers what has come in meanwhile, and goes on.
    pub fn resume(&self) {
        self.current.get().signal(Signal::CONT);
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port, with what it had on disk: nothing, unless
    /// [`RedisBuilder::appendonly`] or a `save` setting was given. Nothing happens when it is running.
    ///
    /// # Errors
    /// It does not come up, or the port has been taken by somebody else for more than ten seconds.
    pub async fn start_again(&self) -> Result<(), TestbedError> {
        let _turn = self.current.turn.lock().await;
        if self.current.get().exit().is_none() {
            return Ok(());
        }
        self.setup.folder.take().await?;
        let (guarded, _) = self.setup.launch(None, Some(self.port)).await?;
        self.current.replace(guarded).await;
        Ok(())
    }

    /// [`kill`](Self::kill), then a start without any data, on the same port.
    ///
    /// # Errors
    /// As [`start_again`](Self::start_again), and when the old data cannot be removed.
    pub async fn restart_empty(&self) -> Result<(), TestbedError> {
        self.kill().await;
        let data = self.setup.data();
        let io = |source| TestbedError::Io { action: "empty", path: data.clone(), source };
        for entry in fs::read_dir(&data).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io)?;
            } else if path != self.setup.folder.log() {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        self.start_again().await
    }

    /// Stops the server (SIGTERM, so that a `save` setting takes effect; SIGKILL for a temporary one). Returns when it is
    /// gone, and its folder if it was a temporary one.
    pub async fn stop(&self) {
        let _turn = self.current.turn.lock().await;
        let guarded = self.current.get();
        if self.setup.folder.is_kept() {
            guarded.signal(Signal::TERM);
            guarded.signal(Signal::CONT);
            let _ = timeout(STOP_LIMIT, guarded.ended()).await;
        }
        guarded.signal(Signal::KILL);
        guarded.ended().await;
        guarded.remove().await;
        self.setup.folder.leave();
    }
}
