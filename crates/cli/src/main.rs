//! The one binary. It reads the arguments, the configuration and the environment, builds the real
//! clock, dice and way out to the network, and hands them to the crates that do the work. Data goes
//! to stdout, talk to stderr; the exit code is 0 when all is well, 1 when something failed, 2 when
//! it was asked for wrongly.

mod args;
mod audit;
mod backup;
mod client;
mod config;
mod demo;
mod env;
mod failure;
mod hardening;
mod house;
mod init;
mod ksm;
mod logging;
mod printer;
mod real;
mod serve;
mod storage;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{AuditCommand, Cli, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    hardening::no_core_dumps();
    hardening::quiet_panics();
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.first().is_some_and(ksm::is_called) {
        return ksm::main(arguments, env::snapshot());
    }
    if arguments.get(1).is_some_and(|word| word == "ksm") {
        arguments.remove(0);
        return ksm::main(arguments, env::snapshot());
    }
    let cli = Cli::parse_from(args::two_dashes(arguments));
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
        Command::Init(args) => init::run(&args, &env::snapshot()),
        Command::Backup(args) => backup::backup(&args, &env::snapshot()),
        Command::Restore(args) => backup::restore(&args, &env::snapshot()),
        Command::Verify(args) => backup::verify(&args, &env::snapshot()),
        Command::Doctor(args) => backup::doctor(&args, &env::snapshot()),
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(&args),
        Command::Demo => demo::run(),
        // Seen before the arguments are parsed, because it parses its own.
        Command::Ksm => Err(Failure::wrong("write `keyferry ksm` with nothing before `ksm`")),
    }
}
