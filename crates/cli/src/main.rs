//! The one binary. It reads the arguments, the configuration and the environment, builds the real
//! clock, dice and way out to the network, and hands them to the crates that do the work. Data goes
//! to stdout, talk to stderr; the exit code is 0 when all is well, 1 when something failed, 2 when
//! it was asked for wrongly.

mod args;
mod client;
mod config;
mod demo;
mod env;
mod failure;
mod house;
mod init;
mod logging;
mod printer;
mod real;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::two_dashes(std::env::args_os()));
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer::talk(format_args!("keyferry: {failure}"));
            failure.exit_code().into()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Version => {
            printer::data(format_args!("keyferry {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Command::Server(args) => serve::run(&args, env::snapshot()),
        Command::Init(args) => init::run(&args),
        Command::Demo => demo::run(),
    }
}
