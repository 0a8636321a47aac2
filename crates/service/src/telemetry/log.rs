//! Log lines, each with the ids of the request that it belongs to.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::RequestContext;
use crate::config::LogArgs;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: colours on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs go to standard error: standard output is for what a command was asked to print.
pub(super) fn install(args: &LogArgs) {
    let filter = args.log_filter.to_env_filter();
    let subscriber = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error says that the process has a subscriber of its own already (a test's): then that one is used.
    let _installed = match args.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let format = WithRequest { inner: Format::default().with_ansi(colours), json: false };
            subscriber.with(layer.with_ansi(colours).event_format(format)).try_init()
        }
        LogFormat::Json => {
            let inner = Format::default().json().flatten_event(true).with_current_span(false);
            let layer = layer.with_ansi(false).fmt_fields(JsonFields::new());
            subscriber.with(layer.event_format(WithRequest { inner, json: true })).try_init()
        }
    };
}

/// tracing-subscriber's own format, with `request_id` and `trace_id` of the current request at the end of the line.
struct WithRequest<F> {
    inner: F,
    json: bool,
}

impl<F, S, N> FormatEvent<S, N> for WithRequest<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(request) = RequestContext::current() else {
            return self.inner.format_event(ctx, to, event);
        };
        let mut line = String::with_capacity(256);
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        add_request(&mut line, &request, self.json)?;
        to.write_str(&line)
    }
}

/// Both formats end in a fixed way, so that the ids can be put in before the end.
fn add_request(line: &mut String, request: &RequestContext, json: bool) -> fmt::Result {
    let end = if json { "}\n" } else { "\n" };
    let Some(start) = line.strip_suffix(end).map(str::len) else { return Ok(()) };
    line.truncate(start);
    let trace = request.trace().trace_id();
    if json {
        // The request id is a client's text: visible ASCII, but quotes and backslashes are visible.
        let id = serde_json::Value::from(request.request_id());
        write!(line, ",\"request_id\":{id},\"trace_id\":\"{trace}\"{end}")
    } else {
        write!(line, " request_id={} trace_id={trace}{end}", request.request_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, Uri};

    fn request(id: &'static str) -> RequestContext {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static(id));
        RequestContext::new(&headers, &Uri::from_static("/"))
    }

    #[test]
    fn the_ids_go_into_both_formats() {
        let context = request("quote\"back\\slash");
        let trace = context.trace().trace_id();
        let mut line = "{\"level\":\"INFO\",\"message\":\"a\"}\n".to_owned();
        add_request(&mut line, &context, true).unwrap();
        assert!(line.ends_with('\n') && line.lines().count() == 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["request_id"], "quote\"back\\slash");
        assert_eq!(read["trace_id"], trace.as_str());
        assert_eq!(read["message"], "a");

        let mut line = "INFO a\n".to_owned();
        add_request(&mut line, &request("abc"), false).unwrap();
        assert!(line.starts_with("INFO a request_id=abc trace_id=") && line.ends_with('\n'), "{line}");
    }
}
