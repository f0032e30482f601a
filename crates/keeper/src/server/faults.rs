//! Misbehaving on request.

use std::time::Duration;

use super::PretendKeeper;

/// A way to misbehave.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// HTTP 403 `throttled`, with Keeper's wish how long to wait, in seconds.
    Throttled(Option<f64>),
    /// This status with an HTML body, as a proxy in front of the service gives it.
    Status(u16),
    /// This status with Keeper's error JSON of this word.
    Refuse(u16, &'static str),
    /// Keeper's wish for the server key of this id.
    AskForKey(&'static str),
    /// 200 with bytes that do not decrypt.
    Garbage,
    /// 200 with a well-sealed body of this text.
    Sealed(&'static str),
    /// The request is carried out and the answer is never sent: the connection closes.
    LostAnswer,
    /// No answer for so long, then the ordinary one.
    Slow(Duration),
}

/// A fault that waits for its request.
pub(super) struct Planned {
    pub(super) path: String,
    pub(super) fault: Fault,
    pub(super) times: usize,
}

impl PretendKeeper {
    /// Lets the next so many requests of a call go wrong, after those planned before.
    pub fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.shared.state().faults.push(Planned { path: path.to_owned(), fault, times });
    }

    /// From now on only this client version is registered (`mp17.3.0`).
    pub fn register_only(&self, version: &str) {
        self.shared.state().registered_version = Some(version.to_owned());
    }

    /// From now on asks clients for the server key of this id, made on first use.
    pub fn rotate_server_key(&self, id: &str) -> Result<(), crate::Error> {
        self.shared.state().use_key(id, &*self.shared.entropy)?;
        Ok(())
    }
}

impl super::state::State {
    /// The fault for a request of this call, if one is planned.
    pub(super) fn take_fault(&mut self, path: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|planned| planned.path == path)?;
        let planned = &mut self.faults[at];
        planned.times = planned.times.saturating_sub(1);
        let fault = planned.fault.clone();
        if planned.times == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }
}
