//! Answers that wait to be read: what they take of memory in all is bounded, and who does not read pays with an error.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::purse::{Lease, Purse};

/// Answers of up to so many bytes do not count: each connection has one at most.
const SMALL: usize = 1 << 20;
/// Bytes of larger answers that wait to be read, of all clients together.
const LARGE: usize = 96 << 20;
/// Bytes handed to a connection at once.
const PIECE: usize = 64 * 1024;

/// Room for large answers.
pub(crate) struct Answers(Arc<Purse>);

/// The room of one large answer, free again when dropped.
pub(crate) type Room = Option<Lease>;

impl Answers {
    pub(crate) fn new() -> Self {
        Self(Purse::new(LARGE))
    }

    /// Room for an answer of so many bytes; `Err` when others do not read theirs. Nobody waits for it: whoever waited would
    /// hold what it waits for, or a turn that others need for a small answer.
    pub(crate) fn room(&self, from: IpAddr, bytes: usize) -> Result<Room, ()> {
        if bytes <= SMALL {
            return Ok(None);
        }
        self.0.take(from, bytes).map(Some).ok_or(())
    }
}

/// A response body that holds its room until the client has read nearly all of it.
pub(crate) struct Sent {
    pub(crate) bytes: Bytes,
    pub(crate) _room: Room,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn who_does_not_read_takes_no_more_than_there_is_for_all() {
        let answers = Answers::new();
        let large = 30 << 20;
        let [greedy, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let held = [answers.room(greedy, large).unwrap(), answers.room(greedy, large).unwrap()];
        assert!(held.iter().all(Option::is_some));
        assert!(answers.room(greedy, large).is_err(), "a third of 30 MiB has no room");
        assert!(answers.room(greedy, 1 << 20).unwrap().is_none(), "small answers go on");
        assert!(answers.room(other, 24 << 20).is_ok(), "another's share");
        let [first, _second] = held;
        let mut sent = Sent { bytes: Bytes::from(vec![1; 3 * PIECE]), _room: first };
        assert_eq!(sent.size_hint().exact(), Some(3 * PIECE as u64));
        for _ in 0..3 {
            let piece = std::future::poll_fn(|cx| Pin::new(&mut sent).poll_frame(cx)).await.unwrap().unwrap();
            assert_eq!(piece.data_ref().unwrap().len(), PIECE);
        }
        assert!(sent.is_end_stream());
        drop(sent);
        assert!(answers.room(greedy, large).is_ok(), "room that was given back");
    }
}
