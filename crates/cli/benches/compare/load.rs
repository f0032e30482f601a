//! A small load generator: N connections, each with one request under way at a time, for a fixed time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

pub(crate) type Body = Full<Bytes>;

/// What a round came to.
pub(crate) struct Round {
    pub(crate) per_second: f64,
    /// In microseconds, sorted.
    pub(crate) latencies: Vec<u32>,
}

/// One keep-alive HTTP/1.1 connection.
pub(crate) async fn connect(address: &str) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Sends one request and reads the answer whole; anything but a success ends the bench.
pub(crate) async fn exchange(send: &mut SendRequest<Body>, request: Request<Body>) {
    send.ready().await.unwrap();
    let answer = send.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
}

/// Keeps `connections` busy for `time` with what `request(connection, step)` makes.
pub(crate) async fn run<F>(address: &str, connections: usize, time: Duration, request: F) -> Round
where
    F: Fn(usize, usize) -> Request<Body> + Send + Sync + 'static,
{
    let (request, ended) = (Arc::new(request), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let mut send = connect(address).await;
        let (request, ended) = (Arc::clone(&request), Arc::clone(&ended));
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            let mut step = 0;
            while !ended.load(Ordering::Relaxed) {
                let begun = Instant::now();
                exchange(&mut send, request(connection, step)).await;
                latencies.push(micros(begun.elapsed()));
                step += 1;
            }
            latencies
        });
    }
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    ended.store(true, Ordering::Relaxed);
    let mut latencies = tasks.join_all().await.concat();
    let took = begun.elapsed();
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let per_second = latencies.len() as f64 / took.as_secs_f64();
    Round { per_second, latencies }
}

/// Sends `total` requests over `connections`, each once, in no particular order.
pub(crate) async fn all<F>(address: &str, connections: usize, total: usize, request: F)
where
    F: Fn(usize) -> Request<Body> + Send + Sync + 'static,
{
    let request = Arc::new(request);
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let mut send = connect(address).await;
        let request = Arc::clone(&request);
        tasks.spawn(async move {
            for number in (connection..total).step_by(connections) {
                exchange(&mut send, request(number)).await;
            }
        });
    }
    tasks.join_all().await;
}

pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The value that `percent` of the sorted values do not exceed, in milliseconds.
pub(crate) fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
}

/// The middle of a few figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
