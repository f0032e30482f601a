use tokio::sync::{Mutex, MutexGuard};

/// Enough that unlike keys rarely wait for each other.
const STRIPES: usize = 1024;

/// Locks by key, a fixed number of them. They only keep the changes of one thing made by this
/// process in line; what makes changes right is the store's transaction.
pub(crate) struct Locks(Box<[Mutex<()>]>);

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    /// Waits for its turn with a key. `digest` is a keyed digest, so its bytes are evenly spread and
    /// cannot be chosen from outside.
    pub(crate) async fn of(&self, digest: &[u8]) -> MutexGuard<'_, ()> {
        self.0[stripe(digest, STRIPES)].lock().await
    }
}

/// Which of `count` a digest falls to.
pub(crate) fn stripe(digest: &[u8], count: usize) -> usize {
    let tail = digest.iter().rev().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(tail % count as u64).unwrap_or(0)
}
