//! The one binary. It reads the arguments, the configuration and the environment, builds the real
//! clock, dice and way out to the network, and hands them to the crates that do the work. Data goes
//! to stdout, talk to stderr; the exit code is 0 when all is well, 1 when something failed, 2 when
//! it was asked for wrongly.
#![expect(dead_code, reason = "the parts that serve are being built; gone with their first landing")]

mod args;
mod config;
mod env;
mod logging;
mod real;

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::two_dashes(std::env::args_os()));
    let done = match cli.command {
        Command::Version => writeln!(std::io::stdout(), "keyferry {}", env!("CARGO_PKG_VERSION")),
        Command::Server(_) | Command::Init(_) | Command::Demo => {
            Err(std::io::Error::other("this build cannot serve yet: the server crate has not landed"))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "keyferry: {e}");
            ExitCode::FAILURE
        }
    }
}
