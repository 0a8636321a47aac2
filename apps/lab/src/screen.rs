//! What a person sees while the lab works: a bar with an ETA on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a bar is drawn at most, on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a line is written, in a log.
const LINE: Duration = Duration::from_secs(5);
/// Cells of the bar.
const CELLS: u64 = 24;

/// Progress towards a known total, on stderr.
#[derive(Debug)]
pub(crate) struct Bar {
    label: &'static str,
    total: u64,
    /// Done before this run; the rate is that of the rest.
    before: u64,
    done: u64,
    begun: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Bar {
    pub(crate) fn new(label: &'static str, total: u64, before: u64) -> Self {
        let mut bar = Self {
            label,
            total,
            before,
            done: before,
            begun: Instant::now(),
            drawn: None,
            terminal: std::io::stderr().is_terminal(),
        };
        if bar.terminal {
            bar.draw();
        }
        bar
    }

    /// Moves the bar by `steps`.
    pub(crate) fn advance(&mut self, steps: u64) {
        self.done = (self.done + steps).min(self.total);
        let every = if self.terminal { REDRAW } else { LINE };
        if self.drawn.unwrap_or(self.begun).elapsed() >= every {
            self.draw();
        }
    }

    /// Leaves one finished line behind.
    pub(crate) fn done(mut self) {
        self.done = self.total;
        let seconds = self.begun.elapsed().as_secs_f64();
        let line = format!("{}: {} in {seconds:.1} s", self.label, grouped(self.total - self.before));
        self.write(&line, "\n");
        // The drop below must not end the line a second time.
        self.drawn = None;
    }

    fn draw(&mut self) {
        self.drawn = Some(Instant::now());
        let line = self.line(self.begun.elapsed());
        self.write(&line, if self.terminal { "" } else { "\n" });
    }

    fn line(&self, elapsed: Duration) -> String {
        let total = self.total.max(1);
        let filled = usize::try_from(self.done * CELLS / total).expect("at most the number of cells");
        let bar: String = (0..CELLS as usize).map(|cell| if cell < filled { '#' } else { '.' }).collect();
        let percent = self.done * 100 / total;
        let counts = format!("{}/{}", grouped(self.done), grouped(self.total));
        let eta = match eta(self.done - self.before, self.total - self.done, elapsed) {
            Some(left) => format!("  {} left", seconds(left)),
            None => String::new(),
        };
        format!("{} [{bar}] {percent:3} %  {counts}{eta}", self.label)
    }

    fn write(&self, line: &str, end: &str) {
        let mut stderr = std::io::stderr().lock();
        // On a terminal: back to the start of the line, and nothing of the longer line before it left.
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        // A closed stderr is no reason to stop working.
        let _ = write!(stderr, "{start}{line}{end}");
        let _ = stderr.flush();
    }
}

impl Drop for Bar {
    /// An interrupted bar ends its line, so that what comes next starts on its own.
    fn drop(&mut self) {
        if self.terminal && self.drawn.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// How long the rest takes at the rate so far; none while there is no rate.
fn eta(done: u64, left: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || left == 0 || elapsed < Duration::from_millis(500) {
        return None;
    }
    Some(elapsed.mul_f64(left as f64 / done as f64))
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs() + 1;
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

/// A line of the report, on stdout. A reader that went away (`lab up | head`) is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line about something that happened by itself, while a bar may be on the screen.
pub(crate) fn note(line: &str) {
    let start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(std::io::stderr().lock(), "{start}{line}");
}

/// Says on a terminal what is being measured; `""` when all is done.
pub(crate) fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        let text = if what.is_empty() { String::new() } else { format!("measuring: {what} ...") };
        eprint!("\r\x1b[K{text}");
    } else if !what.is_empty() {
        eprintln!("measuring: {what}");
    }
}

/// Steps of an experiment whose times are known roughly beforehand: says on stderr what is being done, and how long the
/// rest will take.
#[derive(Debug)]
pub(crate) struct Steps {
    total: Duration,
    /// What the steps before this one were expected to take.
    before: Duration,
    current: Duration,
    begun: Instant,
    said: Option<Instant>,
}

impl Steps {
    pub(crate) fn new(total: Duration) -> Self {
        Self { total, before: Duration::ZERO, current: Duration::ZERO, begun: Instant::now(), said: None }
    }

    /// Begins the next step.
    pub(crate) fn next(&mut self, what: &str, expected: Duration) {
        self.before += self.current;
        self.current = expected;
        let terminal = std::io::stderr().is_terminal();
        // In a log, every step would be a line.
        if !terminal && self.said.is_some_and(|said| said.elapsed() < LINE) {
            return;
        }
        self.said = Some(Instant::now());
        progress(&format!("{what} ({} left)", seconds(self.left(self.begun.elapsed()))));
    }

    /// By what the steps so far took against what they were expected to.
    fn left(&self, elapsed: Duration) -> Duration {
        let left = self.total.saturating_sub(self.before);
        if self.before < Duration::from_secs(2) { left } else { left.mul_f64(elapsed.div_duration_f64(self.before)) }
    }
}

/// The lab's own log, for whoever looks for the cause of something: silent but for `RUST_LOG`.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_take_twice_as_long_are_expected_to_go_on_so() {
        let mut steps = Steps::new(Duration::from_secs(60));
        assert_eq!(steps.left(Duration::ZERO), Duration::from_secs(60));
        steps.before = Duration::from_secs(20);
        assert_eq!(steps.left(Duration::from_secs(40)), Duration::from_secs(80));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_eta_is_that_of_this_run() {
        // 100 of 1,000 were there before; 300 took 3 s, so 600 take 6.
        let bar = Bar {
            label: "posts",
            total: 1_000,
            before: 100,
            done: 400,
            begun: Instant::now(),
            drawn: None,
            terminal: false,
        };
        assert_eq!(bar.line(Duration::from_secs(3)), "posts [#########...............]  40 %  400/1,000  7 s left");
        assert_eq!(eta(0, 10, Duration::from_secs(9)), None);
        assert_eq!(eta(10, 0, Duration::from_secs(9)), None);
    }
}
