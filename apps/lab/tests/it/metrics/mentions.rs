//! Where metrics are named: dashboards, rules, documents.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::promql::{Selector, selectors};
use super::rules::{Kind, rules};

/// A metric that something names, with everything that it has to have for that.
#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) place: String,
    pub(crate) metric: String,
    /// Labels that are matched, grouped by, or shown.
    pub(crate) labels: BTreeSet<String>,
    /// Values that are matched exactly, or as one of several words.
    pub(crate) values: BTreeSet<(String, String)>,
}

/// What a rule records, with the labels that its result has.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) labels: BTreeSet<String>,
    /// What it is made of; the labels are theirs where the rule does not group.
    pub(crate) sources: Vec<String>,
}

/// Everything that was found in the repository.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) mentions: Vec<Mention>,
    pub(crate) recorded: Vec<Recorded>,
}

/// The top folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads all dashboards and rules.
pub(crate) fn of_dashboards_and_rules() -> Found {
    let mut found = Found::default();
    for (name, text) in texts("k8s/base/grafana/dashboards", "json") {
        let document: Value = serde_json::from_str(&text).expect("JSON");
        dashboard(&mut found, &name, &document);
    }
    for (name, text) in texts("k8s/base/prometheus/rules", "yaml") {
        for rule in rules(&text) {
            let place = format!("{name}, {}", rule.name);
            let made_of = found.expression(&place, &rule.expression, "");
            if rule.kind == Kind::Record {
                let labels = made_of.iter().flat_map(|selector| selector.grouped.iter().cloned()).collect();
                let sources = made_of.into_iter().map(|selector| selector.metric).collect();
                found.recorded.push(Recorded { name: rule.name, labels, sources });
            }
        }
    }
    found
}

fn dashboard(found: &mut Found, name: &str, document: &Value) {
    let list = |pointer: &str| document.pointer(pointer).and_then(Value::as_array).expect("a list");
    for panel in list("/panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (expression, legend) = (text(&target["expr"]), text(&target["legendFormat"]));
            found.expression(&format!("{name}, panel {title}"), expression, legend);
        }
    }
    for annotation in list("/annotations/list") {
        let (expression, shown) = (text(&annotation["expr"]), text(&annotation["textFormat"]));
        found.expression(&format!("{name}, annotation {}", annotation["name"]), expression, shown);
    }
    for variable in list("/templating/list") {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inside.and_then(|inside| inside.rsplit_once(',')).expect("label_values(…, …)");
            found.expression(&format!("{name}, variable {}", variable["name"]), metric, &format!("{{{{{label}}}}}"));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

impl Found {
    /// The selectors of an expression whose result is shown with `legend`.
    fn expression(&mut self, place: &str, expression: &str, legend: &str) -> Vec<Selector> {
        // What Grafana fills in is a label's value or a time, and neither is of interest here.
        let found =
            selectors(&expression.replace("$__rate_interval", "1m")).unwrap_or_else(|wrong| panic!("{place}: {wrong}"));
        assert!(!found.is_empty(), "{place} asks for no metric: {expression}");
        for selector in &found {
            let mut labels: BTreeSet<String> = selector.grouped.iter().cloned().collect();
            let mut values = BTreeSet::new();
            for matcher in &selector.matchers {
                labels.insert(matcher.label.clone());
                if ["=", "=~"].contains(&matcher.operator.as_str()) {
                    let words = matcher.value.split('|').filter(|word| is_word(word));
                    values.extend(words.map(|word| (matcher.label.clone(), word.to_owned())));
                }
            }
            if found.len() == 1 {
                labels.extend(shown(legend));
            }
            let (place, metric) = (place.to_owned(), selector.metric.clone());
            self.mentions.push(Mention { place, metric, labels, values });
        }
        found
    }
}

/// The labels in `{{label}}`.
fn shown(legend: &str) -> impl Iterator<Item = String> {
    legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned()))
}

/// Whether a pattern is a word that stands for itself.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_- /".contains(c))
}

/// The metrics that the documents name: words of the families that there are.
pub(crate) fn of_documents(families: &BTreeSet<String>) -> Vec<Mention> {
    let root = root();
    let mut documents = vec![root.join("README.md")];
    for folder in ["docs", "k8s", "charts", "crates", "apps"] {
        collect(&root.join(folder), &mut documents);
    }
    assert!(documents.len() > 30, "{documents:?}");
    let mut mentions = Vec::new();
    for path in documents {
        let text = std::fs::read_to_string(&path).expect("a document");
        let place = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let names = words(&text).filter(|word| {
            let family = word.split(['_', ':']).next().unwrap_or_default();
            families.contains(family) && !is_key(word)
        });
        mentions.extend(names.map(|name| Mention {
            place: place.clone(),
            metric: name.to_owned(),
            labels: BTreeSet::new(),
            values: BTreeSet::new(),
        }));
    }
    mentions
}

/// A key of Redis, or a path of Rust; what a rule records is named `level:metric:operation`.
fn is_key(word: &str) -> bool {
    let parts: Vec<_> = word.split(':').collect();
    let path = parts.iter().any(|part| part.is_empty());
    path || parts.len() > 1 && (parts.len() != 3 || parts[2].chars().all(|c| c.is_ascii_digit()))
}

/// Words with an underscore or a colon inside that are neither called nor the name of a file.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let begin = rest.find(|c: char| c.is_ascii_lowercase())?;
            let before = rest[..begin].chars().next_back();
            let word = &rest[begin..];
            let end = word.find(|c| !part(c)).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            rest = after;
            let word = word.trim_end_matches(':');
            let whole = !before.is_some_and(|c| part(c) || matches!(c, '.' | '/' | '-' | '$' | '%'));
            let file = after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_lowercase());
            if whole && word.contains(['_', ':']) && !after.starts_with(['(', '/', '=', '-']) && !file {
                return Some(word);
            }
        }
    })
}

fn collect(folder: &Path, documents: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        // A chart's library is linked into it.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, documents);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
}

fn texts(folder: &str, extension: &str) -> Vec<(String, String)> {
    let names = std::fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut texts: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect();
    texts.sort();
    assert!(!texts.is_empty(), "{folder}");
    texts
}

#[test]
fn a_document_names_a_metric_as_a_word() {
    let text = "`lock_waiters` and cache:hits:ratio; pg_sleep(1), lock_test.yaml, a/lock_x, LOCK_URL, x_y=1, lock_a.";
    assert_eq!(words(text).collect::<Vec<_>>(), ["lock_waiters", "cache:hits:ratio", "lock_a"]);
    assert!(is_key("lock:event:42") && is_key("booking:ballast"));
    assert!(!is_key("cache:hits:ratio_rate5m") && !is_key("lock_waiters"));
}
