//! Whether anything happens on a connection. HTTP's own timeout for heads would set a timer for every
//! request, and begins only once it is known which version is spoken, which a client can keep open.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happens on one connection.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests begun and pieces of answers taken by the client. What a client sends does not count: a
    /// head can be sent for ever.
    steps: AtomicUsize,
    /// Requests under way.
    under_way: AtomicUsize,
}

impl Activity {
    /// A request begins. It is under way until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.step();
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns once nothing has happened for a whole period: after one at the earliest, after two at the
    /// latest.
    pub(super) async fn ceases(&self, period: Duration) {
        let mut before = 0;
        loop {
            tokio::time::sleep(period).await;
            let steps = self.steps.load(Ordering::Relaxed);
            if steps == before && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = steps;
        }
    }
}

/// A request that is under way.
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells when the other side takes something.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
}

impl<S> Watched<S> {
    fn told(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.activity.step();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.told(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    /// In how many seconds a connection ends on which `happens` does.
    async fn ends_after(activity: Arc<Activity>, happens: impl Future<Output = ()>) -> u64 {
        let begun = tokio::time::Instant::now();
        tokio::join!(activity.ceases(PERIOD), happens);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lives_while_something_happens_on_it() {
        let activity = Arc::new(Activity::default());
        assert_eq!(ends_after(activity, async {}).await, 30, "silence");

        let activity = Arc::new(Activity::default());
        let long = activity.begin();
        let request = async move {
            tokio::time::sleep(Duration::from_secs(80)).await;
            drop(long);
        };
        assert_eq!(ends_after(activity, request).await, 90, "one long request");

        let activity = Arc::new(Activity::default());
        let reader = activity.clone();
        let slow_reader = async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                reader.step();
            }
        };
        assert_eq!(ends_after(activity, slow_reader).await, 240, "an answer taken slowly");
    }
}
