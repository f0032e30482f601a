//! What the process asks of the operating system so that secrets in its memory stay there: no core dumps, no
//! look into it by others of the same user, no swapping. And what it says when it panics: where, never what.

#[cfg(target_os = "linux")]
use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{CapabilitySet, capabilities},
};

/// What became of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Nothing is swapped out.
    Yes,
    /// It was not asked for.
    NotAsked,
    /// The system does not allow it.
    No(&'static str),
}

/// For every command, before anything else: a crash leaves no image of the memory behind, and nobody of the
/// same user reads it or the environment (`/proc/PID/mem`, `/proc/PID/environ`) or attaches a debugger.
pub(crate) fn no_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        // Neither is ever refused for oneself; if it were, the other would still hold.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

/// A panic's text may hold what was being worked on, so it is not printed. To be replaced once there is a log.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        crate::printer::talk(format_args!("keyferry: internal error at {place}; please report it"));
    }));
}

/// Keeps all memory, that in use and that to come, from being swapped out: each page from when it is first used.
///
/// A limit on locked memory (`RLIMIT_MEMLOCK`) would make allocations fail once it is reached, which ends the
/// process. So memory is locked only where there is none, or where `CAP_IPC_LOCK` lifts it.
pub(crate) fn lock_memory(asked: bool) -> Locked {
    if !asked {
        return Locked::NotAsked;
    }
    #[cfg(target_os = "linux")]
    {
        let limit = getrlimit(Resource::Memlock);
        if limit.maximum.is_none() && limit.current.is_some() {
            // Only the soft limit is in the way.
            let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        }
        let unlimited = getrlimit(Resource::Memlock).current.is_none();
        let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
        if !unlimited && !capable {
            return Locked::No(
                "it takes the capability CAP_IPC_LOCK, or no limit on locked memory (LimitMEMLOCK=infinity)",
            );
        }
        match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
            Ok(()) => Locked::Yes,
            Err(_) => Locked::No("the system refused"),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Locked::No("it is done on Linux only")
}
