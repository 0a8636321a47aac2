//! From `main` into the runtime, and out again with an exit status.

use std::error::Error;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::problem::Chain;

/// The exit status of a process that could not do its work: `EX_UNAVAILABLE` of `sysexits.h`.
pub const EX_UNAVAILABLE: u8 = 69;

/// How long blocking work that is left at the end may hold up the exit.
const BLOCKING: Duration = Duration::from_secs(1);

/// Runs a command or a service in a runtime of its own and turns its end into an exit status.
///
/// A panic of any task is logged with the ids of its request. An error is one line on standard error (`error: …` with its causes) and status [`EX_UNAVAILABLE`].
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     service::run(async { Ok::<_, std::io::Error>(()) })
/// }
/// ```
pub fn run<E>(main: impl Future<Output = Result<(), E>>) -> ExitCode
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    crate::panics::install();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(main);
    runtime.shutdown_timeout(BLOCKING);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.into().as_ref()),
    }
}

fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    let line = Chain(error).to_string().replace('\n', " ");
    eprintln!("error: {line}");
    ExitCode::from(EX_UNAVAILABLE)
}
