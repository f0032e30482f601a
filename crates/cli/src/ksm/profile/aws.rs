//! Profiles whose configuration is kept in AWS Secrets Manager: `ksm profile setup`, and reading them.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use destinations::{Config as Settings, Held, Mode};
use keeper::config::{AwsProfile, Config, StoredConfig};
use model::{RemoteName, SecretBytes, json::SecretJson};
use serde_json::{Map, Value};

use super::{file_for, name_for_new, tell_added};
use crate::{
    failure::Failure,
    ksm::{Done, Ksm},
};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    /// AWS Secrets Manager
    Aws,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// What the machine or the environment gives
    Ec2instance,
    /// A profile of the AWS configuration
    Profile,
    /// Keys kept in the profile
    Keys,
}

#[derive(Args)]
pub(crate) struct SetupArgs {
    /// Where the configuration is
    #[arg(short = 't', long = "type", value_enum)]
    storage: Storage,
    /// Name of the secret: JSON as `ksm profile export --plain --file-format json` prints it
    #[arg(short, long, value_name = "NAME", default_value = "ksm-config")]
    secret: String,
    /// How to sign in to AWS
    #[arg(short, long, value_enum, default_value = "ec2instance")]
    credentials: Provider,
    /// The AWS profile, for --credentials profile
    #[arg(short = 'n', long, value_name = "NAME")]
    credentials_profile: Option<String>,
    /// For --credentials keys
    #[arg(long, value_name = "ID")]
    aws_access_key_id: Option<String>,
    /// For --credentials keys; - reads it from stdin
    #[arg(long, value_name = "KEY")]
    aws_secret_access_key: Option<String>,
    /// For --credentials keys
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Configuration file to write
    #[arg(long, value_name = "FILE")]
    ini_file: Option<PathBuf>,
    /// Name of the new profile
    #[arg(short, long, value_name = "NAME")]
    profile_name: Option<String>,
}

/// The configuration is read once before the profile is kept, so that a mistake shows at once.
pub(super) fn setup(ksm: &Ksm, args: SetupArgs) -> Done {
    let Storage::Aws = args.storage;
    let aws = place(&args)?;
    let name = name_for_new(ksm, args.profile_name)?;
    let file = file_for(ksm, args.ini_file)?;
    file.check_writable()?;
    read(ksm, &aws)?;
    let mut ini = file.ini.clone();
    ini.set_aws_profile(&name, &aws)?;
    file.save(&ini)?;
    tell_added(&name, &file);
    Ok(ExitCode::SUCCESS)
}

/// The options that belong to the way of signing in, and no others.
fn place(args: &SetupArgs) -> Result<AwsProfile, Failure> {
    let keys = [&args.aws_access_key_id, &args.aws_secret_access_key, &args.region];
    let some_key = keys.iter().any(|key| key.is_some());
    let all_keys = keys.iter().all(|key| key.as_ref().is_some_and(|key| !key.is_empty()));
    let provider = match args.credentials {
        Provider::Ec2instance if some_key || args.credentials_profile.is_some() => {
            return Err(Failure::wrong("--credentials ec2instance takes no profile, keys or region"));
        }
        Provider::Profile if some_key => {
            return Err(Failure::wrong(
                "--credentials profile takes --credentials-profile, and no keys or region",
            ));
        }
        Provider::Keys if !all_keys || args.credentials_profile.is_some() => {
            return Err(Failure::wrong(
                "--credentials keys takes --aws-access-key-id, --aws-secret-access-key and --region, all three",
            ));
        }
        Provider::Ec2instance => "ec2instance",
        Provider::Profile => "profile",
        Provider::Keys => "keys",
    };
    let secret_access_key = args.aws_secret_access_key.clone().map(super::argument).transpose()?;
    Ok(AwsProfile {
        secret: args.secret.clone(),
        provider: provider.to_owned(),
        aws_profile: args.credentials_profile.clone(),
        access_key_id: args.aws_access_key_id.clone(),
        secret_access_key,
        region: args.region.clone(),
    })
}

/// Reads the configuration from AWS.
pub(super) fn read(ksm: &Ksm, aws: &AwsProfile) -> Result<Config, Failure> {
    let failed = |why: String| Failure::failed(format!("the AWS secret {}: {why}", aws.secret));
    let mut environment = ksm.environment().clone();
    let mut body = Map::new();
    match aws.provider.as_str() {
        "ec2instance" => {}
        "profile" => {
            if let Some(profile) = aws.aws_profile.as_ref().filter(|profile| !profile.is_empty()) {
                environment.vars.insert("AWS_PROFILE".to_owned(), profile.clone());
            }
        }
        "keys" => {
            let secret = aws.secret_access_key.as_ref();
            // Opened to go into the settings, which wipe themselves.
            let secret = secret.and_then(|key| key.expose_text().ok()).map(str::to_owned);
            for (field, value) in [
                ("access_key_id", aws.access_key_id.clone()),
                ("secret_access_key", secret),
                ("region", aws.region.clone()),
            ] {
                let value = value.ok_or_else(|| failed(format!("the profile lacks its {field}")))?;
                body.insert(field.to_owned(), Value::String(value));
            }
        }
        _ => {
            return Err(failed("the profile's provider is none of ec2instance, profile and keys".to_owned()));
        }
    }
    if let Some(url) = ksm.variable("KEYFERRY_AWS_SM_ENDPOINT") {
        body.insert("endpoint".to_owned(), Value::from(url));
    }
    let kind = destinations::kinds().iter().find(|kind| kind.slug() == "aws-sm").copied();
    let kind = kind.ok_or_else(|| failed("this build cannot reach AWS".to_owned()))?;
    let settings = SecretJson::new(Value::Object(body));
    let (settings, _) = Settings::read(kind, &settings, Mode::Replace, None)
        .map_err(|fault| failed(format!("{} {}", fault.field, fault.problem)))?;
    let net = ksm.net(environment)?;
    let destination =
        kind.open(&settings, &net).map_err(|fault| failed(format!("{} {}", fault.field, fault.problem)))?;
    let name = RemoteName::from_kind(aws.secret.as_str());
    let held = ksm.block_on(destination.read_many(std::slice::from_ref(&name)))?.into_iter().next();
    let text: SecretBytes = match held {
        Some(Ok(Held::Value(value, _))) => value,
        Some(Ok(Held::Nothing)) | None => {
            return Err(failed("there is none of that name, or it holds no value".to_owned()));
        }
        Some(Err(fault)) => return Err(failed(fault.to_string())),
    };
    // Opened to be read as a configuration.
    let text = text.expose_text().map_err(|_| failed("it holds no text".to_owned()))?;
    match StoredConfig::parse(text).map_err(|error| failed(error.to_string()))? {
        StoredConfig::Bound(config) => Ok(config),
        StoredConfig::Unbound(_) => Err(failed("it holds a one-time token and is not bound".to_owned())),
    }
}
