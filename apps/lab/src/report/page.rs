//! The page: HTML with everything in it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::run::{Run, Wanted};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --paper: #fff; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; }
td:not(:first-child) { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow-x: auto; font: 13px/1.4 ui-monospace, monospace; border: 1px solid var(--line); padding: .8rem; }
code { font-family: ui-monospace, monospace; } img { max-width: 100%; background: var(--paper); }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: bold; } .small { opacity: .8; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #f85149; } }";

/// `written_at` is RFC 3339, in UTC.
pub(super) fn of(runs: &[Run], written_at: &str) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>What the lab measured</title>\n<style>\n{STYLE}\n</style>\n\
         <h1>What the lab measured</h1>\n\
         <p class=\"small\">Written {} from the files of {} runs. Compare ratios of one run rather than absolute figures of two.</p>\n",
        escaped(written_at),
        runs.len()
    );
    overview(&mut html, runs);
    for run in runs {
        section(&mut html, run);
    }
    html.push_str("</html>\n");
    html
}

fn overview(html: &mut String, runs: &[Run]) {
    html.push_str(
        "<table><tr><th>experiment</th><th>when (UTC)</th><th>what was checked</th><th>figures reached</th></tr>\n",
    );
    for run in runs {
        let held = if run.broken.is_empty() {
            "<span class=\"good\">held</span>".to_owned()
        } else {
            format!("<span class=\"bad\">{} broken</span>", run.broken.len())
        };
        let measured = run.figures.iter().filter(|figure| figure.reached.is_some()).count();
        let reached = run.figures.iter().filter(|figure| figure.reached == Some(true)).count();
        let name = escaped(&run.experiment);
        let _ = writeln!(
            html,
            "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td>{held}</td><td>{}</td></tr>",
            escaped(&run.started_at),
            if measured == 0 { "-".to_owned() } else { format!("{reached} of {measured}") }
        );
    }
    html.push_str("</table>\n");
}

fn section(html: &mut String, run: &Run) {
    let name = escaped(&run.experiment);
    let _ = writeln!(html, "<h2 id=\"{name}\">{name}</h2>");
    let command = run.command.as_deref().unwrap_or("(not recorded)");
    let _ = writeln!(html, "<p><code>{}</code></p>", escaped(command));
    let took = run.seconds.map(|seconds| format!(", {seconds:.0} s")).unwrap_or_default();
    let _ = writeln!(html, "<p class=\"small\">{}{took}. {}</p>", escaped(&run.started_at), escaped(&run.place()));
    for line in &run.broken {
        let _ = writeln!(html, "<p class=\"bad\">{}</p>", escaped(line));
    }
    if let Some(svg) = &run.picture {
        // As an image: what is inside meets nothing of the page.
        let data = STANDARD.encode(svg);
        let _ = writeln!(html, "<p><img alt=\"the picture of {name}\" src=\"data:image/svg+xml;base64,{data}\"></p>");
    }
    if !run.figures.is_empty() {
        html.push_str("<table><tr><th>figure</th><th>measured</th><th>wanted</th><th></th></tr>\n");
        run.figures.iter().for_each(|figure| row(html, figure));
        html.push_str("</table>\n");
    }
    if !run.text.is_empty() {
        let _ = writeln!(html, "<pre>{}</pre>", escaped(run.text.trim_end()));
    }
}

fn row(html: &mut String, Wanted { what, measured, target, reached }: &Wanted) {
    let mark = match reached {
        Some(true) => "<span class=\"good\">reached</span>",
        Some(false) => "<span class=\"bad\">missed</span>",
        None => "",
    };
    let (what, measured, target) = (escaped(what), escaped(measured), escaped(target));
    let _ = writeln!(html, "<tr><td>{what}</td><td>{measured}</td><td>{target}</td><td>{mark}</td></tr>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::run::{Run, Wanted};
    use super::of;

    #[test]
    fn everything_is_in_the_page_and_nothing_is_fetched() {
        let figure = |reached| Wanted {
            what: "hit < miss".to_owned(),
            measured: "6.7x".to_owned(),
            target: "at least 3x".to_owned(),
            reached,
        };
        let run = Run {
            experiment: "blog-performance".to_owned(),
            command: Some("lab blog performance --only \"latency\"".to_owned()),
            started_at: "2026-11-24T11:40:37Z".to_owned(),
            seconds: Some(61.4),
            figures: vec![figure(Some(true)), figure(Some(false)), figure(None)],
            broken: vec!["<script>".to_owned()],
            text: "a & b".to_owned(),
            picture: Some("<svg/>".to_owned()),
            ..Run::default()
        };
        let page = of(&[run], "2026-11-29T00:00:00Z");
        for part in [
            "lab blog performance --only &quot;latency&quot;",
            "hit &lt; miss",
            "1 of 2",
            "reached</span>",
            "missed</span>",
            "1 broken",
            "&lt;script&gt;",
            "a &amp; b",
            "data:image/svg+xml;base64,PHN2Zy8+",
            ", 61 s",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        for outside in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
