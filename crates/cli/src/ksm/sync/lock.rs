//! One run of a profile at a time. The lock is the operating system's, on an open file: it ends with the
//! process that holds it, however that ends, so that none can be left behind.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::PathBuf,
    time::Duration,
};

use keeper::Client;

use super::super::context::warn;
use super::Ksm;
use crate::{failure::Failure, printer};

/// So long a run waits for the one before it. A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock of the profile in use, waiting for it. None where there is no place for one, which is
/// said and no reason to do nothing.
pub(super) fn take(ksm: &Ksm, client: &Client) -> Result<Option<File>, Failure> {
    let path = path(ksm, client);
    let opened = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| open(&path));
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            warn(format_args!(
                "no lock keeps other runs of this profile away: {} cannot be opened: {}",
                path.display(),
                error.kind()
            ));
            return Ok(None);
        }
    };
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => {
                warn(format_args!("no lock keeps other runs of this profile away: {}", error.kind()));
                return Ok(None);
            }
            Err(TryLockError::WouldBlock) if waited >= PATIENCE => {
                return Err(Failure::failed(format!(
                    "another `ksm sync` of this profile has been at work for {} minutes; nothing was done \
                     (--no-lock does not wait)",
                    PATIENCE.as_secs() / 60
                )));
            }
            Err(TryLockError::WouldBlock) => {
                if waited.is_zero() && progress_is_shown() {
                    printer::talk("waiting for another `ksm sync` of this profile");
                }
                ksm.block_on(async { tokio::time::sleep(PAUSE).await })?;
                waited += PAUSE;
            }
        }
    }
}

fn progress_is_shown() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

fn open(path: &PathBuf) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// One file per device of an application, whatever its profile is called and wherever it is kept.
fn path(ksm: &Ksm, client: &Client) -> PathBuf {
    let digest = client.config().mark_key().digest("lock", &[client.config().client_id().as_bytes()]);
    let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let name = u64::from_be_bytes(*first);
    let home = || ksm.environment().home.clone().map(|home| home.join(".local/state"));
    let state = ksm.variable("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    let state = state.unwrap_or_else(std::env::temp_dir);
    state.join("keyferry").join(format!("sync-{name:016x}.lock"))
}
