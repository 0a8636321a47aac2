//! Connections to one replica, shared by the tasks of one thread: as many as have requests under way at once.

use std::cell::RefCell;
use std::net::SocketAddr;

use crate::measure::connection::{Connection, ExchangeError, Response};
use crate::measure::http::REQUEST;

/// The connections to a replica that nobody uses just now.
#[derive(Debug)]
pub(crate) struct LinePool {
    address: SocketAddr,
    idle: RefCell<Vec<Connection>>,
}

impl LinePool {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::default() }
    }

    /// Sends one request and reads the answer by `read`.
    ///
    /// # Errors
    /// Nothing is sent twice: after an error the caller knows only that it has no answer.
    pub(crate) async fn exchange<T>(
        &self,
        request: &[u8],
        read: impl FnOnce(&Response<'_>) -> T,
    ) -> Result<T, ExchangeError> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answered = tokio::time::timeout(REQUEST, connection.exchange(request)).await;
        let answer = read(&answered.unwrap_or(Err(ExchangeError::Late(REQUEST)))?);
        if connection.usable() {
            self.idle.borrow_mut().push(connection);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::LinePool;
    use crate::measure::load::tests::echo;
    use std::time::Duration;

    #[tokio::test]
    async fn there_are_as_many_connections_as_requests_at_once() {
        let pool = LinePool::new(echo(Duration::from_millis(20)).await);
        let get = |path: &str| format!("GET /{path} HTTP/1.1\r\n\r\n").into_bytes();
        let (a, b) = (get("a"), get("bb"));
        let both = tokio::join!(
            pool.exchange(&a, |response| response.body.len()),
            pool.exchange(&b, |response| response.body.len())
        );
        assert_eq!((both.0.unwrap(), both.1.unwrap(), pool.idle.borrow().len()), (2, 3, 2));
        assert_eq!(pool.exchange(&a, |response| response.status).await.unwrap(), 200);
        assert_eq!(pool.idle.borrow().len(), 2);
    }
}
