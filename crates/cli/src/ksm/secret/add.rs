//! `ksm secret add`: new records, from arguments, a file, an editor, or another record.

use std::{
    fs,
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::{Command as Process, ExitCode},
};

use clap::{Args, Subcommand, ValueEnum};
use keeper::{
    Client, Folders, Scope,
    json::{Json, Style},
    password::PasswordRule,
    record_types::{self, Draft, MARK, parse_field},
    yaml,
};
use model::SecretBytes;
use zeroize::Zeroizing;

use super::record_of;
use crate::{
    failure::Failure,
    ksm::{
        Done, Ksm,
        context::{is_yes, warn},
        output,
    },
    printer,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A record from fields on the command line
    Field(FieldArgs),
    /// Records from a file
    File(FileArgs),
    /// A record written in an editor
    Editor(EditorArgs),
    /// A copy of a record, in the same folder
    Clone(CloneArgs),
}

/// The form of a file of records.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Version {
    /// The only one there is
    V3,
}

#[derive(Args)]
struct Place {
    /// The folder it goes into
    #[arg(long, alias = "sf", value_name = "UID")]
    storage_folder_uid: String,
    /// Make passwords where a password field has no value
    #[arg(short, long)]
    password_generate: bool,
}

#[derive(Args)]
pub(crate) struct FieldArgs {
    #[command(flatten)]
    place: Place,
    /// Type of the record
    #[arg(long, alias = "rt", value_name = "TYPE")]
    record_type: String,
    /// Its title
    #[arg(short, long, value_name = "TITLE")]
    title: String,
    /// Its notes
    #[arg(short, long, value_name = "TEXT")]
    notes: Option<String>,
    /// Version of the record format
    #[arg(long, value_enum, ignore_case = true, default_value = "v3")]
    version: Version,
    #[arg(value_name = "FIELD", help = "[f.|c.]TYPE[[LABEL]][.KEY]=VALUE")]
    fields: Vec<String>,
}

#[derive(Args)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    place: Place,
    /// The file: JSON where its name ends so, else YAML (`secret template record` shows its form)
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct EditorArgs {
    #[command(flatten)]
    place: Place,
    /// Type of the record
    #[arg(long, alias = "rt", value_name = "TYPE")]
    record_type: String,
    /// Its title
    #[arg(short, long, value_name = "TITLE")]
    title: Option<String>,
    /// Its notes
    #[arg(short, long, value_name = "TEXT")]
    notes: Option<String>,
    /// What is shown in the editor
    #[arg(short, long, value_enum, ignore_case = true, default_value = "json")]
    output_format: Form,
    /// The editor [default: `ksm config editor`, then EDITOR, then nano, vim, vi, emacs]
    #[arg(short, long, value_name = "PROGRAM")]
    editor: Option<String>,
    /// Version of the record format
    #[arg(long, value_enum, ignore_case = true, default_value = "v3")]
    version: Version,
}

#[derive(Args)]
pub(crate) struct CloneArgs {
    /// The record
    #[arg(short, long, value_name = "UID")]
    uid: String,
    /// Title of the copy [default: the same]
    #[arg(short, long, value_name = "TITLE")]
    title: Option<String>,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::Field(args) => by_fields(ksm, &args),
        Command::File(args) => {
            let uids = add_file(ksm, &args.place, &args.file)?;
            tell_all(ksm, &uids)
        }
        Command::Editor(args) => by_editor(ksm, &args),
        Command::Clone(args) => clone(ksm, &args),
    }
}

fn by_fields(ksm: &Ksm, args: &FieldArgs) -> Done {
    let Version::V3 = args.version;
    let mut draft =
        Draft::new(&args.record_type, &args.title, args.notes.as_deref()).map_err(Failure::wrong)?;
    for argument in &args.fields {
        let given = parse_field(argument).map_err(Failure::wrong)?;
        draft.add(given).map_err(Failure::wrong)?;
    }
    let body = finished(ksm, draft, args.place.password_generate).map_err(Failure::wrong)?;
    let client = ksm.client()?;
    let folders = ksm.call(client.folders())?;
    let uid = ksm.call(client.create(&args.place.storage_folder_uid, &folders, &body))?;
    printer::talk("The following is the new record UID ...");
    ksm.output().text(&uid)?;
    printer::talk("");
    Ok(ExitCode::SUCCESS)
}

/// The record of a draft, with passwords made where that is wanted.
fn finished(ksm: &Ksm, draft: Draft, generate: bool) -> Result<Json, record_types::DraftFault> {
    let mut make = || PasswordRule::default().generate(&*ksm.world().entropy).ok();
    draft.finish(if generate { Some(&mut make) } else { None })
}

/// Adds the records of a file: all of them are read and checked before the first one is made.
fn add_file(ksm: &Ksm, place: &Place, path: &Path) -> Result<Vec<String>, Failure> {
    let bytes = fs::read(path).map(Zeroizing::new);
    let bytes =
        bytes.map_err(|e| Failure::failed(format!("cannot read {}: {}", path.display(), e.kind())))?;
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let bodies = bodies(ksm, &bytes, is_json, place.password_generate)
        .map_err(|why| Failure::failed(format!("{}: {why}", path.display())))?;
    let client = ksm.client()?;
    let folders = ksm.call(client.folders())?;
    create_all(ksm, &client, &folders, &place.storage_folder_uid, &bodies)
}

fn bodies(ksm: &Ksm, bytes: &[u8], is_json: bool, generate: bool) -> Result<Vec<Json>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    let file = if is_json {
        Json::parse(text).map_err(|error| {
            let before = text.get(..error.at).unwrap_or(text);
            format!("not valid JSON at line {}", before.matches('\n').count() + 1)
        })?
    } else {
        yaml::parse(text).map_err(|error| error.to_string())?
    };
    let drafts = Draft::of_file(&file).map_err(|fault| fault.to_string())?;
    let finish = |draft| finished(ksm, draft, generate).map_err(|fault| fault.to_string());
    drafts.into_iter().map(finish).collect()
}

fn create_all(
    ksm: &Ksm,
    client: &Client,
    folders: &Folders,
    folder: &str,
    bodies: &[Json],
) -> Result<Vec<String>, Failure> {
    let mut uids = Vec::new();
    for body in bodies {
        match ksm.call(client.create(folder, folders, body)) {
            Ok(uid) => uids.push(uid),
            // What was made before is told, so that it can be found.
            Err(failure) if !uids.is_empty() => {
                return Err(Failure::failed(format!(
                    "{failure}; {} of {} records were added: {}",
                    uids.len(),
                    bodies.len(),
                    uids.join(", ")
                )));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(uids)
}

fn tell_all(ksm: &Ksm, uids: &[String]) -> Done {
    printer::talk("The following is the new record UIDs in JSON ...");
    let json = Json::Array(uids.iter().map(|uid| Json::text(uid.as_str())).collect());
    ksm.output().secret(&json.write(Style::Python))?;
    printer::talk("");
    Ok(ExitCode::SUCCESS)
}

/// The copy has every field as it is. Files belong to one record and are not copied.
fn clone(ksm: &Ksm, args: &CloneArgs) -> Done {
    let client = ksm.client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let place = record.places().first().ok_or_else(|| {
        Failure::failed(
            "a record that is shared by itself cannot be copied: the copy has no folder to go into",
        )
    })?;
    let mut body = record.json().clone();
    if let Some(title) = &args.title {
        body.set("title", Json::text(title.as_str()));
    }
    if let Some(Json::Array(fields)) = body.get_mut("fields") {
        for field in
            fields.iter_mut().filter(|field| field.get("type").and_then(Json::as_text) == Some("fileRef"))
        {
            if field.get("value").and_then(Json::as_array).is_some_and(|files| !files.is_empty()) {
                warn("attached files are not copied");
                field.set("value", Json::Array(Vec::new()));
            }
        }
    }
    let folders = ksm.call(client.folders())?;
    let uid = ksm.call(client.create(place.folder(), &folders, &body))?;
    printer::talk("The following is the new record UID ...");
    ksm.output().text(&uid)?;
    printer::talk("");
    Ok(ExitCode::SUCCESS)
}

fn by_editor(ksm: &Ksm, args: &EditorArgs) -> Done {
    let Version::V3 = args.version;
    let template = record_types::of_record(&args.record_type, args.title.as_deref(), args.notes.as_deref())
        .map_err(Failure::wrong)?;
    let (text, ending) = match args.output_format {
        Form::Json => (template.write(Style::PythonIndented(4)), "json"),
        Form::Yaml => (SecretBytes::from(yaml::write(&template).as_str()), "yaml"),
    };
    let editor = editor(ksm, args.editor.as_deref())?;
    // A directory of its own, which nobody else can enter, and which goes away with all that is in it.
    let directory = PrivateDirectory::new(ksm)?;
    let path = directory.0.join(format!("record.{ending}"));
    let fault = |e: std::io::Error| Failure::failed(format!("cannot write the template: {}", e.kind()));
    // Opened to be edited: it holds nothing of the vault.
    output::create(&path).and_then(|mut file| file.write_all(text.expose())).map_err(fault)?;
    let mut edit = true;
    loop {
        if edit {
            launch(&editor, &path)?;
        }
        let edited = fs::read(&path).map(Zeroizing::new).map_err(fault)?;
        let open = std::str::from_utf8(&edited).is_ok_and(|text| text.contains(MARK));
        let problem = if open {
            format!(
                "The file still holds places to fill in ({MARK}…): give each a value, or remove its line."
            )
        } else {
            match add_file(ksm, &args.place, &path) {
                Ok(uids) => return tell_all(ksm, &uids),
                Err(failure) => format!("Could not create the record: {failure}."),
            }
        };
        printer::talk(format_args!("{problem}\nEdit again? Y (yes), r (read the file again), q (quit)"));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        edit = match answer.trim().to_lowercase().as_str() {
            // Nobody is there to answer.
            "" if read.unwrap_or(0) == 0 => return Err(Failure::failed(problem)),
            "" | "y" | "yes" => true,
            "r" => false,
            _ => {
                printer::talk("Not adding record.");
                return Ok(ExitCode::SUCCESS);
            }
        };
    }
}

/// A directory that is removed at the end.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new(ksm: &Ksm) -> Result<Self, Failure> {
        use std::fmt::Write as _;
        let mut dice = [0; 8];
        ksm.world().entropy.fill(&mut dice);
        let mut name = String::from("ksm-");
        for byte in dice {
            // Writing into a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        let path = std::env::temp_dir().join(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|e| {
            Failure::failed(format!("cannot make a directory for the template: {}", e.kind()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // Left over only when the disk fails; there is nobody to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The editor's words: a program and perhaps arguments.
fn editor(ksm: &Ksm, named: Option<&str>) -> Result<Vec<String>, Failure> {
    let configured = || ksm.store().ok().and_then(|store| store.common("editor"));
    let variable = || ksm.variable("EDITOR").map(str::to_owned);
    let installed = || {
        let path = ksm.variable("PATH").unwrap_or_default();
        let mut all = ["nano", "vim", "vi", "emacs"].into_iter();
        all.find(|name| std::env::split_paths(path).any(|directory| directory.join(name).is_file()))
            .map(str::to_owned)
    };
    let words = named.map(str::to_owned).or_else(configured).or_else(variable).or_else(installed);
    let words: Vec<String> = words.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let words = blocking(ksm, named, words);
    if words.is_empty() {
        return Err(Failure::failed(
            "there is no editor: name one with --editor, `ksm config editor` or EDITOR",
        ));
    }
    Ok(words)
}

/// On macOS an application returns at once; `open -W` waits for it, where the configuration says so.
fn blocking(ksm: &Ksm, named: Option<&str>, words: Vec<String>) -> Vec<String> {
    let wanted = || ksm.store().ok().and_then(|store| store.common("editor_use_blocking"));
    if !cfg!(target_os = "macos") || named.is_some() || !wanted().is_some_and(|word| is_yes(&word)) {
        return words;
    }
    ["open", "-W", "-a"].map(str::to_owned).into_iter().chain(words).collect()
}

fn launch(editor: &[String], path: &Path) -> Result<(), Failure> {
    let Some((program, arguments)) = editor.split_first() else { return Ok(()) };
    let status = Process::new(program).args(arguments).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::failed("the editor failed; nothing was added")),
        Err(e) => Err(Failure::failed(format!("cannot run the editor {program}: {}", e.kind()))),
    }
}
