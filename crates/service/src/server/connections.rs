//! The connections of one listener.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// How often quiet connections are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// Sweeps after which a connection that has never sent a whole request is closed.
const QUIET_FROM_THE_START: u32 = 3;
/// Sweeps after which a connection that is kept alive without a request is closed.
const QUIET: u32 = 8;
/// Sweeps after that until it is cut off.
const QUIET_STILL: u32 = 2;

/// How long a connection that was accepted just before the end has to send its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// The connections of one listener. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    tracker: TaskTracker,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    closing: AtomicBool,
}

struct Open {
    progress: Arc<Progress>,
    // Taken when the connection has been told to close.
    close: Option<oneshot::Sender<()>>,
    abort: AbortHandle,
    quiet: Quiet,
}

/// For how long a connection has brought no request.
#[derive(Default)]
struct Quiet {
    seen: u32,
    sweeps: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Close,
    CutOff,
}

/// What a sweep sees of a connection. Counting costs a request nothing; a timer per connection, reset by each
/// request, would.
#[derive(Default)]
struct Progress {
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }))
    }

    /// Serves one connection in a task of its own.
    pub(super) fn serve(&self, stream: TcpStream, routes: Router) {
        // Without it, a response of two writes waits for the client's delayed acknowledgement. A connection that
        // refuses it is gone already.
        let _gone = stream.set_nodelay(true);
        let (close, closed) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        // Held until the entry is there: the task takes it out again, and may end at once.
        let mut open = self.open();
        let entry = Entry { connections: Arc::downgrade(&self.0), id };
        let task = self.0.tracker.spawn(drive(stream, routes, progress.clone(), closed, entry));
        let abort = task.abort_handle();
        let close = if self.0.closing.load(Ordering::Relaxed) { None } else { Some(close) };
        open.insert(id, Open { progress, close, abort, quiet: Quiet::default() });
    }

    /// Tells each connection to end after the request that it is at.
    pub(super) fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        for open in self.open().values_mut() {
            // Dropping the sender tells it.
            open.close = None;
        }
    }

    /// Waits until none is left.
    pub(super) async fn closed(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Cuts off those that are left.
    pub(super) fn abort(&self) {
        for open in self.open().values() {
            open.abort.abort();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    /// Closes connections that bring no request for long, for ever: idle ones, and those that send a request's head a byte at a time.
    pub(super) async fn sweep(self) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            for open in self.open().values_mut() {
                open.sweep();
            }
        }
    }

    pub(super) fn downgrade(&self) -> WeakConnections {
        WeakConnections(Arc::downgrade(&self.0))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For whoever counts connections and should not keep them alive.
pub(super) struct WeakConnections(Weak<Inner>);

impl WeakConnections {
    /// How many are open; nothing when the server is gone.
    pub(super) fn open(&self) -> Option<usize> {
        self.0.upgrade().map(|inner| Connections(inner).len())
    }
}

impl Open {
    fn sweep(&mut self) {
        let (begun, ended) = (&self.progress.begun, &self.progress.ended);
        match self.quiet.sweep(begun.load(Ordering::Relaxed), ended.load(Ordering::Relaxed)) {
            Verdict::Keep => {}
            Verdict::Close => self.close = None,
            Verdict::CutOff => self.abort.abort(),
        }
    }
}

impl Quiet {
    fn sweep(&mut self, begun: u32, ended: u32) -> Verdict {
        let is_quiet = begun == ended && begun == self.seen;
        self.sweeps = if is_quiet { self.sweeps + 1 } else { 0 };
        self.seen = begun;
        let patience = if begun == 0 { QUIET_FROM_THE_START } else { QUIET };
        match self.sweeps {
            sweeps if sweeps >= patience + QUIET_STILL => Verdict::CutOff,
            sweeps if sweeps >= patience => Verdict::Close,
            _ => Verdict::Keep,
        }
    }
}

/// Takes the connection off the list when its task ends, however it ends.
struct Entry {
    connections: Weak<Inner>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(inner) = self.connections.upgrade() {
            Connections(inner).open().remove(&self.id);
        }
    }
}

async fn drive(
    stream: TcpStream,
    routes: Router,
    progress: Arc<Progress>,
    closed: oneshot::Receiver<()>,
    _entry: Entry,
) {
    let counted = progress.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        counted.begun.fetch_add(1, Ordering::Relaxed);
        let answer = routes.clone().call(request);
        let counted = counted.clone();
        async move {
            let answer: Result<Response, Infallible> = answer.await;
            counted.ended.fetch_add(1, Ordering::Relaxed);
            answer
        }
    });
    // No timer: its one use is the time for a request's head, which the sweep sees to.
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A connection that breaks is the client's affair; its request, if any, counts as one whose client is gone.
    tokio::select! {
        biased;
        _ended = connection.as_mut() => return,
        _closed = closed => {}
    }
    if progress.begun.load(Ordering::Relaxed) == 0 {
        // Its request may be on the way: closing now would fail it. The answer will say that the connection closes.
        if tokio::time::timeout(FIRST_REQUEST, connection.as_mut()).await.is_ok() {
            return;
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_never_brings_a_request_is_closed_then_cut_off() {
        let mut quiet = Quiet::default();
        let verdicts: Vec<_> = (0..5).map(|_| quiet.sweep(0, 0)).collect();
        use Verdict::{Close, CutOff, Keep};
        assert_eq!(verdicts, [Keep, Keep, Close, Close, CutOff]);
    }

    #[test]
    fn requests_that_come_or_run_keep_it() {
        let mut quiet = Quiet::default();
        for request in 1..100 {
            assert_eq!(quiet.sweep(request, request), Verdict::Keep, "one more each time");
        }
        for _ in 0..100 {
            assert_eq!(quiet.sweep(101, 100), Verdict::Keep, "one that takes long");
        }
        let closed = (1..).find(|_| quiet.sweep(101, 101) != Verdict::Keep);
        assert_eq!(closed, Some(QUIET));
    }
}
