//! `ksm shell`: completion scripts.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Done, Ksm, args::Cli};

#[derive(Args)]
pub(crate) struct ShellArgs {
    /// The shell that is to complete `ksm` commands
    #[arg(value_enum, ignore_case = true, value_name = "SHELL")]
    shell: Shell,
}

/// Prints a script to be read by the shell: `source <(ksm shell bash)`.
pub(super) fn run(ksm: &Ksm, args: &ShellArgs) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ksm", &mut script);
    ksm.output().text(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
