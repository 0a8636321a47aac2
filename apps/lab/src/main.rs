//! The lab: starts the whole system on one machine, fills it, drives it, breaks it and judges it.
//!
//! It shares no code with the services and libraries that it judges. What it knows about them is
//! their HTTP interface, their database schema and their command line.

mod blog;
mod booking;
mod cli;
mod data;
mod exit;
mod fleet;
mod lock_bench;
mod measure;
mod screen;
mod seed;
mod signals;
mod target;
mod up;
mod verdict;

use std::process::ExitCode;

use crate::cli::{Cli, Command, LockCommand};
use crate::exit::Ending;
use crate::fleet::guardian;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refused) => return refused.report(),
    };
    match run(cli) {
        Ok(ending) => ending.into(),
        Err(error) => exit::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<Ending> {
    match cli.command {
        Command::Up(args) => with_runtime(up::run(args)),
        Command::Blog(command) => with_runtime(signals::until_signal(blog::run(command))),
        Command::Booking(command) => with_runtime(signals::until_signal(booking::run(command))),
        Command::Lock(LockCommand::Bench(args)) => with_runtime(signals::until_signal(lock_bench::run(args))),
        // These two are small processes beside a lab, and need no runtime.
        Command::Guard => {
            guardian::guard();
            Ok(Ending::Held)
        }
        Command::Launch { program, args } => match guardian::launch(&program, &args)? {},
    }
}

fn with_runtime(work: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    fleet::remember_own_binary()?;
    screen::log_to_stderr();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
