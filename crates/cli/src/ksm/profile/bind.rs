//! `ksm profile init`, and the other ways a one-time token becomes a configuration.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args};
use keeper::{
    Client, Options,
    config::{Config, Host, OneTimeToken, Profile, StoredConfig},
};
use model::SecretBytes;

use super::{argument, file_for, name_for_new, tell_added, warn_of_used_token};
use crate::{
    failure::Failure,
    ksm::{Done, Ksm, store::IniFile},
};

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct InitArgs {
    /// The one-time token [env: KSM_CLI_TOKEN]
    #[arg(short, long, value_name = "TOKEN")]
    token: Option<String>,
    /// Region or host of the vault, where the token does not name it
    #[arg(short = 'h', long, value_name = "HOST")]
    hostname: Option<String>,
    /// Configuration file to write
    #[arg(long, value_name = "FILE")]
    ini_file: Option<PathBuf>,
    /// Name of the new profile
    #[arg(short, long, value_name = "NAME")]
    profile_name: Option<String>,
    /// The one-time token; - reads it from stdin
    #[arg(value_name = "TOKEN")]
    token_arg: Option<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// A name that cannot be used and a file that cannot be written are told before the token is used up.
pub(super) fn init(ksm: &Ksm, args: InitArgs) -> Done {
    let given = args.token.or(args.token_arg);
    let token = match given {
        Some(token) => argument(token)?,
        None => {
            let token = ksm.variable("KSM_CLI_TOKEN").map(SecretBytes::from);
            if token.is_some() && ksm.variable("KSM_TOKEN").is_some() {
                warn_of_used_token();
            }
            token.ok_or_else(|| {
                Failure::wrong(
                    "a one-time token is needed: as an argument, with --token, or in KSM_CLI_TOKEN",
                )
            })?
        }
    };
    let name = name_for_new(ksm, args.profile_name)?;
    let token = token_of(ksm, &token, args.hostname.as_deref())?;
    let file = file_for(ksm, args.ini_file)?;
    file.check_writable()?;
    let config = bind(ksm, &token)?;
    file.add(&name, &config)?;
    tell_added(&name, &file);
    Ok(ExitCode::SUCCESS)
}

/// Reads a token. `host` is for one that names none; without either it is the region US.
pub(crate) fn token_of(ksm: &Ksm, token: &SecretBytes, host: Option<&str>) -> Result<OneTimeToken, Failure> {
    let host = host.map(|host| Host::parse(host).map_err(Failure::wrong)).transpose()?;
    let from_environment = ksm.host()?;
    let host = from_environment.clone().or(host).unwrap_or_default();
    let token = OneTimeToken::parse(token, Some(&host)).map_err(Failure::wrong)?;
    // The environment wins over what the token says.
    let token = match from_environment {
        Some(host) => token.with_host(host),
        None => token,
    };
    match ksm.variable("KSM_SERVER_PUBLIC_KEY") {
        Some(key) => Ok(token.with_server_key(key)?),
        None => Ok(token),
    }
}

/// Uses a token up.
pub(super) fn bind(ksm: &Ksm, token: &OneTimeToken) -> Result<Config, Failure> {
    bind_with(ksm, token, ksm.options(token.host())?)
}

/// The same, connecting in a certain way.
pub(crate) fn bind_with(ksm: &Ksm, token: &OneTimeToken, options: Options) -> Result<Config, Failure> {
    ksm.call(Client::bind(token, options, ksm.around()))
        .map_err(|failure| Failure::failed(format!("the one-time token could not be bound: {failure}")))
}

/// The profile that `KSM_TOKEN` stands for: bound the first time, read the other times.
pub(super) fn from_environment(
    ksm: &Ksm,
    file: &IniFile,
    name: &str,
    token: &SecretBytes,
) -> Result<Config, Failure> {
    let token = token_of(ksm, token, None)?;
    match file.ini.profile(name) {
        Ok(Profile::Stored(StoredConfig::Bound(config))) if config.client_id() == token.client_id() => {
            Ok(config)
        }
        Ok(Profile::Stored(StoredConfig::Bound(_)) | Profile::Aws(_)) => Err(Failure::failed(format!(
            "KSM_TOKEN is another one than profile {name} was bound with: unset it to use the profile, or name another profile or file to bind it",
        ))),
        _ => {
            file.check_writable()?;
            let config = bind(ksm, &token)?;
            file.add(name, &config)?;
            tell_added(name, file);
            Ok(config)
        }
    }
}
