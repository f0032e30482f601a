//! What a person at a terminal sees while a run goes on. Elsewhere nothing is printed.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

/// One line on the terminal, written over and gone at the end.
pub(super) struct Progress {
    on: bool,
    done: AtomicUsize,
}

impl Progress {
    /// On when stderr is a terminal.
    pub(super) fn new() -> Self {
        Self { on: std::io::stderr().is_terminal(), done: AtomicUsize::new(0) }
    }

    /// What is being done now.
    pub(super) fn say(&self, text: &str) {
        if self.on {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text} …");
        }
    }

    /// Advice, for whoever is looking.
    pub(super) fn hint(&self, hints: &[String]) {
        if self.on {
            hints.iter().for_each(|hint| {
                let _ = writeln!(std::io::stderr().lock(), "\r\x1b[KHint: {hint}");
            });
        }
    }

    /// One of so many has come to an end.
    pub(super) fn step(&self, total: usize) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // A hundred lines at most, however many there are.
        if self.on && (done == total || done.is_multiple_of(total.div_ceil(100).max(1))) {
            self.say(&format!("writing, {done} of {total}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
