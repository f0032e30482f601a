//! `ksm secret upload`, `download` and `delete-attachment`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use keeper::{File, Record, Scope, Upload};
use model::SecretBytes;

use super::record_of;
use crate::{
    failure::Failure,
    ksm::{Done, Ksm, output},
    printer,
};

#[derive(Args)]
pub(crate) struct UploadArgs {
    /// The record
    #[arg(short, long, value_name = "UID")]
    uid: String,
    /// The file to attach
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Its title [default: its name]
    #[arg(short, long, value_name = "TITLE")]
    title: Option<String>,
}

#[derive(Args)]
pub(crate) struct DownloadArgs {
    /// The record
    #[arg(short, long, value_name = "UID")]
    uid: String,
    /// Title or name of the file
    #[arg(long, value_name = "NAME", required_unless_present = "file_uid")]
    name: Option<String>,
    /// UID of the file
    #[arg(long, value_name = "UID")]
    file_uid: Option<String>,
    /// Where the content goes
    #[arg(long, value_name = "stdout|stderr|FILE")]
    file_output: String,
    /// Make the directories that are missing
    #[arg(long)]
    create_folders: bool,
}

#[derive(Args)]
pub(crate) struct DetachArgs {
    /// The record
    #[arg(short, long, value_name = "UID")]
    uid: String,
    /// UID, title or name of a file
    #[arg(short, long, value_name = "FILE", required = true)]
    file: Vec<String>,
}

pub(super) fn upload(ksm: &Ksm, args: &UploadArgs) -> Done {
    let content = fs::read(&args.file)
        .map_err(|e| Failure::failed(format!("cannot read {}: {}", args.file.display(), e.kind())))?;
    let content = SecretBytes::new(content);
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Failure::wrong("the file has no name"))?;
    let title = args.title.clone().filter(|title| !title.is_empty()).unwrap_or_else(|| name.clone());
    let kind = media_type(&name).to_owned();
    let client = ksm.client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let uid = ksm.call(client.upload(record, &Upload { name, title, kind, content }))?;
    printer::talk("The following is the new file UID ...");
    ksm.output().text(&uid)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn download(ksm: &Ksm, args: &DownloadArgs) -> Done {
    let client = ksm.client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let file = match (&args.file_uid, &args.name) {
        (Some(uid), _) => record.files().iter().find(|file| file.uid() == uid),
        (None, Some(name)) => called(record, name),
        (None, None) => None,
    };
    let file = file.ok_or_else(|| no_file(record, args.file_uid.as_ref().or(args.name.as_ref())))?;
    let content = ksm.call(client.download(file))?;
    match args.file_output.as_str() {
        "stdout" => output::Output::new("stdout").secret(&content)?,
        "stderr" => output::Output::new("stderr").secret(&content)?,
        path => save(Path::new(path), &content, args.create_folders)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn detach(ksm: &Ksm, args: &DetachArgs) -> Done {
    let client = ksm.client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let mut uids = Vec::new();
    for text in &args.file {
        let by_uid = record.files().iter().find(|file| file.uid() == text);
        let file = by_uid.or_else(|| called(record, text)).ok_or_else(|| no_file(record, Some(text)))?;
        if !uids.iter().any(|uid| uid == file.uid()) {
            uids.push(file.uid().to_owned());
        }
    }
    ksm.call(client.remove_files(record, &uids))?;
    Ok(ExitCode::SUCCESS)
}

/// The file of that title, else of that name.
fn called<'r>(record: &'r Record, text: &str) -> Option<&'r File> {
    let titled = record.files().iter().find(|file| file.title() == Some(text));
    titled.or_else(|| record.files().iter().find(|file| file.name() == Some(text)))
}

fn no_file(record: &Record, text: Option<&String>) -> Failure {
    let hidden = match record.unreadable_files().len() {
        0 => String::new(),
        n => format!(" ({n} attached file(s) have a description that does not decrypt)"),
    };
    Failure::failed(format!("the record has no file {:?}{hidden}", text.map_or("", String::as_str)))
}

fn save(path: &Path, content: &SecretBytes, make_folders: bool) -> Result<(), Failure> {
    let fault = |e: std::io::Error| Failure::failed(format!("cannot write {}: {}", path.display(), e.kind()));
    if let Some(parent) = path.parent().filter(|_| make_folders) {
        fs::create_dir_all(parent).map_err(fault)?;
    }
    // Opened to be written where the user asked for it.
    output::create(path).and_then(|mut file| file.write_all(content.expose())).map_err(fault)
}

/// The media type by the name's ending, for those that secrets come in.
fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "txt" | "conf" | "log" | "ini" => "text/plain",
        "csv" => "text/csv",
        "htm" | "html" => "text/html",
        "md" => "text/markdown",
        "xml" => "text/xml",
        "json" => "application/json",
        "js" => "text/javascript",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "tar" => "application/x-tar",
        "p12" | "pfx" => "application/x-pkcs12",
        "crt" | "cer" | "der" => "application/x-x509-ca-cert",
        "p7b" => "application/x-pkcs7-certificates",
        "sh" => "application/x-sh",
        "py" => "text/x-python",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        _ => "application/octet-stream",
    }
}
