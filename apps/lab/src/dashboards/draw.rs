//! Dashboards as pictures: the same queries, the same places, drawn here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use time::format_description::well_known::Rfc3339;

use super::chart::{self, Content, Event, paint};
use super::prometheus::{Labels, Prometheus, Span};
use super::source::{Dashboard, Filling, Panel, Target};
use crate::exit::{Ending, Failure};
use crate::measure::panel::{INK, PAPER, Place, SOFT};
use crate::measure::svg::{Font, Picture};
use crate::screen::{note, say};

const MARGIN: f64 = 24.0;
const HEAD: f64 = 92.0;
/// The width of one of Grafana's 24 columns, and the height of one of its rows.
const COLUMN: f64 = 56.0;
const ROW: f64 = 30.0;
const GAP: f64 = 8.0;
/// How many values a line has.
const POINTS: f64 = 150.0;
/// Below this, more values would only repeat the last scrape.
const SHORTEST_STEP: f64 = 5.0;

/// What is drawn, and where to.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) minutes: u32,
    /// Only rows of panels whose heading holds one of these; all if there is none.
    pub(super) rows: Vec<String>,
    pub(super) out: PathBuf,
}

/// A heading, and the panels below it.
struct Section<'a> {
    title: &'a str,
    panels: Vec<&'a Panel>,
}

/// Draws each dashboard into a file of its own.
pub(super) async fn draw(
    prometheus: &Prometheus,
    filling: &Filling,
    dashboards: &[Dashboard],
    order: &Order,
) -> anyhow::Result<Ending> {
    let to = time::OffsetDateTime::now_utc().unix_timestamp() as f64;
    let from = to - f64::from(order.minutes) * 60.0;
    let span = Span { from, to, step: ((to - from) / POINTS).max(SHORTEST_STEP) };
    let mut drawn = 0;
    for dashboard in dashboards {
        let sections = sections(dashboard, &order.rows);
        if sections.is_empty() {
            continue;
        }
        drawn += 1;
        let path = path(&order.out, dashboard, dashboards.len());
        let text = picture(prometheus, filling, dashboard, &sections, span).await?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("wrote {}", path.display()));
    }
    if drawn == 0 {
        return Err(Failure::usage(format!("--row: no heading holds {:?}", order.rows.join(", "))).into());
    }
    Ok(Ending::Held)
}

/// The file as named, or with the dashboard's name in it where there are several.
fn path(out: &Path, dashboard: &Dashboard, of: usize) -> PathBuf {
    if of == 1 {
        return out.to_owned();
    }
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-{}.svg", dashboard.name))
}

fn sections<'a>(dashboard: &'a Dashboard, wanted: &[String]) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for panel in &dashboard.panels {
        if panel.is_row() {
            sections.push(Section { title: &panel.title, panels: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.panels.push(panel);
        }
    }
    let holds = |title: &str, text: &String| title.to_lowercase().contains(&text.to_lowercase());
    sections.retain(|section| wanted.is_empty() || wanted.iter().any(|text| holds(section.title, text)));
    sections
}

impl Section<'_> {
    /// Where its panels begin, in Grafana's rows.
    fn top(&self) -> f64 {
        self.panels.iter().map(|panel| panel.grid.y).fold(f64::INFINITY, f64::min)
    }

    fn height(&self) -> f64 {
        let bottom = self.panels.iter().map(|panel| panel.grid.y + panel.grid.h).fold(0.0, f64::max);
        (bottom - self.top()) * ROW + HEADING
    }
}

const HEADING: f64 = 34.0;

async fn picture(
    prometheus: &Prometheus,
    filling: &Filling,
    dashboard: &Dashboard,
    sections: &[Section<'_>],
    span: Span,
) -> anyhow::Result<String> {
    let width = 24.0 * COLUMN + 2.0 * MARGIN;
    let height = HEAD + sections.iter().map(Section::height).sum::<f64>() + MARGIN;
    let mut picture = Picture::new(width, height);
    picture.rect((0.0, 0.0), (width, height), PAPER, 0.0);
    picture.text((MARGIN, 36.0), Font::new(24.0, INK).bold(), &dashboard.title);
    picture.text((MARGIN, 58.0), Font::new(13.0, SOFT), &dashboard.description);
    let label = format!(
        "Drawn by lab from the dashboard's queries, not a Grafana screenshot. {} to {}, namespace {}.",
        moment(span.from),
        moment(span.to),
        filling.namespace
    );
    picture.text((MARGIN, 78.0), Font::new(13.0, SOFT), &label);

    let events = events(prometheus, filling, dashboard, span).await?;
    let (mut y, mut empty) = (HEAD, Vec::new());
    for section in sections {
        picture.text((MARGIN, y + 20.0), Font::new(15.0, INK).bold(), section.title);
        for panel in &section.panels {
            let grid = panel.grid;
            let place = Place {
                x: MARGIN + grid.x * COLUMN + GAP / 2.0,
                y: y + HEADING + (grid.y - section.top()) * ROW,
                width: grid.w * COLUMN - GAP,
                height: grid.h * ROW - GAP,
            };
            let content = content(prometheus, filling, panel, span).await?;
            if content.is_empty() {
                empty.push(panel.title.as_str());
            }
            chart::draw(&mut picture, place, panel, &content, span, &events);
        }
        y += section.height();
    }
    if !empty.is_empty() {
        note(&format!("lab: {}: no data in {}", dashboard.title, empty.join("; ")));
    }
    Ok(picture.finish(&format!("{}, {label}", dashboard.title), &dashboard.description))
}

impl Content {
    fn is_empty(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.is_empty(),
            Self::Values(values) => values.is_empty(),
            Self::Table(_, rows) => rows.is_empty(),
        }
    }
}

async fn content(prometheus: &Prometheus, filling: &Filling, panel: &Panel, span: Span) -> anyhow::Result<Content> {
    let refused = |said: String| anyhow::anyhow!("Prometheus refuses a query of the panel {:?}: {said}", panel.title);
    if matches!(panel.kind.as_str(), "timeseries" | "state-timeline") {
        let mut lines = Vec::new();
        for target in &panel.targets {
            let series = prometheus.over(&filling.fill(&target.expr), span).await?.map_err(refused)?;
            lines.extend(series.into_iter().map(|series| (name(target, &series.labels), series.points)));
        }
        return Ok(Content::Lines(lines));
    }
    let mut values = Vec::new();
    for target in &panel.targets {
        let found = prometheus.now(&filling.fill(&target.expr)).await?.map_err(refused)?;
        values.extend(found.into_iter().map(|(labels, value)| (target, labels, value)));
    }
    if panel.kind == "table" {
        return Ok(table(values.into_iter().map(|(_, labels, _)| labels).collect()));
    }
    let named = values.into_iter().map(|(target, labels, value)| (name(target, &labels), value));
    Ok(Content::Values(named.collect()))
}

fn table(rows: Vec<Labels>) -> Content {
    let head: BTreeSet<String> = rows.iter().flat_map(|labels| labels.keys().cloned()).collect();
    let cells = |labels: &Labels| head.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect();
    Content::Table(head.iter().cloned().collect(), rows.iter().map(cells).collect())
}

/// The legend of a series: the target's pattern with the labels filled in.
fn name(target: &Target, labels: &Labels) -> String {
    if target.legend.is_empty() {
        return labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(" ");
    }
    let mut name = String::new();
    let mut rest = target.legend.as_str();
    while let Some((before, pattern)) = rest.split_once("{{") {
        name.push_str(before);
        let Some((label, after)) = pattern.split_once("}}") else { break };
        name.push_str(labels.get(label.trim()).map_or("", String::as_str));
        rest = after;
    }
    name + rest
}

/// What the annotations say happened in the span.
async fn events(
    prometheus: &Prometheus,
    filling: &Filling,
    dashboard: &Dashboard,
    span: Span,
) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    for annotation in dashboard.annotations() {
        let refused = |said: String| anyhow::anyhow!("Prometheus refuses the annotation {:?}: {said}", annotation.name);
        let series = prometheus.over(&filling.fill(&annotation.expr), span).await?.map_err(refused)?;
        let color = paint(&annotation.color);
        for points in series.iter().map(|series| series.points.as_slice()) {
            if annotation.is_moment() {
                // A value stands for one moment however often it is repeated.
                let moments: BTreeMap<_, _> = points.iter().map(|(_, at)| (at.to_bits(), at / 1000.0)).collect();
                let within = moments.into_values().filter(|at| (span.from..=span.to).contains(at));
                events.extend(within.map(|at| Event { from: at, to: at, color }));
                continue;
            }
            for run in points.chunk_by(|before, after| after.0 - before.0 < span.step * 1.5) {
                events.push(Event { from: run[0].0, to: run[run.len() - 1].0 + span.step, color });
            }
        }
    }
    Ok(events)
}

fn moment(time: f64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(time as i64).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{chart, name, path, sections};
    use crate::dashboards::chart::{Content, Event};
    use crate::dashboards::prometheus::{Labels, Span};
    use crate::dashboards::source::{Target, dashboards};
    use crate::measure::panel::Place;
    use crate::measure::svg::Picture;
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_legend_is_filled_with_labels() {
        let labels = Labels::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let target = |legend: &str| Target { expr: String::new(), legend: legend.to_owned() };
        assert_eq!(name(&target("x {{a}}/{{ b }}{{c}}!"), &labels), "x 1/2!");
        assert_eq!(name(&target(""), &labels), "a=1 b=2");
    }

    #[test]
    fn rows_can_be_chosen_by_their_heading() {
        let lock = dashboards(Some("lock")).unwrap().remove(0);
        assert!(sections(&lock, &[]).len() > 3);
        let chosen = sections(&lock, &["at a GLANCE".to_owned()]);
        assert_eq!(chosen.len(), 1);
        assert!(chosen[0].panels.iter().any(|panel| panel.title == "Oversold seats"));
        assert!(sections(&lock, &["nowhere".to_owned()]).is_empty());
        assert_eq!(path(Path::new("a/b.svg"), &lock, 4), Path::new("a/b-lock.svg"));
    }

    #[test]
    fn every_kind_of_panel_is_drawn_whatever_its_values_are() {
        let span = Span { from: 0.0, to: 100.0, step: 10.0 };
        let place = Place { x: 0.0, y: 0.0, width: 300.0, height: 200.0 };
        let events = [Event { from: 5.0, to: 20.0, color: "#d55e00" }];
        let values = [0.0, 1.0, 2.0, 1e-9, 5e11];
        for dashboard in dashboards(None).unwrap() {
            for panel in dashboard.panels.iter().filter(|panel| !panel.is_row()) {
                let points = values.iter().enumerate().map(|(at, value)| (at as f64 * 10.0, *value)).collect();
                let contents = match panel.kind.as_str() {
                    "timeseries" | "state-timeline" => {
                        [Content::Lines(vec![("<&".to_owned(), points)]), Content::Lines(vec![])]
                    }
                    "table" => [
                        Content::Table(vec!["a".to_owned()], vec![vec!["<".to_owned()]]),
                        Content::Table(vec![], vec![]),
                    ],
                    _ => [
                        Content::Values(vec![("a".to_owned(), 1e12), ("b".to_owned(), f64::NAN)]),
                        Content::Values(vec![("a".to_owned(), f64::NAN)]),
                    ],
                };
                for content in contents {
                    let mut picture = Picture::new(300.0, 200.0);
                    chart::draw(&mut picture, place, panel, &content, span, &events);
                    assert_well_formed(&picture.finish("t", "d"));
                }
            }
        }
    }
}
