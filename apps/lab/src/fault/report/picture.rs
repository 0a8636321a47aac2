//! The picture of a fault: what each second brought, and what was seen to have happened when.

use super::{Load, Report};
use crate::measure::latencies::as_f64;
use crate::measure::panel::{BAD, FLOOR, GOOD, LINE, Place, SOFT, Sheet, legend, panel, tick_label};
use crate::measure::svg::{Font, Picture};

const LOAD: f64 = 230.0;
/// A line of text.
const TEXT: f64 = 20.0;

pub(super) fn draw(report: &Report) -> String {
    let rounds = report.paused.len();
    let told = as_f64((report.evidence.len() + rounds) as u64);
    let mut rows = vec![LOAD; report.loads.len()];
    rows.push(70.0 + TEXT * told);
    let sheet = Sheet { head: 92.0, rows: &rows };
    let title = format!("{} in the cluster, and what clients saw", report.fault);
    let subtitle = format!(
        "{}, {} cores ({}); lab fault {}",
        report.started_at, report.machine.cores, report.machine.processor, report.fault
    );
    let mut picture = sheet.begin(&title, subtitle);
    for (row, load) in report.loads.iter().enumerate() {
        let place = Place { width: Sheet::WHOLE, ..sheet.place(row, 0) };
        load_panel(&mut picture, place, load);
    }
    let place = Place { width: Sheet::WHOLE, ..sheet.place(report.loads.len(), 0) };
    panel(&mut picture, place, "What was seen", "seconds since the load began, and the proof that the fault was there");
    let evidence = report.evidence.iter().map(|seen| format!("{:6.1} s  {}", seen.at_s, seen.what));
    let rounds = report.paused.iter().map(|round| {
        let judged = &round.judged;
        format!("{}: {} oversold, {} lost, {} doubled", round.strategy, judged.oversold, judged.lost, judged.doubled)
    });
    for (line, text) in evidence.chain(rounds).enumerate() {
        let y = place.y + 78.0 + TEXT * as_f64(line as u64);
        picture.text((place.x + 18.0, y), Font::new(13.0, SOFT), text);
    }
    let description = format!(
        "{} tries failed in all",
        report.loads.iter().map(|load| load.pressed.counts.failed_tries).sum::<u64>()
    );
    picture.finish(&title, &description)
}

fn load_panel(picture: &mut Picture, place: Place, load: &Load) {
    let pressed = &load.pressed;
    let subtitle = format!(
        "answers in each second: {} in all, {} after another try, {} never",
        pressed.counts.answered, pressed.counts.retried_ok, pressed.counts.never
    );
    panel(picture, place, load.service.program(), &subtitle);
    legend(picture, (place.x + place.width - 330.0, place.y + 30.0), &[("answered", GOOD), ("failed tries", BAD)]);
    let (left, top) = (place.x + 60.0, place.y + 70.0);
    let (width, height) = (place.width - 80.0, place.height - 110.0);
    let most = pressed.by_second.iter().map(|second| second.answered.max(second.failed)).max().unwrap_or(1).max(1);
    let scale = height / f64::from(most);
    let step = width / as_f64(pressed.by_second.len().max(1) as u64);
    for window in &pressed.windows {
        let x = left + step * window.at_s;
        picture.line((x, top), (x, top + height), FLOOR, 1.0);
        let p99 =
            window.latency.as_ref().map_or_else(String::new, |latency| format!(", p99 {}", tick_label(latency.p99_us)));
        picture.text((x + 4.0, top + height + 18.0), Font::new(12.0, SOFT), format!("{}{p99}", window.since));
    }
    for (at, second) in pressed.by_second.iter().enumerate() {
        let x = left + step * as_f64(at as u64);
        let bar = |picture: &mut Picture, count: u32, color, part: f64| {
            let tall = f64::from(count) * scale;
            picture.rect((x + step * (1.0 - part) / 2.0, top + height - tall), (step * part, tall), color, 1.0);
        };
        bar(picture, second.answered, GOOD, 0.8);
        bar(picture, second.failed, BAD, 0.5);
    }
    picture.line((left, top + height), (left + width, top + height), LINE, 1.0);
    picture.text((left - 8.0, top + 5.0), Font::new(12.0, SOFT).end(), most.to_string());
    picture.text((left - 8.0, top + height), Font::new(12.0, SOFT).end(), "0");
}
