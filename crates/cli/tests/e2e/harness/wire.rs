use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What becomes of one request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Both connections break when half of it has gone through.
    CutRequest,
    /// It arrives and is answered; the connection breaks before the answer.
    LoseAnswer,
    /// It arrives and is answered; the answer is kept back for as long as anybody waits.
    Delay,
    /// It arrives, and half of the answer comes back.
    Truncate,
    /// It arrives twice.
    Duplicate,
    /// It does not arrive; what comes back is not HTTP.
    Garbage,
    /// It arrives; what comes back is HTTP and not what the service says.
    WrongAnswer,
    /// It arrives; its answer comes byte by byte, more slowly than anybody waits.
    Drip,
}

/// Stands between the server and a service that speaks HTTP/1.1, and breaks what it is told to.
pub(crate) struct Between {
    address: SocketAddr,
    wires: Arc<Mutex<VecDeque<Wire>>>,
    task: JoinHandle<()>,
}

/// What garbage holds, and so must be seen nowhere.
pub(crate) const GARBAGE: &str = "GARBAGE-FROM-THE-WIRE";

impl Between {
    /// In front of a service at `host:port`.
    pub(crate) async fn start(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wires = Arc::new(Mutex::new(VecDeque::new()));
        let (service, queue) = (service.to_owned(), Arc::clone(&wires));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, service.clone(), Arc::clone(&queue)));
            }
        });
        Self { address, wires, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of the next request.
    pub(crate) fn next(&self, wire: Wire) {
        self.wires.lock().unwrap().push_back(wire);
    }

    /// Whether everything that was to go wrong has gone wrong.
    pub(crate) fn is_used_up(&self) -> bool {
        self.wires.lock().unwrap().is_empty()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection: its requests, each over a connection of its own to the service.
async fn carry(mut client: TcpStream, service: String, wires: Arc<Mutex<VecDeque<Wire>>>) -> io::Result<()> {
    while let Some(request) = message(&mut client).await? {
        let wire = wires.lock().unwrap().pop_front();
        let ask = async || -> io::Result<Vec<u8>> {
            let mut upstream = TcpStream::connect(&service).await?;
            upstream.write_all(&request).await?;
            Ok(message(&mut upstream).await?.unwrap_or_default())
        };
        match wire {
            None => client.write_all(&ask().await?).await?,
            Some(Wire::CutRequest) => {
                let mut upstream = TcpStream::connect(&service).await?;
                upstream.write_all(&request[..request.len() / 2]).await?;
                return Ok(());
            }
            Some(Wire::LoseAnswer) => {
                ask().await?;
                return Ok(());
            }
            Some(Wire::Delay) => {
                ask().await?;
                // Until the other side gives up.
                let _ = client.read(&mut [0]).await;
                return Ok(());
            }
            Some(Wire::Truncate) => {
                let answer = ask().await?;
                client.write_all(&answer[..answer.len() - 10]).await?;
                return Ok(());
            }
            Some(Wire::Duplicate) => {
                ask().await?;
                client.write_all(&ask().await?).await?;
            }
            Some(Wire::Garbage) => {
                client.write_all(format!("\0\x01 {GARBAGE}\r\n\r\n").as_bytes()).await?;
                return Ok(());
            }
            Some(Wire::WrongAnswer) => {
                ask().await?;
                let body = format!("<html>{GARBAGE}</html>");
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                client.write_all(format!("{head}{body}").as_bytes()).await?;
            }
            Some(Wire::Drip) => {
                for byte in ask().await? {
                    client.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    Ok(())
}

/// The next whole message of a connection, head and body; `None` at its end.
async fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if seen.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(Some(seen));
            }
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    }
}
