//! A client's socket between hyper and the kernel: records when requests begin and when their answers have left, and
//! withholds the answers that hyper would write by itself.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use crate::{
    connection::{Connection, Phase},
    framing::Framing,
};

/// How long a client may go on sending after its last answer. A socket that is closed with unread input is reset, and
/// the reset may overtake the answer.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    framing: Framing,
    gave_two_lengths: bool,
    /// The client will send no more bytes.
    ended: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, framing: Framing::new(), gave_two_lengths: false, ended: false }
    }

    /// Whether no request is in progress, so that anything hyper writes now is withheld.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.connection.is_between_requests()
    }

    /// Whether the last request had both `Content-Length` and `Transfer-Encoding`.
    pub(crate) fn gave_two_lengths(&self) -> bool {
        self.gave_two_lengths
    }

    /// Writes `answer`, if there is one, and ends the connection so that the client can read it.
    pub(crate) async fn close(mut self, answer: Option<Vec<u8>>) {
        if let Some(answer) = answer
            && self.stream.write_all(&answer).await.is_err()
        {
            return;
        }
        if self.stream.shutdown().await.is_err() || self.ended {
            return;
        }
        // A client that sends for longer is cut off.
        let _ = timeout(LINGER, self.discard_input()).await;
    }

    async fn discard_input(&self) {
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut [0; 16 * 1024]) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        self.ended = came.is_empty();
        if !self.ended && !self.connection.begin_head() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.gave_two_lengths |= self.framing.follow(came);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    /// Between requests hyper writes only that it could not parse one. This pretends to write that; the server writes
    /// its own answer once hyper has ended.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_between_requests() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// hyper flushes once its buffer is empty: then the kernel has the answer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.connection.rest(if self.framing.is_in_head() { Phase::Head } else { Phase::Waiting });
        Poll::Ready(Ok(()))
    }

    /// Does nothing, because [`Socket::close`] shuts the socket down.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
