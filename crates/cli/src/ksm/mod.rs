//! `ksm`: the Keeper Secrets Manager command line, under its own name or as `keyferry ksm …`.
//!
//! Options, JSON and tables are those of the official CLI 1.5.0 (keeper.md 4), so that a crontab or a
//! script goes on working; where we differ on purpose, docs/ksm-differences.md says so and why.
//!
//! One file per group of commands. Each command is a `run(&Ksm, &Args) -> Done`: [`Ksm`] holds what a
//! run has in common (options, environment, profile, the way out) and makes the expensive things,
//! a runtime and a client, only when a command asks for them: `--version` and `profile list` must be
//! over in a few milliseconds.

mod args;
mod config;
mod context;
mod deleted;
mod exec;
mod failure;
mod folder;
mod init;
mod interpolate;
mod output;
mod profile;
mod secret;
mod shell;
mod spelling;
mod store;
mod sync;
mod table;
mod values;
mod version;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};
use destinations::net::Snapshot;

use crate::{failure::Failure, printer};
use args::{Cli, Command};
pub(crate) use context::Ksm;

/// What a command comes to: an exit code, mostly success.
pub(crate) type Done = Result<ExitCode, Failure>;

/// Whether the binary was started under the name `ksm`.
pub(crate) fn is_called(program: &OsString) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "ksm")
}

/// Runs one command line. The first argument is the program's name.
pub(crate) fn main(arguments: Vec<OsString>, environment: Snapshot) -> ExitCode {
    let definition = args::definition(Cli::command());
    let arguments = spelling::settled(&definition, arguments);
    let parsed = definition.try_get_matches_from(arguments).and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(told) => {
            // Help and the version come this way too. Where they cannot be printed nobody reads them.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let ksm = Ksm::new(cli.globals, environment);
    match run(&ksm, cli.command).and_then(|code| ksm.output().finish().map(|()| code)) {
        Ok(code) => code,
        Err(failure) => {
            printer::talk(format_args!("Error: {failure}"));
            failure.exit_code().into()
        }
    }
}

fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::Profile(command) => profile::run(ksm, command),
        Command::Secret(command) => secret::run(ksm, command),
        Command::Sync(args) => sync::run(ksm, &args),
        Command::Folder(command) => folder::run(ksm, command),
        Command::Exec(args) => exec::run(ksm, &args),
        Command::Interpolate(args) => interpolate::run(ksm, &args),
        Command::Init(command) => init::run(ksm, command),
        Command::Config(command) => config::run(ksm, command),
        Command::Shell(args) => shell::run(ksm, &args),
        Command::Version => version::run(ksm),
    }
}
