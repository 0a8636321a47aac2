//! Whether every query that somebody will look at has an answer.

use std::time::{Duration, Instant};

use super::prometheus::Prometheus;
use super::promql::{Matcher, Selector, selectors};
use super::rules::Kind;
use super::source::{self, Filling};
use crate::exit::Ending;
use crate::screen::{note, say};

/// How long to wait before what had no data is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Queries that may have no data, by a part of their text, with the reason.
const MAY_BE_EMPTY: [(&str, &str); 3] = [
    ("lab_fault_active", "it exists while the lab breaks something"),
    ("outbox_relay_duration_seconds", "no number before the relay has had work: writers apply their own rows"),
    ("redis_errors_total", "it exists once Redis has refused a command"),
];

/// What is asked, and where it stands.
#[derive(Debug)]
struct Question {
    place: String,
    query: String,
}

/// What became of it.
#[derive(Debug)]
enum Found {
    Data,
    Nothing,
    /// Series, none of which has a number.
    NoNumber,
    /// What Prometheus says against the query.
    Refused(String),
}

/// Asks everything, and again what had no data until `patience` is over; says what is left.
pub(super) async fn check(prometheus: &Prometheus, filling: &Filling, patience: Duration) -> anyhow::Result<Ending> {
    let deadline = Instant::now() + patience;
    let questions = questions(filling)?;
    let total = questions.len();
    let mut open = questions;
    let left = loop {
        let mut left = Vec::new();
        for question in open {
            let found = ask(prometheus, &question.query).await?;
            if !matches!(found, Found::Data) {
                left.push((question, found));
            }
        }
        let hopeless = left
            .iter()
            .all(|(question, found)| matches!(found, Found::Refused(_)) || excuse(&question.query).is_some());
        if hopeless || Instant::now() + PAUSE > deadline {
            break left;
        }
        tokio::time::sleep(PAUSE).await;
        open = left.into_iter().map(|(question, _)| question).collect();
    };
    let mut wrong = unloaded(prometheus).await?;
    let mut excused = 0;
    for (Question { place, query }, found) in &left {
        let what = match found {
            Found::Refused(said) => {
                wrong.push(format!("{place}: {said}: {query}"));
                continue;
            }
            Found::NoNumber => "no number",
            Found::Nothing | Found::Data => "no data",
        };
        match excuse(query) {
            Some(reason) => {
                excused += 1;
                say(&format!("{place}: {what}, as it may be: {reason}"));
            }
            None => wrong.push(format!("{place}: {what}{}: {query}", why(prometheus, query).await?)),
        }
    }
    say(&format!("{total} queries: {} with data, {excused} that may have none", total - left.len()));
    if wrong.is_empty() {
        return Ok(Ending::Held);
    }
    for line in &wrong {
        note(&format!("lab: {line}"));
    }
    note(&format!("lab: {} queries or rules are not as they must be", wrong.len()));
    Ok(Ending::Broken)
}

fn excuse(query: &str) -> Option<&'static str> {
    MAY_BE_EMPTY.iter().find(|(part, _)| query.contains(part)).map(|(_, reason)| *reason)
}

/// Every query of every panel, variable and annotation, of every recording rule and what it has recorded, and of each
/// series that an alert looks at.
fn questions(filling: &Filling) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    let mut push = |place: String, query: &str| {
        let query = filling.fill(query);
        questions.push(Question { place, query });
    };
    for dashboard in source::dashboards(None)? {
        let name = dashboard.name;
        for panel in &dashboard.panels {
            for target in &panel.targets {
                push(format!("{name}, panel {}", panel.title), &target.expr);
            }
        }
        for annotation in dashboard.annotations() {
            push(format!("{name}, annotation {}", annotation.name), &annotation.expr);
        }
        for (variable, query) in dashboard.variables()? {
            push(format!("{name}, variable {variable}"), &query);
        }
    }
    for (file, rule) in source::all_rules() {
        match rule.kind {
            Kind::Record => {
                push(format!("rules/{file}, {}", rule.name), &rule.expression);
                push(format!("rules/{file}, {} as recorded", rule.name), &rule.name);
            }
            // An alert that does not fire has no data: what it compares must have some.
            Kind::Alert => {
                for selector in selectors(&rule.expression).map_err(anyhow::Error::msg)? {
                    push(format!("rules/{file}, alert {}", rule.name), &selector.text);
                }
            }
        }
    }
    Ok(questions)
}

async fn ask(prometheus: &Prometheus, query: &str) -> anyhow::Result<Found> {
    Ok(match prometheus.now(query).await? {
        Err(said) => Found::Refused(said),
        Ok(values) if values.is_empty() => Found::Nothing,
        Ok(values) if values.iter().all(|(_, value)| value.is_nan()) => Found::NoNumber,
        Ok(_) => Found::Data,
    })
}

/// The first thing that is missing of what a query asks for, as far as one can be named.
async fn why(prometheus: &Prometheus, query: &str) -> anyhow::Result<String> {
    let missing = async |asked: &str| Ok::<_, anyhow::Error>(matches!(ask(prometheus, asked).await?, Found::Nothing));
    for Selector { metric, matchers, grouped, text } in selectors(query).unwrap_or_default() {
        if metric.is_empty() || !missing(&text).await? {
            if !metric.is_empty() {
                for label in grouped {
                    if missing(&format!("{metric}{{{label}!=\"\"}}")).await? {
                        return Ok(format!(" ({metric} has no label {label})"));
                    }
                }
            }
            continue;
        }
        if missing(&metric).await? {
            return Ok(format!(" (there is no {metric})"));
        }
        for Matcher { label, operator, value } in matchers {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let chosen = format!("{label}{operator}\"{value}\"");
            if missing(&format!("{metric}{{{chosen}}}")).await? {
                return Ok(format!(" (no {metric} has {chosen})"));
            }
        }
    }
    Ok(String::new())
}

/// The rules that this Prometheus does not have, or cannot evaluate.
async fn unloaded(prometheus: &Prometheus) -> anyhow::Result<Vec<String>> {
    let loaded = prometheus.rules().await?;
    let mut wrong = Vec::new();
    for (file, rule) in source::all_rules() {
        match loaded.iter().find(|loaded| loaded.name == rule.name) {
            None => wrong.push(format!("rules/{file}: Prometheus has not loaded {}", rule.name)),
            Some(found) if found.health == "err" => {
                wrong.push(format!("rules/{file}: Prometheus cannot evaluate {}: {}", rule.name, found.error));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::{MAY_BE_EMPTY, excuse, questions};
    use crate::dashboards::source::Filling;

    fn all() -> Vec<super::Question> {
        questions(&Filling { namespace: "n".to_owned(), interval: "1m".to_owned() }).unwrap()
    }

    #[test]
    fn everything_is_asked() {
        let questions = all();
        for place in ["cache, panel Hit ratio", "lock, annotation Lab", "service, variable pod", "alert Oversold"] {
            assert!(questions.iter().any(|question| question.place.contains(place)), "{place}");
        }
        assert!(questions.iter().any(|question| question.query == "cache:hits:ratio_rate5m"));
    }

    #[test]
    fn what_may_be_empty_is_the_exception_and_each_excuse_is_needed() {
        let questions = all();
        let excused = questions.iter().filter(|question| excuse(&question.query).is_some()).count();
        assert!(excused * 8 < questions.len(), "{excused} of {}", questions.len());
        for (part, _) in MAY_BE_EMPTY {
            assert!(questions.iter().any(|question| question.query.contains(part)), "{part} excuses nothing");
        }
    }
}
