//! A pretend disk that loses power, fails and tears writes when told to.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use model::{Entropy, SeededEntropy};
use redb::StorageBackend;

/// What happened, in order.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    /// All before this is on disk for certain.
    Flush,
    /// A caller was told that something is done.
    Told(u64),
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It fails and changes nothing.
    Error(io::ErrorKind),
    /// A write fails half way.
    Torn,
}

/// Which operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    /// Writing, growing and shrinking.
    Change,
    Flush,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PretendDisk(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    now: Vec<u8>,
    journal: Vec<Event>,
    /// The operation to fail, after so many more of its sort.
    fault: Option<(Operation, usize, Fault)>,
    flushes_held: bool,
}

impl PretendDisk {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().now = bytes;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    pub(super) fn now(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    pub(super) fn journal(&self) -> Vec<Event> {
        self.state().journal.clone()
    }

    pub(super) fn tell(&self, number: u64) {
        self.state().journal.push(Event::Told(number));
    }

    /// The operation of that sort after `skip` more of them fails, once.
    pub(super) fn fail(&self, operation: Operation, skip: usize, fault: Fault) {
        self.state().fault = Some((operation, skip, fault));
    }

    /// Whether the fault asked for is still to come.
    pub(super) fn fault_pending(&self) -> bool {
        self.state().fault.is_some()
    }

    /// Until what this returns is dropped, a flush does not return.
    pub(super) fn hold_flushes(&self) -> Held {
        self.state().flushes_held = true;
        Held(self.clone())
    }

    /// The fault for this operation, if its turn has come.
    fn fault(state: &mut State, operation: Operation) -> Option<Fault> {
        match &mut state.fault {
            Some((at, 0, fault)) if *at == operation => {
                let fault = *fault;
                state.fault = None;
                Some(fault)
            }
            Some((at, skip, _)) if *at == operation => {
                *skip -= 1;
                None
            }
            _ => None,
        }
    }
}

/// See [`PretendDisk::hold_flushes`].
pub(super) struct Held(PretendDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().flushes_held = false;
        self.0.0.1.notify_all();
    }
}

fn write_at(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "as the test wants it")
}

impl StorageBackend for PretendDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Fault::Error(kind)) = Self::fault(&mut state, Operation::Read) {
            return Err(error(kind));
        }
        let offset = usize::try_from(offset).unwrap();
        match state.now.get(offset..offset + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(error(io::ErrorKind::UnexpectedEof)),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Fault::Error(kind)) = Self::fault(&mut state, Operation::Change) {
            return Err(error(kind));
        }
        let len = usize::try_from(len).unwrap();
        state.now.resize(len, 0);
        state.journal.push(Event::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.1.wait_while(self.state(), |state| state.flushes_held).unwrap();
        if let Some(Fault::Error(kind)) = Self::fault(&mut state, Operation::Flush) {
            return Err(error(kind));
        }
        state.journal.push(Event::Flush);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = usize::try_from(offset).unwrap();
        let (data, outcome) = match Self::fault(&mut state, Operation::Change) {
            Some(Fault::Error(kind)) => return Err(error(kind)),
            Some(Fault::Torn) => (&data[..data.len() / 2], Err(error(io::ErrorKind::StorageFull))),
            None => (data, Ok(())),
        };
        write_at(&mut state.now, offset, data);
        state.journal.push(Event::Write { offset, data: data.to_vec() });
        outcome
    }
}

/// What a disk may hold once power comes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survives {
    /// Only what was flushed.
    Nothing,
    /// All that was written.
    Everything,
    /// Any of the sectors written since the last flush, in any order.
    Some(u64),
}

/// The disk after a power cut right after the first `at` events.
pub(super) fn after_power_cut(journal: &[Event], at: usize, survives: Survives) -> Vec<u8> {
    let happened = &journal[..at];
    let flushed =
        happened.iter().rposition(|event| matches!(event, Event::Flush)).map_or(0, |flush| flush + 1);
    let mut image = Vec::new();
    for event in &happened[..flushed] {
        apply(&mut image, event);
    }
    let dice = match survives {
        Survives::Nothing => return image,
        Survives::Everything => None,
        Survives::Some(seed) => Some(Dice::new(seed)),
    };
    for event in &happened[flushed..] {
        match (&dice, event) {
            (Some(dice), Event::Write { offset, data }) => {
                // A write may reach the disk in part, sector by sector. What lies beyond the end of a
                // file whose growth was lost is lost too.
                for (sector, part) in data.chunks(512).enumerate() {
                    let at = offset + sector * 512;
                    if dice.below(2) == 0 && at + part.len() <= image.len() {
                        write_at(&mut image, at, part);
                    }
                }
            }
            (Some(dice), Event::SetLen(_)) if dice.below(2) == 0 => {}
            _ => apply(&mut image, event),
        }
    }
    image
}

fn apply(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { offset, data } => write_at(image, *offset, data),
        Event::SetLen(len) => image.resize(*len, 0),
        Event::Flush | Event::Told(_) => {}
    }
}

/// Repeatable dice.
pub(super) struct Dice(SeededEntropy);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    pub(super) fn below(&self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % limit as u64).unwrap()
    }
}
