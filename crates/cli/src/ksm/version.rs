//! `ksm version`.

use std::process::ExitCode;

use super::{Done, Ksm, store};

/// The version of the official CLI whose command line this one follows.
const FOLLOWS: &str = "1.5.0";

/// Prints versions and where the configuration is.
pub(super) fn run(ksm: &Ksm) -> Done {
    let file = store::file_in_use(ksm);
    let file = file.map_or_else(|| "None".to_owned(), |path| path.display().to_string());
    ksm.output().text(&format!(
        "CLI Version: {} (keyferry; command line of the official CLI {FOLLOWS})\nConfig file: {file}\n",
        env!("CARGO_PKG_VERSION"),
    ))?;
    Ok(ExitCode::SUCCESS)
}
