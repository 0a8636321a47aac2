//! A limit on the size of a request's body, whoever reads it.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

/// How much of a body over the limit is still taken from the wire (and thrown away) before the answer is sent.
///
/// A connection that is closed on unread data is reset, and a client that is still sending then sees the reset
/// instead of the 413. Up to this size it gets to read the answer; a larger upload is cut off.
const DISCARDED: u64 = 8 << 20;

/// The error that reading a body ends with when there is more of it than allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooLarge {
    pub(crate) limit: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body has more than {} bytes", self.limit)
    }
}

impl Error for TooLarge {}

impl TooLarge {
    /// Finds this error among the sources of another one.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(*found);
            }
            next = error.source();
        }
        None
    }
}

/// A body that fails with [`TooLarge`] once more than `limit` bytes have come, after it has taken in the rest.
pub(crate) struct LimitedBody {
    inner: Body,
    limit: usize,
    left: usize,
    discardable: u64,
    discarded: Option<u64>,
}

impl LimitedBody {
    /// `asks_first`: the client sends the body only when it is told to (`Expect: 100-continue`).
    pub(crate) fn new(inner: Body, limit: usize, asks_first: bool) -> Self {
        // A declared length over the limit needs no counting: nothing of it reaches the reader.
        let discarded = (inner.size_hint().lower() > limit as u64).then_some(0);
        let discardable = if asks_first && discarded.is_some() { 0 } else { DISCARDED };
        Self { inner, limit, left: limit, discardable, discarded }
    }

    fn too_large(&self) -> axum::Error {
        axum::Error::new(TooLarge { limit: self.limit })
    }
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.discarded.is_some() && this.inner.size_hint().lower() > this.discardable {
            return Poll::Ready(Some(Err(this.too_large())));
        }
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if this.discarded.is_some() => return Poll::Ready(Some(Err(this.too_large()))),
                None => return Poll::Ready(None),
            };
            let size = frame.data_ref().map_or(0, Bytes::len);
            match &mut this.discarded {
                None if size <= this.left => {
                    this.left -= size;
                    return Poll::Ready(Some(Ok(frame)));
                }
                None => this.discarded = Some(size as u64),
                Some(discarded) => {
                    *discarded += size as u64;
                    if *discarded > this.discardable {
                        return Poll::Ready(Some(Err(this.too_large())));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.discarded.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.discarded.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: Body, limit: usize) -> Result<Bytes, axum::Error> {
        // No limit here: the body's own is what is tested.
        axum::body::to_bytes(Body::new(LimitedBody::new(body, limit, false)), usize::MAX).await
    }

    fn chunked(chunks: &'static [&'static str]) -> Body {
        Body::from_stream(futures_util::stream::iter(chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk))))
    }

    #[tokio::test]
    async fn the_limit_itself_passes_and_one_more_byte_does_not() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(chunked(&["123", "45"]), 5).await.unwrap(), "12345");
        for body in [Body::from("123456"), chunked(&["123", "456"]), chunked(&["123", "45", "6", "789"])] {
            let error = read(body, 5).await.unwrap_err();
            assert_eq!(TooLarge::find(&error).unwrap().limit, 5);
        }
    }
}
