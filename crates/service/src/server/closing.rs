//! A close hook that takes its place before there is anything to close.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::Server;

type Close = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A close hook that takes its place in the order now and learns later what it has to do.
///
/// What uses the pool of the database closes before the pool does, and is made after it.
#[derive(Clone, Default)]
pub struct Closing(Arc<Mutex<Option<Close>>>);

impl Server {
    /// Adds a close hook whose work is [set](Closing::set) later; nothing is done if it never is.
    pub fn closing(&mut self, name: &'static str) -> Closing {
        let closing = Closing::default();
        let hook = closing.clone();
        self.on_close(name, move || async move {
            let close = hook.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(close) = close {
                close.await;
            }
        });
        closing
    }
}

impl Closing {
    /// What the hook has to do.
    pub fn set(&self, close: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(close));
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing").finish_non_exhaustive()
    }
}
