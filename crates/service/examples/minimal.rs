//! The smallest service: one route, two ports, and all that comes by itself.
//!
//! ```text
//! cargo run -p service --example minimal -- --listen 127.0.0.1:8080
//! curl -i localhost:8080/greetings/ann
//! xdg-open http://localhost:8080/docs
//! curl -s localhost:9080/readyz
//! curl -s localhost:9080/metrics | grep http_
//! ```

use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use service::config::{self, LogArgs, Mistakes, ServerArgs, Settings};
use service::{Json, Path, Problem, ProblemDocument, Server};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(greet), components(schemas(ProblemDocument)))]
struct Api;

#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Settings for Args {
    fn check(&self, mistakes: &mut Mistakes) {
        self.server.check(mistakes);
    }
}

fn main() -> ExitCode {
    let args: Args = config::load();
    service::run(serve(args))
}

async fn serve(args: Args) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let telemetry = service::telemetry("minimal", env!("CARGO_PKG_VERSION")).install(&args.log)?;
    let server = Server::bind(&args.server, &telemetry).await?;
    let routes = Router::new()
        .route("/greetings/{name}", get(greet))
        .merge(service::noop_router())
        .merge(service::docs_router(&Api::openapi())?);
    server.run(routes).await?;
    Ok(())
}

/// Greets somebody.
#[utoipa::path(
    get,
    path = "/greetings/{name}",
    params(("name" = String, Path, description = "Whom to greet", max_length = 20)),
    responses(
        (status = 200, description = "The greeting", body = String),
        (status = 400, description = "The name is too long", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn greet(Path(name): Path<String>) -> Result<Json<String>, Problem> {
    if name.chars().count() > 20 {
        return Err(Problem::bad_request("The name is too long.").field("name", "must have 20 characters at most"));
    }
    Ok(Json(format!("Hello, {name}.")))
}
