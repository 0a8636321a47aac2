//! The dashboards and rules that this program was built with, and what it needs of them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::rules::{self, Rule};

macro_rules! base {
    ($path:literal) => {
        include_str!(concat!("../../../../k8s/base/", $path))
    };
}

/// The files of Grafana by the names of their dashboards.
const DASHBOARDS: [(&str, &str); 4] = [
    ("cache", base!("grafana/dashboards/cache.json")),
    ("lock", base!("grafana/dashboards/lock.json")),
    ("service", base!("grafana/dashboards/service.json")),
    ("stores", base!("grafana/dashboards/stores.json")),
];

/// The files of Prometheus' rules.
const RULES: [(&str, &str); 5] = [
    ("cache", base!("prometheus/rules/cache.yaml")),
    ("lock", base!("prometheus/rules/lock.yaml")),
    ("service", base!("prometheus/rules/service.yaml")),
    ("shop", base!("prometheus/rules/shop.yaml")),
    ("stores", base!("prometheus/rules/stores.yaml")),
];

/// The names that `--dashboard` takes.
pub(crate) const NAMES: [&str; 4] = [DASHBOARDS[0].0, DASHBOARDS[1].0, DASHBOARDS[2].0, DASHBOARDS[3].0];

/// A dashboard, as far as its queries and its drawing go.
#[derive(Debug, Deserialize)]
pub(crate) struct Dashboard {
    #[serde(skip)]
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) panels: Vec<Panel>,
    annotations: Annotations,
    templating: Templating,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    list: Vec<Annotation>,
}

#[derive(Debug, Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

/// What is marked in every panel of a dashboard.
#[derive(Debug, Deserialize)]
pub(crate) struct Annotation {
    pub(crate) name: String,
    pub(crate) expr: String,
    /// `"on"`: the value is the time, in milliseconds; false: the sample's own time.
    #[serde(rename = "iconColor")]
    pub(crate) color: String,
    #[serde(rename = "useValueForTime")]
    use_value: serde_json::Value,
}

impl Annotation {
    /// Whether the value is the time that is marked.
    pub(crate) fn is_moment(&self) -> bool {
        self.use_value == "on"
    }
}

#[derive(Debug, Deserialize)]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    query: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Panel {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: String,
    #[serde(rename = "gridPos")]
    pub(crate) grid: Grid,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
    #[serde(rename = "fieldConfig", default)]
    config: Config,
}

/// A panel's place: 24 columns, rows of any number.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Grid {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) expr: String,
    #[serde(rename = "legendFormat")]
    pub(crate) legend: String,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    defaults: Field,
}

/// How a panel shows its values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Field {
    pub(crate) unit: String,
    pub(crate) decimals: Option<usize>,
    pub(crate) max: Option<f64>,
    thresholds: Thresholds,
    mappings: Vec<Mapping>,
    custom: Custom,
}

#[derive(Debug, Default, Deserialize)]
struct Thresholds {
    steps: Vec<Step>,
}

/// From `value` on, this colour.
#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) value: Option<f64>,
    pub(crate) color: String,
}

#[derive(Debug, Deserialize)]
struct Mapping {
    options: BTreeMap<String, Shown>,
}

/// The word for a value, and its colour.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) color: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Custom {
    stacking: Mode,
    #[serde(rename = "scaleDistribution")]
    scale: Mode,
    #[serde(rename = "thresholdsStyle")]
    thresholds: Mode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mode {
    #[serde(alias = "type")]
    mode: String,
}

impl Panel {
    pub(crate) fn field(&self) -> &Field {
        &self.config.defaults
    }

    /// A heading, and no panel.
    pub(crate) fn is_row(&self) -> bool {
        self.kind == "row"
    }
}

impl Field {
    pub(crate) fn stacked(&self) -> bool {
        self.custom.stacking.mode == "normal"
    }

    pub(crate) fn logarithmic(&self) -> bool {
        self.custom.scale.mode == "log"
    }

    /// The thresholds that are drawn as lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (f64, &str)> {
        let drawn = self.custom.thresholds.mode == "line";
        self.thresholds.steps.iter().filter(move |_| drawn).filter_map(|step| Some((step.value?, step.color.as_str())))
    }

    /// The colour that the thresholds give a value.
    pub(crate) fn color_at(&self, value: f64) -> Option<&str> {
        let reached = |step: &&Step| step.value.is_none_or(|from| value >= from);
        self.thresholds.steps.iter().rev().find(reached).map(|step| step.color.as_str())
    }

    /// The word that stands for a value.
    pub(crate) fn shown(&self, value: f64) -> Option<&Shown> {
        self.mappings.iter().find_map(|mapping| mapping.options.get(&value.to_string()))
    }
}

impl Dashboard {
    pub(crate) fn annotations(&self) -> &[Annotation] {
        &self.annotations.list
    }

    /// The variables whose values Prometheus has, with a query that has a result for each value.
    ///
    /// # Errors
    /// When a variable's query is not `label_values(METRIC, LABEL)`.
    pub(crate) fn variables(&self) -> anyhow::Result<Vec<(&str, String)>> {
        let of_prometheus = self.templating.list.iter().filter(|variable| variable.kind == "query");
        of_prometheus
            .map(|variable| {
                let query = variable.query["query"].as_str().unwrap_or_default();
                let (metric, label) = query
                    .strip_prefix("label_values(")
                    .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(','))
                    .with_context(|| format!("the variable {} asks for {query:?}", variable.name))?;
                Ok((variable.name.as_str(), format!("count by ({}) ({metric})", label.trim())))
            })
            .collect()
    }
}

/// One dashboard, or all of them.
pub(crate) fn dashboards(only: Option<&str>) -> anyhow::Result<Vec<Dashboard>> {
    let chosen = DASHBOARDS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    chosen
        .map(|&(name, text)| {
            let dashboard = serde_json::from_str(text).with_context(|| format!("the dashboard {name}"))?;
            Ok(Dashboard { name, ..dashboard })
        })
        .collect()
}

/// All rules, each with the name of its file.
pub(crate) fn all_rules() -> Vec<(&'static str, Rule)> {
    RULES.iter().flat_map(|&(name, text)| rules::rules(text).into_iter().map(move |rule| (name, rule))).collect()
}

/// What stands for a dashboard's variables in its queries.
#[derive(Debug, Clone)]
pub(crate) struct Filling {
    pub(crate) namespace: String,
    /// The time over which rates are taken, as `1m`.
    pub(crate) interval: String,
}

impl Filling {
    /// The query with every variable filled in: all services, all replicas.
    pub(crate) fn fill(&self, query: &str) -> String {
        query
            .replace("$__rate_interval", &self.interval)
            .replace("$namespace", &self.namespace)
            .replace("$service", ".+")
            .replace("$pod", ".+")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{DASHBOARDS, Filling, RULES, all_rules, dashboards};
    use crate::dashboards::promql::selectors;
    use crate::dashboards::rules::Kind;

    fn files(folder: &str, extension: &str) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s/base").join(folder);
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let wanted = names.filter(|path| path.extension().is_some_and(|found| found == extension));
        wanted.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_dashboard_and_every_file_of_rules_is_known() {
        assert_eq!(BTreeSet::from(DASHBOARDS.map(|(name, _)| name.to_owned())), files("grafana/dashboards", "json"));
        assert_eq!(BTreeSet::from(RULES.map(|(name, _)| name.to_owned())), files("prometheus/rules", "yaml"));
    }

    #[test]
    fn each_has_everything_that_is_asked_and_drawn() {
        let filling = Filling { namespace: "n".to_owned(), interval: "1m".to_owned() };
        for dashboard in dashboards(None).unwrap() {
            assert!(!dashboard.variables().unwrap().is_empty(), "{}", dashboard.name);
            assert!(dashboard.annotations().iter().any(|annotation| annotation.expr.contains("lab_fault_active")));
            for panel in dashboard.panels.iter().filter(|panel| !panel.is_row()) {
                assert!(!panel.targets.is_empty() && !panel.field().unit.is_empty(), "{}", panel.title);
                for target in &panel.targets {
                    let query = filling.fill(&target.expr);
                    assert!(!query.contains('$') && !selectors(&query).unwrap().is_empty(), "{query}");
                }
            }
        }
        assert_eq!(dashboards(Some("lock")).unwrap().len(), 1);
        for (_, rule) in all_rules() {
            assert!(!selectors(&rule.expression).unwrap().is_empty(), "{}", rule.name);
            assert_eq!(rule.kind == Kind::Record, rule.name.contains(':'), "{}", rule.name);
        }
    }
}
