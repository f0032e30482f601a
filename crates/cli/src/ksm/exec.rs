//! `ksm exec`: a program with values of the vault in its environment and arguments.

use std::{
    ffi::OsString,
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use clap::Args;
use keeper::notation::{self, Parsed};
use model::SecretBytes;

use super::{Done, Ksm, context::warn, values::Values};
use crate::{failure::Failure, printer};

/// How a notation begins. In variables it may stand without `://` (keeper.md 4.3).
const PREFIX: &str = "keeper";
/// In arguments a notation is told from other text by all of its prefix.
const WHOLE_PREFIX: &str = "keeper://";

#[derive(Args)]
pub(crate) struct ExecArgs {
    /// Print what the program writes when it has ended
    #[arg(long)]
    capture_output: bool,
    /// Replace notations in its arguments as well, each from keeper:// to the argument's end
    #[arg(long)]
    inline: bool,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// A place where a value belongs.
enum Place<'a> {
    Variable(&'a str),
    /// An argument by its number, and what stands in it before the notation.
    Argument(usize, &'a str),
}

pub(super) fn run(ksm: &Ksm, args: &ExecArgs) -> Done {
    let arguments: Vec<Option<&str>> = args.command.iter().map(|word| word.to_str()).collect();
    let (mut wanted, mut mistakes) = (Vec::new(), Vec::new());
    for (name, text) in &ksm.environment().vars {
        if !text.starts_with(PREFIX) {
            continue;
        }
        match notation::parse(text) {
            Ok(parsed) => wanted.push((Place::Variable(name), parsed)),
            // What does not say that it is a notation is something else.
            Err(error) if text.starts_with(WHOLE_PREFIX) => mistakes.push(format!("{name}: {error}")),
            Err(_) => tracing::info!(name, "the variable is no notation and is left as it is"),
        }
    }
    for (at, text) in arguments.iter().enumerate().filter(|_| args.inline) {
        let Some((text, from)) = text.and_then(|text| Some((text, text.find(WHOLE_PREFIX)?))) else {
            continue;
        };
        match notation::parse(&text[from..]) {
            Ok(parsed) => wanted.push((Place::Argument(at, &text[..from]), parsed)),
            Err(error) => mistakes.push(format!("argument {}: {error}", at + 1)),
        }
    }
    if !mistakes.is_empty() {
        return Err(Failure::wrong(mistakes.join("\n")));
    }
    let mut child = child(ksm, &args.command, &wanted)?;
    ksm.output().finish()?;
    if args.capture_output {
        return captured(ksm, &mut child);
    }
    replaced(&mut child)
}

/// The program with everything put in its place. Keeper is called only when something is wanted of it.
fn child(ksm: &Ksm, words: &[OsString], wanted: &[(Place<'_>, Parsed)]) -> Result<Command, Failure> {
    let mut words = words.to_vec();
    let mut variables: Vec<(String, OsString)> = Vec::new();
    if !wanted.is_empty() {
        let values = Values::fetch(ksm, wanted.iter().map(|(_, parsed)| parsed))?;
        let mut failures = Vec::new();
        for (place, parsed) in wanted {
            let value = match values.get(ksm, parsed) {
                Ok(value) => value,
                Err(failure) => {
                    failures.push(format!("{}: {failure}", place.name()));
                    continue;
                }
            };
            if value.is_none() {
                warn(format_args!(
                    "{}: the field holds no value; empty text was put in its place",
                    place.name()
                ));
            }
            let text = os_text(&value.unwrap_or_else(|| SecretBytes::new(Vec::new())));
            let text = text.map_err(|why| Failure::failed(format!("{}: {why}", place.name())))?;
            match place {
                Place::Variable(name) => variables.push(((*name).to_owned(), text)),
                Place::Argument(at, before) => {
                    let mut word = OsString::from(before);
                    word.push(text);
                    if let Some(old) = words.get_mut(*at) {
                        *old = word;
                    }
                }
            }
        }
        if !failures.is_empty() {
            return Err(Failure::failed(failures.join("\n")));
        }
    }
    let (program, arguments) = words.split_first().ok_or_else(|| Failure::wrong("which program?"))?;
    let mut child = Command::new(program);
    child.args(arguments);
    for (name, value) in variables {
        let original = ksm.environment().vars.get(&name).map(String::as_str).unwrap_or_default();
        child.env(format!("_{name}"), format!("_{original}"));
        child.env(name, value);
    }
    Ok(child)
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Variable(name) => (*name).to_owned(),
            Self::Argument(at, _) => format!("argument {}", at + 1),
        }
    }
}

/// A value as the operating system takes it.
fn os_text(value: &SecretBytes) -> Result<OsString, &'static str> {
    // Opened to be handed to the program it was asked for.
    let bytes = value.expose();
    if bytes.contains(&0) {
        return Err("the value holds a zero byte, which neither a variable nor an argument can");
    }
    #[cfg(unix)]
    return Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec()));
    #[cfg(not(unix))]
    value.expose_text().map(OsString::from).map_err(|_| "the value is not text")
}

/// The program takes this process's place, so that signals and its exit code are its own.
#[cfg(unix)]
fn replaced(child: &mut Command) -> Done {
    Err(not_run(&std::os::unix::process::CommandExt::exec(child)))
}

#[cfg(not(unix))]
fn replaced(child: &mut Command) -> Done {
    child.status().map(code).map_err(|e| not_run(&e))
}

fn captured(ksm: &Ksm, child: &mut Command) -> Done {
    let output = child.stdin(Stdio::inherit()).output().map_err(|e| not_run(&e))?;
    ksm.output().secret(&SecretBytes::new(output.stdout))?;
    printer::raw_talk(&SecretBytes::new(output.stderr));
    Ok(code(output.status))
}

/// The child's code; 128 and the number of the signal that ended it, as shells tell it.
fn code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    #[cfg(not(unix))]
    let signal = None;
    ExitCode::from(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn not_run(error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot run the program: {}", error.kind()))
}
