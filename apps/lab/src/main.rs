//! The lab: starts the whole system on one machine, fills it, drives it, breaks it and judges it.
//!
//! It shares no code with the services and libraries that it judges. What it knows about them is
//! their HTTP interface, their database schema and their command line.

mod blog;
mod booking;
mod cli;
#[cfg(feature = "k8s")]
mod cluster;
mod dashboards;
mod data;
mod exit;
#[cfg(feature = "k8s")]
mod fault;
mod fleet;
mod lock_bench;
mod measure;
#[cfg(any(feature = "k8s", test))]
mod pressure;
mod process;
mod report;
mod screen;
mod seed;
mod shop;
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
        Command::Booking(command) => with_runtime(booking::run(command)),
        Command::Shop(command) => with_runtime(signals::until_signal(shop::run(command))),
        Command::Lock(LockCommand::Bench(args)) => with_runtime(signals::until_signal(lock_bench::run(args))),
        Command::Report(args) => report::write(&args),
        Command::Dashboards(command) => with_runtime(signals::until_signal(dashboards::run(command))),
        #[cfg(feature = "k8s")]
        Command::Fault(command) => with_runtime(fault::run(command)),
        Command::Signal(args) => process::signal(&args).map(|()| Ending::Held),
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
