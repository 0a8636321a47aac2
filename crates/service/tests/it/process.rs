//! A whole process: its configuration, its signals, its log.
//!
//! The process is this test binary itself, started again with [`child`] as its only test, so that nothing else has to be built.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use axum::Router;
use axum::routing::get;
use clap::Parser;
use serde_json::Value;
use service::Server;
use service::config::{self, LogArgs, ServerArgs, Settings};

use crate::client::Client;

const ARGS: &str = "SERVICE_IT_ARGS";

#[derive(Parser, Debug)]
#[command(name = "it", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Settings for Args {}

#[test]
#[ignore = "not a test: the process that the tests of this file start"]
fn child() {
    let args = std::env::var(ARGS).expect("started by a test of this file");
    let args: Args = config::load_from(args.split('\n')).unwrap_or_else(|exit| exit.exit());
    let status = service::run(async move {
        let telemetry = service::telemetry("it", "0").install(&args.log)?;
        let server = Server::bind(&args.server, &telemetry).await?;
        let routes = Router::new()
            .route("/fast", get(async || "fast"))
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/slow", get(async || std::future::pending::<&'static str>().await));
        server.run(routes).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    assert_eq!(status, std::process::ExitCode::SUCCESS);
}

/// The process on free ports, with these settings and none of this environment's.
fn command(args: &[&str]) -> Command {
    let mut all = vec!["it"];
    all.extend(args);
    for port in ["--listen", "--admin-listen"] {
        if !args.contains(&port) {
            all.extend([port, "127.0.0.1:0"]);
        }
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["process::child", "--exact", "--ignored", "--nocapture"])
        .env(ARGS, all.join("\n"))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["DRAIN", "GRACE", "RUST_LOG", "LOG_FORMAT", "BODY_LIMIT", "REQUEST_TIMEOUT"] {
        command.env_remove(name);
    }
    command
}

/// A running process and its log, line by line. Killed on drop.
struct Running {
    process: Child,
    log: BufReader<ChildStderr>,
    api: SocketAddr,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let args: Vec<_> = ["--log-format", "json"].iter().chain(args).copied().collect();
        let mut process = command(&args).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let listening = next(&mut log, "listening");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        assert_ne!(address("admin"), address("api"));
        Self { api: address("api"), process, log }
    }

    fn line(&mut self, message: &str) -> Value {
        next(&mut self.log, message)
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The next log line with this message; the log ends with the process, so this does not wait for ever.
fn next(log: &mut impl BufRead, message: &str) -> Value {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "no line {message:?} in\n{seen}");
        seen.push_str(&line);
        match serde_json::from_str::<Value>(&line) {
            Ok(value) if value["message"] == message => return value,
            _ => {}
        }
    }
}

#[test]
fn wrong_settings_end_the_process_with_64_and_a_line_each() {
    let output = command(&["--drain", "soon", "--grace", "later"]).env("BODY_LIMIT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for wrong in
        ["--drain (env DRAIN) \"soon\"", "--grace (env GRACE) \"later\"", "--body-limit (env BODY_LIMIT) \"1\""]
    {
        assert!(lines.iter().any(|line| line.contains(wrong)), "{text}");
    }
}

#[test]
fn help_goes_to_standard_output_and_is_no_failure() {
    let output = command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("--admin-listen"));
    assert!(output.stderr.is_empty());
}

#[test]
fn an_address_in_use_is_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&["--admin-listen", &address]).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(line.starts_with(&format!("error: cannot listen on {address} (--admin-listen): ")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_in_order_with_status_0() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&["--drain", "0s"]);
        assert_eq!(Client::connect(running.api).await.get("/fast").await.text(), "fast");
        running.signal(signal);
        let messages = ["stopping", "draining: not ready, still serving", "no longer accepting: finishing", "stopped"];
        for message in messages {
            running.line(message);
        }
        assert_eq!(running.wait(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut running = Running::start(&["--drain", "1h"]);
    running.signal("-TERM");
    running.line("draining: not ready, still serving");
    assert_eq!(Client::connect(running.api).await.get("/fast").await.status, 200, "still serving");
    running.signal("-INT");
    running.line("stopped at once by a second signal");
    assert_eq!(running.wait(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_carry_the_ids_of_their_request() {
    let mut running =
        Running::start(&["--drain", "0s", "--request-timeout", "50ms", "--log-filter", "info,service::access=debug"]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut client = Client::connect(running.api).await;
    let mut ask = async |path: &str| {
        client
            .exchange(&format!(
                "GET {path} HTTP/1.1\r\nhost: test\r\nx-request-id: id-of{}\r\ntraceparent: {trace}\r\n\r\n",
                path.replace('/', "-")
            ))
            .await
    };
    let ids =
        |line: &Value| (line["request_id"].as_str().unwrap().to_owned(), line["trace_id"].as_str().unwrap().to_owned());
    let trace = "0af7651916cd43dd8448eb211c80319c".to_owned();

    assert_eq!(ask("/fast?token=secret").await.status, 200);
    let line = running.line("answered");
    assert_eq!((&line["route"], &line["status"]), (&"/fast".into(), &200.into()));
    assert_eq!(line["path"], "/fast", "the query string is not logged");
    assert_eq!(ids(&line), ("id-of-fast?token=secret".into(), trace.clone()));

    assert_eq!(ask("/panic").await.status, 500);
    let line = running.line("panicked");
    assert_eq!(line["panic"], "on purpose");
    assert!(line["location"].as_str().unwrap().contains("process.rs"), "{line}");
    assert_eq!(ids(&line), ("id-of-panic".into(), trace.clone()));
    assert_eq!(ids(&running.line("handler panicked")), ("id-of-panic".into(), trace.clone()));

    assert_eq!(ask("/slow").await.status, 503);
    let line = running.line("handler timed out");
    assert_eq!(ids(&line), ("id-of-slow".into(), trace));
    running.signal("-TERM");
    let line = running.line("stopped");
    assert!(line.get("request_id").is_none());
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).unwrap();
    assert_eq!(running.wait(), Some(0), "{rest}");
}
