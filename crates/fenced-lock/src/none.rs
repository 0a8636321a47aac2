//! No lock: the control that every comparison needs.

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::guard::Guard;

/// Lets everybody in at once. It shows what a section without a lock does, and must fail every check that says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLock;

impl Backend for NoLock {
    fn kind(&self) -> Kind {
        Kind::None
    }

    fn begin(&self, _request: Request) -> Acquiring {
        let (answer, answered) = oneshot::channel();
        let _ = answer.send(Ok(Guard::unguarded()));
        Acquiring(answered)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}
