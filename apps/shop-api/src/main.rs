//! See the library of this package.

use std::process::ExitCode;

use service::config::MigrateArgs;
use shop_api::config::{self, Command, ServeArgs};
use shop_api::{build, migrate, routes, telemetry};

fn main() -> ExitCode {
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
