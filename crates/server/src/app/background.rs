//! What must be done sooner or later and by nobody's request: erasing the data of disabled mounts,
//! sweeping the records of dead tokens. Both are safe to repeat and to interrupt anywhere.

use std::time::Duration;

use store::StoreError;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{App, auth, cubbyhole, kv, tokens, wrapping};

/// Without being woken it looks this often.
const EVERY: Duration = Duration::from_mins(10);
/// It rests so many times as long as it was at work, however often it is woken.
const REST: u32 = 9;

/// Wakes the chores.
#[derive(Default)]
pub(crate) struct Chores(Notify);

impl Chores {
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

impl App {
    /// Runs the chores until told to stop. At most one is needed per process; several processes over
    /// one store may each run theirs.
    pub async fn run_chores(&self, stop: CancellationToken) {
        let mut woken = true;
        loop {
            // Where several servers share a store one of them looks now and then; who is asked does it itself.
            let mine = woken || self.sync.as_ref().is_none_or(|sync| sync.engine().leads(b"chores"));
            let begun = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.do_chores(), if mine => {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "background chores failed and are tried again later");
                    }
                }
                () = std::future::ready(()), if !mine => {}
            }
            // Every token that is revoked wakes them, and they look at all there are.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(begun.elapsed() * REST) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.chores.0.notified() => woken = true,
                () = tokio::time::sleep(EVERY) => woken = false,
            }
        }
    }

    /// Does all chores once.
    pub async fn do_chores(&self) -> Result<(), StoreError> {
        kv::erase_disabled(self).await?;
        auth::erase_disabled(self).await?;
        tokens::sweep(self).await?;
        wrapping::sweep(self).await?;
        cubbyhole::sweep(self).await
    }
}
