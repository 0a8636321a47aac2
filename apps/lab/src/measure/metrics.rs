//! The metrics of replicas, as Prometheus reads them.

use std::net::SocketAddr;

use anyhow::ensure;

use super::http::fetch;

/// Samples of several replicas.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    texts: Vec<String>,
}

impl Metrics {
    /// Reads all replicas at their admin ports.
    ///
    /// # Errors
    /// One of them does not answer.
    pub(crate) async fn scrape(admin: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut texts = Vec::with_capacity(admin.len());
        for &address in admin {
            let (status, body) = fetch(address, "/metrics").await?;
            ensure!(status == 200, "/metrics at {address} answers {status}");
            texts.push(String::from_utf8_lossy(&body).into_owned());
        }
        Ok(Self { texts })
    }

    /// The sum over all replicas of the samples with this name and this label. `None` when no replica has any.
    pub(crate) fn sum(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let wanted = format!("{label}=\"{value}\"");
        let samples = self.texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
            let (labels, sample) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            labels.split(',').any(|label| label == wanted).then(|| sample.parse::<f64>().ok())?
        });
        samples.fold(None, |sum, sample| Some(sum.unwrap_or(0.0) + sample))
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_found_by_their_whole_name_and_label() {
        let text = "# TYPE x counter\nx{strategy=\"redis\"} 2\nx{strategy=\"redis-fenced\",b=\"c\"} 3\nx_total{strategy=\"redis\"} 9\n";
        let metrics = Metrics { texts: vec![text.to_owned(), "x{a=\"b\",strategy=\"redis\"} 0.5\n".to_owned()] };
        assert_eq!(metrics.sum("x", "strategy", "redis"), Some(2.5));
        assert_eq!(metrics.sum("x", "strategy", "redis-fenced"), Some(3.0));
        assert_eq!(metrics.sum("x", "strategy", "none"), None);
        assert_eq!(metrics.sum("y", "strategy", "redis"), None);
    }
}
