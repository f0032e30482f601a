//! Announcements, by LISTEN and NOTIFY on one connection of their own. Where the server has neither, nobody
//! hears anything, which is all that a lost announcement comes to.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::poll_fn;
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_postgres::AsyncMessage;

use super::{
    fault::{Fault, Kind},
    link::{Pause, Target},
};

/// Announcements that wait to be sent; those beyond are lost.
const WAITING: usize = 1024;
/// Announcements sent in one statement. Each commit with any takes a lock that the whole server shares.
const TOGETHER: usize = 64;

/// Where announcements go in and come out.
pub(super) struct News {
    out: mpsc::Sender<Bytes>,
    heard: broadcast::Sender<Bytes>,
    task: tokio::task::AbortHandle,
}

impl News {
    pub(super) fn start(target: Arc<Target>) -> Self {
        let (out, waiting) = mpsc::channel(WAITING);
        let heard = broadcast::Sender::new(WAITING);
        let task = tokio::spawn(run(target, waiting, heard.clone())).abort_handle();
        Self { out, heard, task }
    }

    pub(super) fn announce(&self, announcement: Bytes) {
        // Full: the database is away, and whoever was to be told looks for himself in a while.
        let _ = self.out.try_send(announcement);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.heard.subscribe()
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(target: Arc<Target>, mut waiting: mpsc::Receiver<Bytes>, heard: broadcast::Sender<Bytes>) {
    let mut pause = Pause::default();
    loop {
        let fault = match carry(&target, &mut waiting, &heard, &mut pause).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        if fault.kind == Kind::Refused {
            tracing::warn!(
                database = target.options.place(),
                error = fault.what,
                "the database carries no announcements; other nodes learn of new work by looking for it"
            );
            return;
        }
        target.failed(&fault);
        pause.wait().await;
    }
}

/// One connection's life. `Ok`: nobody is there any more who could announce or listen.
async fn carry(
    target: &Target,
    waiting: &mut mpsc::Receiver<Bytes>,
    heard: &broadcast::Sender<Bytes>,
    pause: &mut Pause,
) -> Result<(), Fault> {
    let connecting = target.options.config.connect(target.options.tls.clone());
    let (client, mut connection) = timeout(target.patience(), connecting)
        .await
        .map_err(|_| Fault::lost("no answer in time"))?
        // Whatever it is, it may pass: what is final is that the server knows no LISTEN.
        .map_err(|error| Fault::lost(Fault::from(error).what))?;
    // The channel is the database's, so the schema's name tells stores apart.
    let channel = target.options.schema.as_str();
    let sending = async {
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        *pause = Pause::default();
        while let Some(first) = waiting.recv().await {
            let mut texts = vec![hex::encode(first)];
            while texts.len() < TOGETHER {
                let Ok(next) = waiting.try_recv() else { break };
                texts.push(hex::encode(next));
            }
            client.query("SELECT pg_notify($1, n) FROM unnest($2::text[]) n", &[&channel, &texts]).await?;
        }
        Ok::<(), Fault>(())
    };
    let hearing = async {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    // Not ours, if it is not hexadecimal; nobody listening is no error.
                    if let Ok(announcement) = hex::decode(notification.payload()) {
                        let _ = heard.send(announcement.into());
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Fault::from(error),
                None => return Fault::lost("the connection was closed"),
            }
        }
    };
    tokio::select! {
        sent = sending => sent,
        fault = hearing => Err(fault),
    }
}
