//! What the program does for each of its commands.

use std::process::ExitCode;

use crate::config::{self, Command, ServeArgs};
use crate::{build, telemetry};

/// The program: reads its arguments, and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    match config::load().command {
        Command::Serve(args) => service::run(serve(args)),
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let telemetry = telemetry(&args.log)?;
    Ok(build(&args, &telemetry).await?.run().await?)
}
