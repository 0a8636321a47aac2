//! The real program: its output, its exit status, its signals.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use http::Method;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::{Request, SOON};

/// Runs a command to its end, which it must reach soon.
pub async fn output(command: &mut Command) -> Output {
    timeout(SOON, command.kill_on_drop(true).output()).await.expect("the program ends").unwrap()
}

/// What it has printed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A replica in a process of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
    api: SocketAddr,
    admin: SocketAddr,
    /// Open for as long as the process runs: it logs.
    log: Log,
}

#[derive(Debug)]
enum Log {
    Out(Lines<BufReader<ChildStdout>>),
    Err(Lines<BufReader<ChildStderr>>),
}

impl Process {
    /// Starts the program on any free ports and waits until it listens. It must log as JSON at the level info.
    pub async fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain", "0s", "--log-format", "json"])
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            loop {
                let (line, is_out) = tokio::select! {
                    Ok(Some(line)) = out.next_line() => (line, true),
                    Ok(Some(line)) = err.next_line() => (line, false),
                    else => panic!("it ended before it listened"),
                };
                if line.contains("\"listening\"") {
                    return (line, is_out);
                }
            }
        };
        let (line, is_out) = timeout(SOON, listening).await.expect("it listens");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| {
            let found = line.get(name).or_else(|| line["fields"].get(name)).unwrap_or_else(|| panic!("{line}"));
            found.as_str().unwrap().parse().unwrap()
        };
        let log = if is_out { Log::Out(out) } else { Log::Err(err) };
        Self { child, api: address("api"), admin: address("admin"), log }
    }

    /// A request to its API.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.api, method, path)
    }

    /// A request to its admin port.
    pub fn admin(&self, path: &str) -> Request {
        Request::new(self.admin, Method::GET, path)
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal by its name, such as `TERM` or `STOP`.
    pub async fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn terminate(self) -> Option<i32> {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits for its end and returns the exit status.
    pub async fn ended(mut self) -> Option<i32> {
        let rest = async {
            match &mut self.log {
                Log::Out(lines) => while let Ok(Some(_)) = lines.next_line().await {},
                Log::Err(lines) => while let Ok(Some(_)) = lines.next_line().await {},
            }
        };
        let (status, ()) = timeout(SOON, async { tokio::join!(self.child.wait(), rest) }).await.expect("it stops");
        status.unwrap().code()
    }
}
