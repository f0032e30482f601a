//! `ksm sync`: values of the vault into a cloud's secret store (keeper.md 4.4 to 4.6, decisions 18 to 22).
//!
//! [`keeper::sync_source`] says what should be there, [`engine::once`] what is and what to do about it;
//! here the command line, the credentials, the lock and the output are put around them. Everything is
//! checked before anything is fetched, everything is read before anything is written, and nothing is
//! removed by a run that could not read everything.

mod clouds;
mod deliver;
mod lock;
mod progress;
mod report;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use keeper::{
    Client,
    sync_source::{Plan, Request, Source, Target},
    text::Form,
};

use super::{Done, Ksm};
use crate::failure::Failure;
use clouds::Cloud;
use deliver::Delivery;
use progress::Progress;
use report::Report;

/// Options in the words of the official CLI, and a few of ours.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct SyncArgs {
    /// Where the values go; json lists them and writes nothing
    #[arg(short = 't', long = "type", value_enum, default_value_t = Type::Json)]
    kind: Type,
    /// Record with the credentials of the destination, by its UID
    #[arg(short, long, value_name = "UID")]
    credentials: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep what is at the destination when its source is gone
    #[arg(short, long)]
    preserve_missing: bool,
    /// Write a value under a name. NAME+JSONKEY is a member of a JSON object (aws). May be repeated
    #[arg(short, long = "map", num_args = 2, value_names = ["KEY", "NOTATION"])]
    maps: Vec<String>,
    /// Write a whole record, by title or UID, named after its title. May be repeated
    #[arg(short, long = "record", value_name = "RECORD")]
    records: Vec<String>,
    /// Write the records directly in a folder, by UID, path or name. May be repeated
    #[arg(short, long = "folder", value_name = "FOLDER")]
    folders: Vec<String>,
    /// The same with all folders below it [short: -fr]. May be repeated
    #[arg(long = "folder-recursive", alias = "fr", value_name = "FOLDER")]
    folders_recursive: Vec<String>,
    /// Begin names made of titles with this, as in keeper/ [short: -px]
    #[arg(long, alias = "px", value_name = "PREFIX")]
    prefix: Option<String>,
    /// Write records as they are, not flattened [short: -rj]
    #[arg(long, alias = "rj")]
    raw_json: bool,
    /// Take over secrets of the same names that something else has written
    #[arg(long)]
    overwrite: bool,
    /// Confirm that many secrets are removed at once
    #[arg(long)]
    yes: bool,
    /// Print values in a dry run, too
    #[arg(long)]
    show_values: bool,
    /// Write values byte for byte as the official CLI does: True, {"a": 1}
    #[arg(long)]
    python_values: bool,
    /// Wait while another run of this profile is at work (this is so unless --no-lock is given)
    #[arg(long, overrides_with = "no_lock")]
    lock: bool,
    /// Do not wait for it
    #[arg(long)]
    no_lock: bool,
}

/// `--type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// AWS Secrets Manager
    Aws,
    /// Azure Key Vault
    Azure,
    /// Google Secret Manager
    Gcp,
    /// A list of what is asked for; with --credentials of what is there, too
    Json,
}

impl Type {
    const fn target(self) -> Target {
        match self {
            Self::Aws => Target::Aws,
            Self::Azure => Target::Azure,
            Self::Gcp => Target::Gcp,
            Self::Json => Target::Json,
        }
    }
}

impl SyncArgs {
    fn request(&self) -> Request {
        Request {
            target: self.kind.target(),
            maps: self.maps.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
            records: self.records.clone(),
            folders: self.folders.clone(),
            folders_recursive: self.folders_recursive.clone(),
            prefix: self.prefix.clone(),
            credentials: self.credentials.clone(),
            raw_json: self.raw_json,
            form: if self.python_values { Form::Python } else { Form::Json },
        }
    }

    /// Whether this run may change the destination.
    const fn writes(&self) -> bool {
        !self.dry_run && !matches!(self.kind, Type::Json)
    }
}

pub(super) fn run(ksm: &Ksm, args: &SyncArgs) -> Done {
    let request = args.request();
    let plan = checked(args, &request)?;
    let client = ksm.client()?;
    let _lock = if args.writes() && !args.no_lock { lock::take(ksm, &client)? } else { None };
    let progress = Progress::new();
    progress.say("reading Keeper");
    let source = match ksm.block_on(plan.read(&client))? {
        Ok(source) => source,
        // Nothing is known of any source, so nothing is done; each of them has failed.
        Err(error) => return Report::all_failed(args, &request, &error.to_string()).print(ksm),
    };
    progress.hint(&source.hints);
    let report = match Cloud::of(args.kind, args.credentials.as_deref(), &source.vault)? {
        None => Report::sources(args, source),
        Some(cloud) => deliver(ksm, args, &client, cloud, source, &progress)?,
    };
    drop(progress);
    report.print(ksm)
}

/// The plan, or everything that is wrong with the command line.
fn checked(args: &SyncArgs, request: &Request) -> Result<Plan, Failure> {
    let mut wrong = Vec::new();
    if args.kind != Type::Json && args.credentials.is_none() {
        wrong.push(
            "--credentials: give the UID of the record with the credentials of the destination".to_owned(),
        );
    }
    match Plan::new(request.clone()) {
        Ok(plan) if wrong.is_empty() => return Ok(plan),
        Ok(_) => {}
        Err(mistakes) => wrong.extend(mistakes.iter().map(ToString::to_string)),
    }
    Err(Failure::wrong(wrong.join("\nError: ")))
}

fn deliver(
    ksm: &Ksm,
    args: &SyncArgs,
    client: &Client,
    cloud: &'static Cloud,
    source: Source,
    progress: &Progress,
) -> Result<Report, Failure> {
    let uid = args.credentials.as_deref().unwrap_or_default();
    let (kind, destination) = cloud.open(ksm, uid, &source.vault)?;
    // From here on only the entries matter: the vault's plaintext is wiped.
    let Source { entries, notes, hints, vault } = source;
    drop(vault);
    let delivery = Delivery::new(ksm.world(), args, client, kind, destination);
    let outcomes = ksm.block_on(delivery.run(&entries, progress))?;
    Ok(Report::delivered(args, &entries, notes, hints, outcomes))
}

/// The exit code of a run in which so many failed (decisions 22).
fn exit_code(failed: usize) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
