//! Every metric that a dashboard, a rule or a document names is one that the services really export, with the labels by
//! which it is chosen, grouped and shown.

mod mentions;
#[path = "../../src/dashboards/promql.rs"]
mod promql;
#[path = "../../src/dashboards/rules.rs"]
mod rules;
mod scrape;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::programs::{Folder, Running, lab};
use mentions::{Mention, Recorded};
use scrape::Scraped;

/// A service: what it is called in the lab's state file, and what drives it.
type Driven = (&'static str, fn(&str));

/// Each service that dashboards are about. A further one is a further line.
const SERVICES: [Driven; 3] = [("blog", scrape::blog), ("booking", scrape::booking), ("shop", scrape::shop)];

/// Metrics that exist only in some state that this test does not bring about, each with the reason.
const ONLY_UNDER_FAULTS: [(&str, &str); 0] = [];

/// Values of labels that do not occur here, each with the reason.
const VALUES_ONLY_UNDER_FAULTS: [(&str, &str, &str); 1] = [(
    "lock_acquire_duration_seconds_count",
    "timeout",
    "a histogram appears with its first value: a lock not had in time",
)];

/// Words in documents that begin as metrics do, and are none.
const NO_METRICS: [&str; 0] = [];

/// The metrics of others: exporters, Prometheus, the lab in the cluster.
fn foreign() -> BTreeMap<String, BTreeSet<String>> {
    let lines = include_str!("metrics/foreign.txt").lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().expect("a name"), words.collect())
    };
    lines.map(read).collect()
}

/// The labels that Prometheus gives every series of a pod.
fn given_by_prometheus() -> BTreeSet<String> {
    let path = mentions::root().join("k8s/base/prometheus/prometheus.yml");
    let text = std::fs::read_to_string(path).expect("the configuration");
    let targets = text.split("target_label:").skip(1).filter_map(|rest| rest.split(['}', '\n']).next());
    targets.map(|label| label.trim().to_owned()).chain(["job", "instance"].map(str::to_owned)).collect()
}

/// Everything that is known about which metrics there are.
struct Known {
    scraped: Scraped,
    foreign: BTreeMap<String, BTreeSet<String>>,
    recorded: Vec<Recorded>,
    given: BTreeSet<String>,
}

impl Known {
    /// The labels of a metric; nothing if there is none of this name.
    fn labels(&self, metric: &str) -> Option<BTreeSet<String>> {
        let mut labels = self.given.clone();
        let mut there = false;
        if self.scraped.has(metric) {
            there = true;
            labels.extend(self.scraped.labels(metric).into_iter().map(str::to_owned));
        }
        if let Some(more) = self.foreign.get(metric) {
            there = true;
            labels.extend(more.iter().cloned());
        }
        if let Some(recorded) = self.recorded.iter().find(|recorded| recorded.name == metric) {
            there = true;
            if recorded.labels.is_empty() {
                labels.extend(recorded.sources.iter().filter_map(|source| self.labels(source)).flatten());
            } else {
                labels.clone_from(&recorded.labels);
            }
        }
        there.then_some(labels)
    }

    /// What is wrong with a mention.
    fn wrong(&self, Mention { place, metric, labels, values }: &Mention) -> Vec<String> {
        if ONLY_UNDER_FAULTS.iter().any(|(excused, _)| excused == metric) {
            return Vec::new();
        }
        let Some(known) = self.labels(metric) else {
            return vec![format!("{place}: there is no metric {metric}")];
        };
        let unknown = labels.difference(&known).map(|label| format!("{place}: {metric} has no label {label}"));
        let mut wrong: Vec<_> = unknown.collect();
        // Only of what the services export themselves is it known which values a label takes.
        for (label, value) in values.iter().filter(|(label, _)| !self.given.contains(label) && self.scraped.has(metric))
        {
            let excused = VALUES_ONLY_UNDER_FAULTS.iter().any(|(name, word, _)| name == metric && word == value);
            if !excused && !self.scraped.has_value(metric, label, value) {
                wrong.push(format!("{place}: no {metric} has {label}=\"{value}\""));
            }
        }
        wrong
    }
}

fn scrape(admins: &[String]) -> Scraped {
    let mut scraped = Scraped::default();
    for admin in admins {
        let (status, head, body) = scrape::request(admin, "GET", "/metrics", "", "");
        assert_eq!(status, 200, "{head}");
        assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
        scraped.add(&body);
    }
    scraped
}

#[test]
fn every_metric_that_is_named_exists() {
    let folder = Folder::new("metrics");
    let args = [
        "up",
        "--no-experiments",
        "--posts",
        "1000",
        "--products",
        "1000",
        "--replicas",
        "1",
        "--data",
        folder.as_str(),
    ];
    let mut lab = Running::start(lab(&args));
    lab.until_said("Ctrl-C stops everything");
    let state: Value = serde_json::from_slice(&std::fs::read(folder.path().join("state.json")).unwrap()).unwrap();
    let replica = |service: &str, what: &str| {
        let url = &state[service]["replicas"][0][what];
        url.as_str().unwrap_or_else(|| panic!("no {what} of {service} in {state}")).to_owned()
    };
    let mut admins: Vec<_> = SERVICES.iter().map(|(service, _)| replica(service, "admin")).collect();
    // One of them leads, and only that one has something to count.
    let workers = state["shop"]["workers"].as_array().expect("workers");
    admins.extend(workers.iter().map(|worker| worker["admin"].as_str().expect("an address").to_owned()));
    for (service, drive) in SERVICES {
        let api = replica(service, "api");
        scrape::every_route(&api);
        drive(&api);
    }

    let found = mentions::of_dashboards_and_rules();
    // So many that none of the places can have been overlooked as a whole.
    assert!(found.mentions.len() > 200 && found.recorded.len() > 10, "{}", found.mentions.len());
    let mut known =
        Known { scraped: scrape(&admins), foreign: foreign(), recorded: found.recorded, given: given_by_prometheus() };
    let mut families = known.scraped.families();
    families.extend(known.recorded.iter().filter_map(|rule| Some(rule.name.split_once(':')?.0.to_owned())));
    let mut mentions = found.mentions;
    mentions.extend(
        mentions::of_documents(&families).into_iter().filter(|mention| !NO_METRICS.contains(&mention.metric.as_str())),
    );

    // What is counted in the background may take a moment.
    let deadline = Instant::now() + Duration::from_secs(15);
    let left = loop {
        let left: BTreeSet<_> = mentions.iter().flat_map(|mention| known.wrong(mention)).collect();
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        std::thread::sleep(Duration::from_millis(100));
        known.scraped = scrape(&admins);
    };
    assert!(left.is_empty(), "{} are not as they are named:\n{}", left.len(), Vec::from_iter(left).join("\n"));
    // An excuse for what does exist would hide its loss.
    for (metric, reason) in ONLY_UNDER_FAULTS {
        assert!(!known.scraped.has(metric), "{metric} is excused ({reason}), and there");
    }
    for metric in foreign().keys() {
        assert!(mentions.iter().any(|mention| mention.metric == *metric), "{metric} is kept, and nobody asks for it");
    }

    lab.signal(Signal::TERM);
    assert_eq!(lab.ended().code(), Some(0), "{}", lab.said());
}

#[test]
fn what_does_not_exist_is_found() {
    let mut scraped = Scraped::default();
    scraped.add("reads_total{outcome=\"hit\"} 1\n");
    let known = Known { scraped, foreign: foreign(), recorded: Vec::new(), given: given_by_prometheus() };
    let mention = |metric: &str, labels: &[&str], values: &[(&str, &str)]| Mention {
        place: "p".to_owned(),
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        values: values.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
    };
    assert_eq!(known.wrong(&mention("reads_total", &["outcome", "pod"], &[("outcome", "hit")])), [""; 0]);
    assert_eq!(known.wrong(&mention("redis_up", &["service"], &[])), [""; 0]);
    assert_eq!(known.wrong(&mention("read_total", &[], &[])), ["p: there is no metric read_total"]);
    assert_eq!(known.wrong(&mention("reads_total", &["result"], &[])), ["p: reads_total has no label result"]);
    assert_eq!(
        known.wrong(&mention("reads_total", &["outcome"], &[("outcome", "hot")])),
        ["p: no reads_total has outcome=\"hot\""]
    );
}
