//! Questions to a Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::measure::http;

/// Labels and their values.
pub(crate) type Labels = BTreeMap<String, String>;

/// A Prometheus that is asked.
#[derive(Debug)]
pub(crate) struct Prometheus {
    url: String,
    address: SocketAddr,
    /// What stands before `/api` in the path.
    prefix: String,
}

/// A time span in seconds since 1970, and how far apart the values in it are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) step: f64,
}

/// One series with its values in the order of time; those that are no number are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Answer {
    Vector(Vec<Sample>),
    Matrix(Vec<Row>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Sample {
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Row {
    metric: Labels,
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Loaded {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<LoadedRule>,
}

/// A rule that this Prometheus has.
#[derive(Debug, Deserialize)]
pub(crate) struct LoadedRule {
    pub(crate) name: String,
    /// `ok`, `err` or `unknown`, the last until it has been evaluated once.
    pub(crate) health: String,
    #[serde(rename = "lastError", default)]
    pub(crate) error: String,
}

impl Prometheus {
    /// # Errors
    /// When the URL's host cannot be resolved.
    pub(crate) async fn at(url: &str) -> anyhow::Result<Self> {
        let uri: ::http::Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { url: url.to_owned(), address: http::resolve(url).await?, prefix })
    }

    /// The value of each series now; those that are no number among them.
    ///
    /// # Errors
    /// The inner one is what Prometheus says about the query, the outer one that it said nothing.
    pub(crate) async fn now(&self, query: &str) -> anyhow::Result<Result<Vec<(Labels, f64)>, String>> {
        let answer = match self.ask::<Answer>(&format!("query?query={}", encoded(query))).await? {
            Ok(answer) => answer,
            Err(said) => return Ok(Err(said)),
        };
        Ok(Ok(match answer {
            Answer::Vector(samples) => {
                samples.into_iter().map(|sample| (sample.metric, number(&sample.value.1))).collect()
            }
            Answer::Scalar((_, value)) => vec![(Labels::new(), number(&value))],
            Answer::Matrix(_) => bail!("{} answered {query} by a matrix", self.url),
        }))
    }

    /// The values of each series in a time span.
    pub(crate) async fn over(&self, query: &str, span: Span) -> anyhow::Result<Result<Vec<Series>, String>> {
        let Span { from, to, step } = span;
        let question = format!("query_range?query={}&start={from:.3}&end={to:.3}&step={step:.3}", encoded(query));
        let answer = match self.ask::<Answer>(&question).await? {
            Ok(answer) => answer,
            Err(said) => return Ok(Err(said)),
        };
        let Answer::Matrix(rows) = answer else { bail!("{} answered {query} by no matrix", self.url) };
        let series = |row: Row| Series {
            labels: row.metric,
            points: row
                .values
                .into_iter()
                .map(|(time, value)| (time, number(&value)))
                .filter(|(_, value)| value.is_finite())
                .collect(),
        };
        Ok(Ok(rows.into_iter().map(series).collect()))
    }

    /// The rules that it has loaded.
    pub(crate) async fn rules(&self) -> anyhow::Result<Vec<LoadedRule>> {
        let loaded: Loaded = self.ask("rules").await?.map_err(anyhow::Error::msg)?;
        Ok(loaded.groups.into_iter().flat_map(|group| group.rules).collect())
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, question: &str) -> anyhow::Result<Result<T, String>> {
        let Self { url, address, prefix } = self;
        let (status, body) = http::fetch(*address, &format!("{prefix}/api/v1/{question}"))
            .await
            .with_context(|| format!("Prometheus at {url} does not answer"))?;
        let envelope: Envelope = serde_json::from_slice(&body)
            .with_context(|| format!("{url} answers with status {status}, and not as Prometheus does"))?;
        match envelope.data {
            Some(data) if envelope.status == "success" => {
                let data = serde_json::from_value(data).with_context(|| format!("what {url} answered"))?;
                Ok(Ok(data))
            }
            _ => Ok(Err(envelope.error)),
        }
    }
}

/// Prometheus writes numbers as text, `NaN` and `+Inf` among them.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// Text as the value of a parameter in a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{encoded, number};

    #[test]
    fn a_query_survives_its_url() {
        assert_eq!(encoded("a{b=\"ä c\"} + 1"), "a%7Bb%3D%22%C3%A4%20c%22%7D%20%2B%201");
    }

    #[test]
    fn numbers_are_read_as_prometheus_writes_them() {
        assert_eq!((number("1.5"), number("+Inf"), number("-Inf")), (1.5, f64::INFINITY, f64::NEG_INFINITY));
        assert!(number("NaN").is_nan());
    }
}
