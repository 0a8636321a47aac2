//! The dashboards' queries, asked of a real Prometheus: drawn, and checked for data.

mod chart;
mod check;
mod draw;
mod prometheus;
mod promql;
mod rules;
mod source;
mod units;

use std::path::PathBuf;
use std::time::Duration;

use crate::exit::{Ending, Failure};
use prometheus::Prometheus;
use source::Filling;

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DashboardsCommand {
    /// Draw the dashboards as SVG from what Prometheus has
    Draw(DrawArgs),
    /// Run every query of every panel, variable, annotation and rule; each must return data
    Check(CheckArgs),
}

/// Where the queries go.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Base URL of Prometheus, as `http://127.0.0.1:9090`
    #[arg(long = "prometheus", value_name = "URL", env = "PROMETHEUS_URL", value_parser = prometheus_url)]
    url: String,

    /// The namespace that the dashboards are about
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "backends", value_parser = plain_name)]
    namespace: String,

    /// Time over which rates are taken (10 to 600 s); at least four times the interval of scraping
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=600))]
    interval: u32,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DrawArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Draw this one alone [default: all, each into a file of its own]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(source::NAMES))]
    dashboard: Option<String>,

    /// Draw only the rows of panels whose heading holds this; may be repeated
    #[arg(long = "row", value_name = "TEXT")]
    rows: Vec<String>,

    /// The file; of several dashboards each gets its name appended: FILE-cache.svg
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// How far back the pictures reach (1 to 1440 min)
    #[arg(long, value_name = "MIN", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Ask again for so long what has no data yet (0 to 3600 s)
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: u64,
}

/// Runs one of them.
pub(crate) async fn run(command: DashboardsCommand) -> anyhow::Result<Ending> {
    match command {
        DashboardsCommand::Draw(DrawArgs { source, dashboard, rows, out, minutes }) => {
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
            if let Some(folder) = folder {
                return Err(Failure::usage(format!("--out: there is no folder {}", folder.display())).into());
            }
            let dashboards = source::dashboards(dashboard.as_deref())?;
            let (prometheus, filling) = source.open().await?;
            draw::draw(&prometheus, &filling, &dashboards, &draw::Order { minutes, rows, out }).await
        }
        DashboardsCommand::Check(CheckArgs { source, wait }) => {
            let (prometheus, filling) = source.open().await?;
            check::check(&prometheus, &filling, Duration::from_secs(wait)).await
        }
    }
}

impl SourceArgs {
    async fn open(self) -> anyhow::Result<(Prometheus, Filling)> {
        let Self { url, namespace, interval } = self;
        Ok((Prometheus::at(&url).await?, Filling { namespace, interval: format!("{interval}s") }))
    }
}

/// Accepts `http://host[:port][/path]`.
fn prometheus_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "expected http://host:port".to_owned())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.query().is_some() {
        return Err("expected http://host:port".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Accepts what may be the name of a namespace; it goes into queries.
fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || !text.chars().all(plain) {
        return Err("expected lower case letters, digits and '-'".to_owned());
    }
    Ok(text.to_owned())
}
