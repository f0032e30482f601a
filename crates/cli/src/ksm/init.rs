//! `ksm init`: a one-time token turned into a configuration for something else than this command line.

use std::{
    io::Write as _,
    process::{Command as Process, ExitCode, Stdio},
};

use clap::{ArgAction, Args, Subcommand};
use keeper::config::Config;
use model::SecretBytes;
use zeroize::Zeroizing;

use super::{Done, Ksm, profile};
use crate::{failure::Failure, printer};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print the configuration as base64 of JSON, for KSM_CONFIG
    Default(DefaultArgs),
    /// Print the configuration as a Kubernetes secret
    K8s(K8sArgs),
}

#[derive(Args)]
struct TokenArgs {
    /// Region or host of the vault, where the token does not name it
    #[arg(short = 'h', long, value_name = "HOST")]
    hostname: Option<String>,
    /// Do not check the vault's certificate
    #[arg(long)]
    skip_ssl_verify: bool,
    /// The one-time token; - reads it from stdin
    #[arg(value_name = "TOKEN")]
    token: String,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct DefaultArgs {
    /// JSON, not in base64
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    token: TokenArgs,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct K8sArgs {
    /// Name of the secret
    #[arg(short, long, value_name = "NAME", default_value = "ksm-config", value_parser = name)]
    name: String,
    /// Its namespace
    #[arg(long, alias = "ns", value_name = "NAME", default_value = "default", value_parser = name)]
    namespace: String,
    /// Create it with kubectl
    #[arg(short, long)]
    apply: bool,
    /// A secret that cannot be changed
    #[arg(short, long)]
    immutable: bool,
    #[command(flatten)]
    token: TokenArgs,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::Default(args) => {
            let config = bound(ksm, args.token)?;
            let text = if args.plain { config.to_json() } else { config.to_base64() };
            printer::talk("");
            ksm.output().secret(&text)?;
            printer::talk("");
        }
        Command::K8s(args) => {
            let (name, namespace, immutable, apply) = (args.name, args.namespace, args.immutable, args.apply);
            let config = bound(ksm, args.token)?;
            let manifest = manifest(&config, &name, &namespace, immutable);
            if apply {
                return applied(ksm, &manifest);
            }
            printer::talk("");
            ksm.output().secret(&manifest)?;
            printer::talk("");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bound(ksm: &Ksm, args: TokenArgs) -> Result<Config, Failure> {
    let token = profile::argument(args.token)?;
    let token = profile::token_of(ksm, &token, args.hostname.as_deref())?;
    let mut options = ksm.options(token.host())?;
    options.verify &= !args.skip_ssl_verify;
    profile::bind_with(ksm, &token, options)
}

/// RFC 1123: what Kubernetes takes as a name. Nothing that means something in YAML can be in it.
fn name(text: &str) -> Result<String, &'static str> {
    let is_end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(is_end)
            && bytes.last().copied().is_some_and(is_end)
            && bytes.iter().all(|b| is_end(*b) || *b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(
        "lower case letters, digits, '-' and '.', each part between dots beginning and ending with a letter or digit, at most 253 in all",
    )
}

/// Names stand in quotes: `y` and `1e5` are names too.
fn manifest(config: &Config, name: &str, namespace: &str, immutable: bool) -> SecretBytes {
    let encoded = config.to_base64();
    // Opened to be put into the secret that was asked for; base64 is text.
    let encoded = encoded.expose_text().unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + name.len() + namespace.len() + 200));
    for part in [
        "apiVersion: v1\ndata:\n  config: ",
        encoded,
        "\nkind: Secret\nmetadata:\n  name: '",
        name,
        "'\n  namespace: '",
        namespace,
        "'\ntype: Opaque",
        if immutable { "\nimmutable: true" } else { "" },
    ] {
        text.push_str(part);
    }
    SecretBytes::from(text.as_str())
}

/// Hands the manifest to kubectl, on its stdin: an argument could be read by everybody on the machine.
/// The token is used up, so a manifest that did not get there is printed.
fn applied(ksm: &Ksm, manifest: &SecretBytes) -> Done {
    let run = || -> std::io::Result<bool> {
        let mut kubectl = Process::new("kubectl")
            .args(["create", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .spawn()?;
        if let Some(mut stdin) = kubectl.stdin.take() {
            // Opened to be handed on.
            stdin.write_all(manifest.expose())?;
        }
        kubectl.wait().map(|status| status.success())
    };
    let why = match run() {
        Ok(true) => {
            printer::talk("Created secret for KSM config.");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(false) => "kubectl failed".to_owned(),
        Err(e) => format!("kubectl could not be run: {}", e.kind()),
    };
    ksm.output().secret(manifest)?;
    Err(Failure::failed(format!(
        "{why}; the one-time token is used up, so keep what was printed and create the secret from it"
    )))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_those_of_kubernetes() {
        for good in ["a", "ksm-config", "a.b-c.1", &"x".repeat(253)] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", "a'b", "a\nb", "a b", &"x".repeat(254)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
