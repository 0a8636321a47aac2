//! Values as Grafana shows them: in their unit, with no more digits than they have.

/// A value in a unit of Grafana's, with so many digits behind the point where the panel asks for it.
pub(crate) fn format(value: f64, unit: &str, decimals: Option<usize>) -> String {
    match unit {
        "percentunit" => format!("{} %", digits(value * 100.0, decimals)),
        "s" => time(value, decimals),
        "bytes" | "Bps" => {
            let (value, prefix) = scaled(value, 1024.0, &["", "Ki", "Mi", "Gi", "Ti"]);
            format!("{} {prefix}B{}", digits(value, decimals), if unit == "Bps" { "/s" } else { "" })
        }
        "reqps" => format!("{}/s", short(value, decimals)),
        _ => short(value, decimals),
    }
}

fn short(value: f64, decimals: Option<usize>) -> String {
    let (scaled, prefix) = scaled(value, 1000.0, &["", "k", "M", "G", "T"]);
    if prefix.is_empty() { digits(scaled, decimals) } else { format!("{} {prefix}", digits(scaled, None)) }
}

fn scaled<'a>(value: f64, step: f64, prefixes: &[&'a str]) -> (f64, &'a str) {
    let mut value = value;
    let mut at = 0;
    while value.abs() >= step && at + 1 < prefixes.len() {
        value /= step;
        at += 1;
    }
    (value, prefixes[at])
}

fn time(seconds: f64, decimals: Option<usize>) -> String {
    let amount = seconds.abs();
    let (value, unit) = match amount {
        _ if amount < 1e-12 => (0.0, "s"),
        _ if amount < 1e-3 => (seconds * 1e6, "µs"),
        _ if amount < 1.0 => (seconds * 1e3, "ms"),
        _ if amount < 120.0 => (seconds, "s"),
        _ if amount < 7200.0 => (seconds / 60.0, "min"),
        _ if amount < 172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    format!("{} {unit}", digits(value, decimals))
}

/// About three digits, or as many behind the point as are asked for; no zeros at the end.
fn digits(value: f64, decimals: Option<usize>) -> String {
    let decimals = decimals.unwrap_or(match value.abs() {
        amount if amount >= 100.0 => 0,
        amount if amount >= 10.0 => 1,
        amount if (1e-12..0.01).contains(&amount) => 4,
        _ => 2,
    });
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Where the marks of an axis from 0 stand, and its end: as many as about `wanted`, at round values.
pub(crate) fn marks(most: f64, wanted: f64, binary: bool) -> (f64, f64) {
    let raw = (most / wanted).max(f64::MIN_POSITIVE);
    // Bytes are round in powers of two.
    let base = if binary { 2_f64 } else { 10_f64 };
    let power = base.powf((raw.ln() / base.ln()).floor());
    let candidates: &[f64] = if binary { &[1.0, 2.0] } else { &[1.0, 2.0, 2.5, 5.0, 10.0] };
    let step = candidates.iter().map(|factor| factor * power).find(|step| *step >= raw * 0.999).unwrap_or(power * base);
    (step, (most / step).ceil().max(1.0) * step)
}

#[cfg(test)]
mod tests {
    use super::{format, marks};

    #[test]
    fn values_are_shown_in_their_unit() {
        for (value, unit, decimals, shown) in [
            (0.9876, "percentunit", Some(1), "98.8 %"),
            (0.000_25, "s", None, "250 µs"),
            (0.0, "s", None, "0 s"),
            (90.0, "s", None, "90 s"),
            (3600.0, "s", None, "60 min"),
            (134_217_728.0, "bytes", None, "128 MiB"),
            (2048.0, "Bps", None, "2 KiB/s"),
            (1234.0, "reqps", Some(0), "1.23 k/s"),
            (12.345, "reqps", None, "12.3/s"),
            (3.0, "short", Some(0), "3"),
            (0.0, "short", None, "0"),
        ] {
            assert_eq!(format(value, unit, decimals), shown);
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_value_that_holds_everything() {
        for (most, step, end) in [(1.0, 0.25, 1.0), (93.0, 25.0, 100.0), (0.004, 0.001, 0.004), (7.0, 2.0, 8.0)] {
            let found = marks(most, 4.0, false);
            assert!((found.0 - step).abs() < 1e-9 && (found.1 - end).abs() < 1e-9, "{most}: {found:?}");
        }
        assert_eq!(marks(100.0, 4.0, true), (32.0, 128.0));
    }
}
