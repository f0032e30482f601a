//! `ksm profile export` and `import`.

use std::{path::PathBuf, process::ExitCode};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use clap::{Args, ValueEnum};
use keeper::config::{Config, KeeperIni, Profile, StoredConfig};
use model::SecretBytes;
use zeroize::Zeroizing;

use super::{argument, name_for_new, name_in_use};
use crate::{
    failure::Failure,
    ksm::{
        Done, Ksm,
        context::warn,
        store::{DEFAULT_PROFILE, IniFile, file_for_new, in_file},
    },
    printer,
};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A keeper.ini of its own
    Ini,
    /// What the SDKs take
    Json,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// As it is, not in base64
    #[arg(long)]
    plain: bool,
    /// Form of the configuration
    #[arg(long, value_enum, ignore_case = true, default_value = "ini")]
    file_format: Format,
    /// The profile [default: the one in use]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Name of the profile
    #[arg(short, long, value_name = "NAME")]
    profile_name: Option<String>,
    /// Configuration file to write
    #[arg(short = 'f', long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// What `profile export` has printed, in base64; - reads it from stdin
    #[arg(value_name = "BASE64")]
    config: String,
}

pub(super) fn export(ksm: &Ksm, args: &ExportArgs) -> Done {
    let store = ksm.store()?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_in_use(ksm, store)?,
    };
    let config = match store.profile(&name)? {
        Profile::Stored(StoredConfig::Bound(config)) => config,
        Profile::Stored(StoredConfig::Unbound(_)) => {
            return Err(Failure::failed(format!(
                "profile {name} holds a one-time token and is not bound yet"
            )));
        }
        Profile::Aws(_) => {
            return Err(Failure::failed(format!(
                "profile {name} is kept in AWS: only profiles that are kept in the file can be exported"
            )));
        }
    };
    let plain = match args.file_format {
        Format::Json => config.to_json(),
        Format::Ini => {
            let mut ini = KeeperIni::default();
            ini.set_profile(DEFAULT_PROFILE, &config)?;
            let mut text = ini.text();
            // The official CLI ends every section with an empty line.
            text.push('\n');
            SecretBytes::from(text.as_str())
        }
    };
    // Opened to be encoded, and printed because that is what was asked for.
    let encoded = || SecretBytes::from(URL_SAFE.encode(plain.expose()));
    ksm.output().secret(&if args.plain { plain.clone() } else { encoded() })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn import(ksm: &Ksm, args: ImportArgs) -> Done {
    let given = argument(args.config)?;
    // Opened to be decoded; nothing of it is repeated.
    let text = given.expose_text().map_err(|_| not_exported())?.trim();
    let decoded = if text.starts_with('{') { Zeroizing::new(text.to_owned()) } else { decoded(text)? };
    let path = args.output_file.unwrap_or_else(|| file_for_new(ksm));
    if decoded.trim_start().starts_with('{') {
        let name = name_for_new(ksm, args.profile_name)?;
        let file = IniFile::load(ksm, path, None)?;
        file.add(&name, &read(&decoded)?)?;
        printer::talk(format_args!("Imported config saved to profile {name} at {}.", file.path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let ini = KeeperIni::parse(&decoded).map_err(|_| not_exported())?;
    if ini.profiles().is_empty() {
        return Err(not_exported());
    }
    if args.profile_name.is_some() {
        warn("--profile-name is left out of account: what is imported is a whole keeper.ini");
    }
    if path.is_file() {
        let (old, _) = KeeperIni::load(&path).map_err(|error| in_file(&path, &error))?;
        let lost: Vec<_> = old.profiles().into_iter().filter(|name| !ini.profiles().contains(name)).collect();
        if !lost.is_empty() {
            return Err(Failure::failed(format!(
                "{} holds profiles that the imported file would replace ({}): import into another file with --output-file",
                path.display(),
                lost.join(", "),
            )));
        }
    }
    ini.save(&path).map_err(|error| in_file(&path, &error))?;
    printer::talk(format_args!("Imported config saved to {}.", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn read(json: &str) -> Result<Config, Failure> {
    match StoredConfig::parse(json)? {
        StoredConfig::Bound(config) => Ok(config),
        StoredConfig::Unbound(_) => Err(Failure::failed(
            "what is imported holds a one-time token and is not bound: use `ksm profile init`",
        )),
    }
}

fn decoded(text: &str) -> Result<Zeroizing<String>, Failure> {
    let bytes = keeper::config::decode_base64(text).ok_or_else(not_exported)?;
    let bytes = Zeroizing::new(bytes);
    std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| not_exported())
}

fn not_exported() -> Failure {
    Failure::failed(
        "what is imported is not base64 of a configuration: give what `ksm profile export` has printed",
    )
}
