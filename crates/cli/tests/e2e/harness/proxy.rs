//! Stands between a server and its database, and does to the traffic what networks do.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
};

/// What becomes of the bytes, on connections that are there and on those to come.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Traffic {
    Through,
    /// Every piece waits for this long.
    HeldBack(Duration),
    /// After this many more bytes of requests, in the middle of a message as it may be, the connection is cut.
    CutAfter(u64),
    /// The same with answers: what was asked is done, and nobody hears of it.
    CutAnswersAfter(u64),
    /// Taken and never passed on; nobody is told.
    Swallowed,
}

/// A proxy. It ends with the test's runtime.
pub(crate) struct Proxy {
    pub(crate) address: String,
    traffic: watch::Sender<Traffic>,
    left: Arc<Mutex<u64>>,
}

impl Proxy {
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let listener = TcpListener::from_std(listener).unwrap();
        let traffic = watch::Sender::new(Traffic::Through);
        let left = Arc::new(Mutex::new(0));
        let (upstream, told, budget) = (upstream.to_owned(), traffic.subscribe(), Arc::clone(&left));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&upstream).await else { continue };
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                let (asking, answering) = (told.clone(), told.clone());
                let (one, two) = (Arc::clone(&budget), Arc::clone(&budget));
                tokio::spawn(async move {
                    // Whichever ends first takes the other with it.
                    tokio::select! {
                        () = pass(from_near, to_far, asking, one, false) => {}
                        () = pass(from_far, to_near, answering, two, true) => {}
                    }
                });
            }
        });
        Self { address, traffic, left }
    }

    pub(crate) fn let_through(&self, traffic: Traffic) {
        if let Traffic::CutAfter(bytes) | Traffic::CutAnswersAfter(bytes) = traffic {
            *self.left.lock().unwrap() = bytes;
        }
        self.traffic.send_replace(traffic);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    left: Arc<Mutex<u64>>,
    answers: bool,
) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(size @ 1..) = from.read(&mut piece).await else { return };
        let now = *traffic.borrow_and_update();
        let mut part = &piece[..size];
        let mut cut = false;
        match now {
            Traffic::Through => {}
            Traffic::HeldBack(time) => tokio::time::sleep(time).await,
            Traffic::CutAfter(_) if answers => {}
            Traffic::CutAnswersAfter(_) if !answers => {}
            Traffic::CutAfter(_) | Traffic::CutAnswersAfter(_) => {
                let mut left = left.lock().unwrap();
                let allowed = usize::try_from(*left).unwrap().min(part.len());
                cut = allowed < part.len();
                part = &part[..allowed];
                *left -= u64::try_from(allowed).unwrap();
            }
            // For good: a connection that lost bytes must not go on.
            Traffic::Swallowed => {
                let mut rest = [0; 1024];
                while matches!(from.read(&mut rest).await, Ok(1..)) {}
                return;
            }
        }
        if to.write_all(part).await.is_err() || cut {
            return;
        }
    }
}
