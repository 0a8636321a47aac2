//! Panics in the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// Has each panic of this process logged as one line, with the ids of its request, instead of as several lines of text
/// between the lines of the log. Before there is a log it is printed as ever.
pub(crate) fn install() {
    let printed = std::panic::take_hook();
    std::panic::set_hook(Box::new(
        move |panic| {
            if tracing::dispatcher::has_been_set() { log(panic) } else { printed(panic) }
        },
    ));
}

fn log(panic: &PanicHookInfo<'_>) {
    let message = crate::observe::panic_message(panic.payload());
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let thread = std::thread::current();
    tracing::error!(
        panic = message,
        location,
        thread = thread.name(),
        backtrace = backtrace.as_ref().map(tracing::field::display),
        "panicked"
    );
}
