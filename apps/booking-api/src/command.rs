//! What the program does for each of its commands.

use std::process::ExitCode;

use service::config::MigrateArgs;

use crate::config::{self, Command, ServeArgs};
use crate::{build, migrate, routes, telemetry};

/// The program: reads its arguments, and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    match config::load().command {
        Command::Serve(args) => service::run(serve(args)),
        Command::Migrate(args) => service::run(migrate(args)),
        Command::Openapi => service::run(openapi()),
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let telemetry = telemetry(&args.log)?;
    Ok(build(&args, &telemetry).await?.run().await?)
}

async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    telemetry(&args.log)?;
    migrate::migrate(&args.database_url).await
}

async fn openapi() -> anyhow::Result<()> {
    println!("{}", routes::openapi().to_pretty_json()?);
    Ok(())
}
