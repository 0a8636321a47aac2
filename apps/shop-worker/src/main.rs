//! See the library of this package.

use std::process::ExitCode;

use shop_worker::config::{self, Command, ServeArgs};
use shop_worker::{build, telemetry};

fn main() -> ExitCode {
    match config::load().command {
        Command::Serve(args) => service::run(serve(args)),
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let telemetry = telemetry(&args.log)?;
    Ok(build(&args, &telemetry).await?.run().await?)
}
