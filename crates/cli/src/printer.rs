//! Data to stdout, talk to stderr. A reader that has gone away is no reason to fail.

use std::{fmt::Display, io::Write as _};

/// What the command was asked for.
pub(crate) fn data(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}

/// What is worth knowing beside it.
pub(crate) fn talk(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// What a program wrote to its stderr, handed on.
pub(crate) fn raw_talk(bytes: &model::SecretBytes) {
    // Opened to be handed on to where it was going.
    let _ = std::io::stderr().lock().write_all(bytes.expose());
}
