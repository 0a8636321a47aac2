//! The programs under test, and how a test waits for what they do.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Longer than anything here takes, also when every processor is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `lab` with arguments, and nothing of the environment that would change what it does.
pub(crate) fn lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(args).env("LAB_BLOG_API", blog_api()).env("LAB_BOOKING_API", booking_api());
    command.env("LAB_SHOP_API", shop_api()).env("LAB_SHOP_WORKER", shop_worker());
    for name in ["DATABASE_URL", "CACHE_REDIS_URL", "LOCK_REDIS_URL", "REDLOCK_REDIS_URLS", "LAB_DATA", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// The binary of blog-api.
pub(crate) fn blog_api() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| service("blog-api"))
}

/// The binary of booking-api.
pub(crate) fn booking_api() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| service("booking-api"))
}

/// The binary of shop-api.
pub(crate) fn shop_api() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| service("shop-api"))
}

/// The binary of shop-worker.
pub(crate) fn shop_worker() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| service("shop-worker"))
}

/// A service's binary: built with the whole workspace it lies beside the lab's; alone, it is built now.
fn service(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(name);
    if !path.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "-p", name]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success() && path.is_file(), "cannot build {name} for the tests of the lab");
    }
    path
}

/// The migrations of the blog, as a template for a test's database.
pub(crate) async fn migrate(url: &str) -> Result<(), String> {
    migrate_by(blog_api(), url)
}

/// The migrations of the shop, as a template for a test's database.
pub(crate) async fn migrate_shop(url: &str) -> Result<(), String> {
    migrate_by(shop_api(), url)
}

fn migrate_by(service: &Path, url: &str) -> Result<(), String> {
    let output = Command::new(service)
        .arg("migrate")
        .env("DATABASE_URL", url)
        .output()
        .map_err(|error| format!("cannot run {} migrate: {error}", service.display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}

/// What a program that has ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the lab runs");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A program that runs beside the test. Killed when the test drops it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the lab runs");
        let said = Arc::new(Mutex::new(String::new()));
        for stream in [
            child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
            child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ] {
            let (stream, said) = (stream.expect("piped"), said.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    said.lock().unwrap().push_str(&(line + "\n"));
                }
            });
        }
        Self { child, said }
    }

    /// Everything that it said until now.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits until it has said `text`.
    pub(crate) fn until_said(&mut self, text: &str) {
        let said = self.said.clone();
        let said = || said.lock().unwrap().clone();
        let says = || said().contains(text);
        let heard = || {
            // What it said last may still be on its way.
            let ended = self.child.try_wait().expect("a child").is_some();
            assert!(!ended || within(Duration::from_secs(5), says), "it ended, saying: {}", said());
            says()
        };
        wait_for(heard, || format!("{text:?} in: {}", said()));
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let said = self.said.clone();
        let mut status = None;
        let ended = || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        };
        wait_for(ended, || format!("the end of the program, which said: {}", said.lock().unwrap()));
        status.expect("it has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a GET of a URL of this machine; `None` if nobody answers.
pub(crate) fn get(url: &str) -> Option<Vec<u8>> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(host).ok()?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    Some(answer.split_off(body))
}

/// Waits for a condition; fails with what was waited for.
pub(crate) fn wait_for(condition: impl FnMut() -> bool, what: impl Fn() -> String) {
    assert!(within(PATIENCE, condition), "waited {} s for {}", PATIENCE.as_secs(), what());
}

fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("an id");
    kill_process(pid, signal).expect("the process is there");
}

/// Whether there is such a process; a zombie, which only waits for somebody to look, is none.
pub(crate) fn is_alive(pid: u32) -> bool {
    let there = Pid::from_raw(pid.cast_signed()).is_some_and(|pid| test_kill_process(pid).is_ok());
    there && !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// A folder that PostgreSQL's user can reach; removed with everything in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/var/tmp/lab-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder below /var/tmp");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
