//! The command line as a whole. Each command's own options stand beside it.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{config, exec, folder, init, interpolate, profile, secret, shell, sync};

/// Keeper Secrets Manager: read, change and deliver what is shared with an application
#[derive(Parser)]
#[command(name = "ksm", version, disable_version_flag = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command has in common. Stands before the command.
#[derive(Args, Debug, Default)]
pub(crate) struct Globals {
    /// Configuration file [default: the first keeper.ini found]
    #[arg(long, value_name = "FILE")]
    pub(crate) ini_file: Option<PathBuf>,
    /// Profile to use [env: KSM_CLI_PROFILE] [default: the active one]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) profile_name: Option<String>,
    /// Where data goes: stdout, stderr or a file
    #[arg(short, long, value_name = "stdout|stderr|FILE", default_value = "stdout")]
    pub(crate) output: String,
    /// Colours in tables (they are left out where the output is no terminal)
    #[arg(short, long, overrides_with = "no_color")]
    pub(crate) color: bool,
    /// No colours [short: -nc]
    #[arg(long, alias = "nc")]
    pub(crate) no_color: bool,
    /// Keep the last answer, and use it when Keeper cannot be reached
    #[arg(long, overrides_with = "no_cache")]
    pub(crate) cache: bool,
    /// Neither keep nor use one
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// What is logged to stderr [env: KSM_DEBUG] [default: warnings]
    #[arg(long, value_enum, ignore_case = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// The words of the official CLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum LogLevel {
    /// Everything
    Debug,
    /// What happens
    Info,
    /// What should be looked at
    Warning,
    /// What went wrong
    Error,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Manage the profiles this machine uses
    #[command(subcommand)]
    Profile(profile::Command),
    /// Read and change records
    #[command(subcommand)]
    Secret(secret::Command),
    /// Write values of the vault into a cloud's secret store
    Sync(sync::SyncArgs),
    /// List and change folders
    #[command(subcommand)]
    Folder(folder::Command),
    /// Run a program with values of the vault in its environment
    Exec(exec::ExecArgs),
    Interpolate(interpolate::InterpolateArgs),
    /// Turn a one-time token into a configuration for something else
    #[command(subcommand)]
    Init(init::Command),
    /// Settings for all profiles
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell
    Shell(shell::ShellArgs),
    /// Print versions and the configuration file in use
    Version,
}

/// Makes the definition forgiving where the official CLI is: what follows an option that takes a value
/// is its value, also when it begins with a hyphen (UIDs and passwords may).
pub(super) fn definition(command: clap::Command) -> clap::Command {
    let hyphens = |arg: clap::Arg| {
        let takes_value = arg.get_action().takes_values() && !arg.is_positional();
        if takes_value { arg.allow_hyphen_values(true) } else { arg }
    };
    let mut command = command.mut_args(hyphens).mut_subcommands(definition);
    command.build();
    command
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition(Cli::command()).debug_assert();
    }
}
