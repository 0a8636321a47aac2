//! What every service of this repository shares: configuration, telemetry, health, errors, shutdown.
//!
//! It knows nothing of any application and nothing of the cache.
//!
//! # What it guarantees
//! - **Configuration** is checked as a whole before anything starts: one line for every wrong setting, exit status 64,
//!   no password shown ([`config`]).
//! - **Every error of an API is a problem document** (RFC 9457), also those of the router, of the extractors, of a panic
//!   and of a timeout. A database error never reaches a client ([`Problem`]).
//! - **Every request has an id and a place in a trace**, on its answer, in its log lines and for its outgoing calls
//!   ([`RequestContext`]).
//! - **Labels of metrics are bounded**, whatever clients send ([`metrics`]).
//! - **Probes ask no store**: checks are values that background tasks set ([`Health`]).
//! - **Shutdown has an order**: not ready, serve on, accept no more, finish, close ([`Server`]).
//! - **A write can outlive its client**, and shutdown waits for it ([`Tasks`]).
//! - **Migrations** of several services share a database, and run safely twice and at once ([`Migrations`]).
//!
//! # A service
//! ```no_run
//! use std::process::ExitCode;
//! use service::config::{self, DatabaseArgs, LogArgs, Mistakes, ServerArgs, Settings};
//!
//! #[derive(clap::Parser, Debug)]
//! #[command(version)]
//! struct Args {
//!     #[command(flatten)]
//!     server: ServerArgs,
//!     #[command(flatten)]
//!     database: DatabaseArgs,
//!     #[command(flatten)]
//!     log: LogArgs,
//! }
//!
//! impl Settings for Args {
//!     fn check(&self, mistakes: &mut Mistakes) {
//!         self.server.check(mistakes);
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     let args: Args = config::load();
//!     service::run(serve(args))
//! }
//!
//! async fn serve(args: Args) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let telemetry = service::telemetry("example", env!("CARGO_PKG_VERSION")).install(&args.log)?;
//!     let mut server = service::Server::bind(&args.server, &telemetry).await?;
//!     let pool = service::postgres::connect(&mut server, &args.database, "example");
//!     let routes = axum::Router::new()
//!         .route("/posts/{id}", axum::routing::get(post))
//!         .with_state(pool)
//!         .merge(service::noop_router());
//!     server.run(routes).await?;
//!     Ok(())
//! }
//!
//! async fn post(
//!     axum::extract::State(pool): axum::extract::State<sqlx::PgPool>,
//!     service::Path(id): service::Path<i64>,
//! ) -> Result<service::Json<String>, service::Problem> {
//!     let title = sqlx::query_scalar("select title from blog.posts where id = $1").bind(id).fetch_optional(&pool).await?;
//!     title.map(service::Json).ok_or_else(|| service::Problem::not_found(format!("There is no post {id}.")))
//! }
//! ```

#![warn(missing_docs)]

mod body_limit;
pub mod conditional;
pub mod config;
mod context;
mod docs;
mod extract;
mod health;
pub mod metrics;
mod migrate;
mod noop;
mod observe;
pub mod paging;
mod panics;
pub mod parse;
pub mod postgres;
mod problem;
mod route_metrics;
mod run;
mod server;
mod tasks;
mod telemetry;
mod trace;

pub use context::{InContext, MAX_REQUEST_ID, REQUEST_ID, RequestContext};
pub use docs::{docs_router, fixed_openapi};
pub use extract::{Json, Path, Query};
pub use health::{Check, Health};
pub use migrate::{Migrated, MigrationError, Migrations};
pub use noop::noop_router;
pub use problem::described;
pub use problem::{FieldProblem, PROBLEM_JSON, Problem, ProblemDocument};
pub use run::{EX_UNAVAILABLE, run};
pub use server::{App, Closing, ServeError, Server};
pub use tasks::Tasks;
pub use telemetry::{LogFormat, Telemetry, TelemetryBuilder, TelemetryError, telemetry};
pub use trace::TraceContext;
