//! The command line. Vault's spellings work with one dash or two.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Address;

/// keeps secrets and delivers them where they are needed
#[derive(Parser)]
#[command(name = "keyferry", disable_version_flag = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the API
    Server(ServerArgs),
    /// Make a new store and print its root token, once
    Init(InitArgs),
    /// Write the whole store into one sealed file
    Backup(BackupArgs),
    /// Put a snapshot in the place of a store; syncing then waits for a confirmation
    Restore(RestoreArgs),
    /// Read a snapshot to its end and say what it is
    Verify(VerifyArgs),
    /// Look at every record of a store that no server has open; findings are exit code 1
    Doctor(DoctorArgs),
    /// Check what a server has written down
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show secrets arriving at two destinations, all within this machine
    Demo,
    /// Keeper Secrets Manager's command line (also under the name `ksm`)
    #[command(disable_help_flag = true)]
    Ksm,
    /// Print the version
    Version,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Check the files of a chain of sync events: nothing changed, missing, added or elsewhere than it was
    Verify(AuditVerifyArgs),
}

#[derive(Args)]
pub(crate) struct AuditVerifyArgs {
    /// The chain's public key, as sys/audit-chain shows it [default: the one that the files name]
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<String>,
    /// Number and hash of a record, as sys/audit-chain showed them; proves that the end is there
    #[arg(long, value_name = "NUMBER:HASH")]
    pub(crate) head: Option<String>,
    /// The files, the oldest first
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// What has no meaning in dev mode.
const NOT_DEV: [&str; 3] = ["config", "data", "listen"];

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// For development: in memory, unsealed, a known root token, secret/ mounted as KV v2
    #[arg(long, conflicts_with_all = NOT_DEV)]
    pub(crate) dev: bool,
    /// Root token in dev mode [env: BAO_DEV_ROOT_TOKEN_ID, VAULT_DEV_ROOT_TOKEN_ID] [default: random]
    #[arg(long, value_name = "ID", requires = "dev", conflicts_with_all = NOT_DEV)]
    pub(crate) dev_root_token_id: Option<String>,
    /// Where to listen in dev mode [env: BAO_DEV_LISTEN_ADDRESS, VAULT_DEV_LISTEN_ADDRESS]
    /// [default: 127.0.0.1:8200]
    #[arg(long, value_name = "HOST:PORT", requires = "dev", conflicts_with_all = NOT_DEV)]
    pub(crate) dev_listen_address: Option<Address>,
    /// Mount nothing at secret/ in dev mode
    #[arg(long, requires = "dev", conflicts_with_all = NOT_DEV)]
    pub(crate) dev_no_kv: bool,
    /// Configuration file (docs/configuration.md)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["dev", "data"])]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the store, made by `keyferry init`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<Address>,
}

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Directory of the new store, or, for one in a database, of its root key; made if missing
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file that says where the store is to be (docs/configuration.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the root token is printed
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// Where the root key is, if not in the directory of the store.
#[derive(Args)]
pub(crate) struct KeyArgs {
    /// File of the root key
    #[arg(long, value_name = "FILE", conflicts_with = "shares")]
    pub(crate) key_file: Option<PathBuf>,
    /// Type key shares, one on a line
    #[arg(long)]
    pub(crate) shares: bool,
    /// Configuration file of the server: names the store, and its seal may open it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn given(&self) -> bool {
        self.key_file.is_some() || self.shares || self.config.is_some()
    }
}

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Directory of the store, which no server may have open; without it and --config a running server is
    /// asked [env: VAULT_ADDR, VAULT_TOKEN]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Tell what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Directory of the store, which no server may have open; made if missing. Without it and --config the
    /// snapshot is handed to a running server [env: VAULT_ADDR, VAULT_TOKEN]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Put it in the place of the store that is there
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Tell what was restored as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The snapshot
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Tell what it is as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Directory of the store, which no server may have open
    #[arg(long, value_name = "DIR", conflicts_with = "snapshot")]
    pub(crate) data: Option<PathBuf>,
    /// Look at what a snapshot holds instead
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Look at the structure only, even where the key is at hand
    #[arg(long, conflicts_with_all = ["key_file", "shares"])]
    pub(crate) no_key: bool,
    /// Tell what was found as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The token alone
    Text,
    /// {"root_token": "…"}
    Json,
}

/// Turns Vault's `-dev` into `--dev` for the commands Vault's users type that way. Others keep their
/// short options as they are.
pub(crate) fn two_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if !matches!(args.get(1).and_then(|arg| arg.to_str()), Some("server" | "init")) {
        return args;
    }
    for arg in args.iter_mut().skip(2) {
        let Some(text) = arg.to_str() else { continue };
        let long = text.strip_prefix('-').is_some_and(|rest| {
            rest.len() > 1 && rest.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        });
        if long {
            *arg = format!("-{text}").into();
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(two_dashes(line.split(' ').map(OsString::from)))
    }

    fn server(line: &str) -> ServerArgs {
        match parse(line).map(|cli| cli.command) {
            Ok(Command::Server(args)) => args,
            Ok(_) => panic!("another command"),
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn vaults_spellings_work_with_one_dash_and_two() {
        for line in [
            "keyferry server -dev -dev-root-token-id=root -dev-listen-address=127.0.0.1:1 -dev-no-kv",
            "keyferry server --dev --dev-root-token-id root --dev-listen-address localhost:1 --dev-no-kv",
            "keyferry server -dev -dev-root-token-id root -dev-listen-address 127.0.0.1:1 --dev-no-kv",
        ] {
            let args = server(line);
            assert!(args.dev && args.dev_no_kv);
            assert_eq!(args.dev_root_token_id.as_deref(), Some("root"));
            assert_eq!(args.dev_listen_address.unwrap().0.to_string(), "127.0.0.1:1");
        }
        assert!(server("keyferry server -config keyferry.toml").config.is_some());
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "keyferry",
            "keyferry server",
            "keyferry server --dev --config f",
            "keyferry server --dev --data d",
            "keyferry server --data d --dev-no-kv",
            "keyferry server --data d --listen nowhere",
            "keyferry init",
            "keyferry init --data d --format yaml",
            "keyferry backup --data d",
            "keyferry restore",
            "keyferry verify s --shares --key-file k",
            "keyferry doctor --data d --snapshot s",
            "keyferry frobnicate",
        ] {
            let fault = parse(line).err().unwrap_or_else(|| panic!("accepted: {line}"));
            assert_eq!(fault.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn other_commands_keep_their_short_options() {
        let line = ["keyferry", "sync", "-rj", "-fr"].map(OsString::from);
        assert_eq!(two_dashes(line.clone()), line);
    }
}
