//! `ksm profile`: this machine's identities, and which one is used.

mod aws;
mod bind;
mod transfer;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use keeper::{
    config::{Config, KeeperIni, OneTimeToken, Profile, StoredConfig},
    json::{Json, Style},
};
use model::SecretBytes;

use super::{
    Done, Ksm,
    context::warn,
    store::{DEFAULT_PROFILE, IniFile, Store, missing},
    table::{Color, Column},
};
use crate::{failure::Failure, printer};
pub(super) use bind::{bind_with, token_of};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Bind a one-time token and keep what it gives as a profile
    Init(bind::InitArgs),
    /// Use a configuration that is kept in AWS Secrets Manager
    Setup(aws::SetupArgs),
    /// List the profiles
    List(ListArgs),
    /// Make a profile the one that is used
    Active(NameArgs),
    /// Remove a profile from this machine
    Delete(NameArgs),
    /// Print a profile, to be used elsewhere
    Export(transfer::ExportArgs),
    /// Keep an exported profile
    Import(transfer::ImportArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// The profile
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::Init(args) => bind::init(ksm, args),
        Command::Setup(args) => aws::setup(ksm, args),
        Command::List(args) => list(ksm, &args),
        Command::Active(args) => activate(ksm, &args.name),
        Command::Delete(args) => delete(ksm, &args.name),
        Command::Export(args) => transfer::export(ksm, &args),
        Command::Import(args) => transfer::import(ksm, args),
    }
}

/// The profile in use: the option, `KSM_CLI_PROFILE`, or the active one.
pub(crate) fn name_in_use(ksm: &Ksm, store: &Store) -> Result<String, Failure> {
    let asked = ksm.globals().profile_name.as_deref().or_else(|| ksm.variable("KSM_CLI_PROFILE"));
    if let Some(name) = asked.or_else(|| store.active()) {
        return Ok(name.to_owned());
    }
    match store {
        // Only one can be meant.
        Store::File(IniFile { token: Some(_), .. }) => Ok(DEFAULT_PROFILE.to_owned()),
        _ if store.names().is_empty() => Err(Failure::failed(
            "there is no profile on this machine: bind a one-time token with `ksm profile init TOKEN`, or set KSM_CONFIG",
        )),
        _ => Err(Failure::failed(
            "no profile is active: choose one with `ksm profile active NAME` or with --profile-name",
        )),
    }
}

/// The configuration of the profile in use. `KSM_TOKEN` is bound when the profile is not there yet.
pub(crate) fn bound(ksm: &Ksm) -> Result<Config, Failure> {
    let store = ksm.store()?;
    let name = name_in_use(ksm, store)?;
    if let Store::File(IniFile { token: Some(token), .. }) = store {
        return bind::from_environment(ksm, store.file()?, &name, token);
    }
    match store.profile(&name)? {
        Profile::Stored(StoredConfig::Bound(config)) => Ok(config),
        Profile::Stored(StoredConfig::Unbound(token)) => bind_and_keep(ksm, store, &name, &token),
        Profile::Aws(aws) => aws::read(ksm, &aws),
    }
}

/// A configuration that holds a one-time token only is bound on first use, as the official SDKs do.
fn bind_and_keep(ksm: &Ksm, store: &Store, name: &str, token: &OneTimeToken) -> Result<Config, Failure> {
    let file = store.file().map_err(|_| {
        Failure::failed(
            "the configuration in the environment holds a one-time token and is not bound: bind it with `ksm init default TOKEN` and set KSM_CONFIG to what that prints",
        )
    })?;
    file.check_writable()?;
    let config = bind::bind(ksm, token)?;
    file.add(name, &config)?;
    Ok(config)
}

fn list(ksm: &Ksm, args: &ListArgs) -> Done {
    let store = ksm.store()?;
    let active = store.active();
    let names = store.names();
    if args.json {
        let entry = |name: &&str| {
            Json::object([("active", Json::Bool(active == Some(*name))), ("name", Json::text(*name))])
        };
        ksm.output().secret(&Json::Array(names.iter().map(entry).collect()).write(Style::Python))?;
    } else {
        let columns = [
            Column::new("Active").centered().in_color(Color::Red),
            Column::new("Profile").in_color(Color::Yellow),
        ];
        let mut table = ksm.table(columns);
        for name in names {
            table.row([if active == Some(name) { "*" } else { " " }, name]);
        }
        ksm.output().text(&format!("\n{}\n", table.draw().as_str()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn activate(ksm: &Ksm, name: &str) -> Done {
    let file = ksm.store()?.file()?;
    let mut ini = file.ini.clone();
    ini.set_active(name).map_err(|_| missing(name))?;
    file.save(&ini)?;
    printer::talk(format_args!("{name} is now the active profile."));
    Ok(ExitCode::SUCCESS)
}

fn delete(ksm: &Ksm, name: &str) -> Done {
    let file = ksm.store()?.file()?;
    let mut ini = file.ini.clone();
    ini.remove_profile(name).map_err(|_| missing(name))?;
    file.save(&ini)?;
    printer::talk(format_args!("Profile {name} has been deleted."));
    Ok(ExitCode::SUCCESS)
}

/// The file a subcommand was given, else the one of the run.
fn file_for(ksm: &Ksm, named: Option<PathBuf>) -> Result<IniFile, Failure> {
    if let Some(path) = named {
        if ksm.globals().ini_file.is_some() {
            printer::talk(
                "NOTE: --ini-file was given before the command and after it: the one after the command counts.",
            );
        }
        return IniFile::load(ksm, path, None);
    }
    let path = super::store::file_for_new(ksm);
    IniFile::load(ksm, path, None)
}

/// The name a new profile gets: the option, `KSM_CLI_PROFILE`, or `_default`.
fn name_for_new(ksm: &Ksm, named: Option<String>) -> Result<String, Failure> {
    let named = named.or_else(|| ksm.globals().profile_name.clone());
    let name = named.or_else(|| ksm.variable("KSM_CLI_PROFILE").map(str::to_owned));
    let name = name.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    KeeperIni::check_name(&name).map_err(Failure::wrong)?;
    Ok(name)
}

/// Text from the command line, or from stdin for `-`: what stands on a command line can be seen by
/// everybody on the machine.
pub(super) fn argument(given: String) -> Result<SecretBytes, Failure> {
    if given != "-" {
        return Ok(SecretBytes::from(given));
    }
    let text = std::io::read_to_string(std::io::stdin());
    text.map(SecretBytes::from).map_err(|e| Failure::failed(format!("cannot read stdin: {}", e.kind())))
}

/// Says what was kept where.
fn tell_added(name: &str, file: &IniFile) {
    printer::talk(format_args!("Added profile {name} to INI config file located at {}", file.path.display()));
}

/// Tells that a token in the environment has been used up.
fn warn_of_used_token() {
    warn("KSM_TOKEN is set too: a one-time token works once, so unset the one that is used up");
}
