//! What the operating system says of this process. Where there is no `/proc`, nothing is told.

use std::fs;

/// Clock ticks of `/proc` in a second: fixed in Linux' interface, whatever the kernel's own is.
const TICKS: f64 = 100.0;

/// As it is now.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Bytes in memory.
    pub(crate) resident: Option<u64>,
    /// Bytes of address space.
    pub(crate) virtual_memory: Option<u64>,
    /// Bytes kept from being swapped out.
    pub(crate) locked: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    /// Seconds of processor time, in all threads.
    pub(crate) cpu: Option<f64>,
}

impl Process {
    pub(crate) fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let (status, stat, limits) = (read("status"), read("stat"), read("limits"));
        let fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64);
        // The one that lists them is open as well.
        Self { open_fds: fds.map(|n| n.saturating_sub(1)), ..Self::told(&status, &stat, &limits) }
    }

    fn told(status: &str, stat: &str, limits: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let kib = |name: &str| field(name).map(|kib| kib * 1024);
        // The name in brackets may hold anything; counted from behind it, times are 12th and 13th.
        let cpu = stat.rsplit_once(')').and_then(|(_, rest)| {
            let times: Vec<f64> =
                rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
            (times.len() == 2).then(|| times.iter().sum::<f64>() / TICKS)
        });
        let max_fds = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        Self {
            resident: kib("VmRSS"),
            virtual_memory: kib("VmSize"),
            locked: kib("VmLck"),
            threads: field("Threads"),
            open_fds: None,
            max_fds,
            cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_prints_is_read() {
        let told = Process::told(
            "Name:\tkeyferry\nVmSize:\t  2048 kB\nVmLck:\t   4 kB\nVmRSS:\t   12 kB\nThreads:\t7\n",
            "1 (key) ferry) S 0 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 1 2",
            "Limit Soft Hard Units\nMax open files            1024                 4096                 files\n",
        );
        let expected = Process {
            resident: Some(12 << 10),
            virtual_memory: Some(2 << 20),
            locked: Some(4 << 10),
            threads: Some(7),
            open_fds: None,
            max_fds: Some(1024),
            cpu: Some(2.0),
        };
        assert_eq!(told, expected);
        assert_eq!(Process::told("", "", ""), Process::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found() {
        let now = Process::now();
        assert!(now.resident.unwrap() > 1 << 20 && now.open_fds.unwrap() > 2 && now.cpu.is_some(), "{now:?}");
    }
}
