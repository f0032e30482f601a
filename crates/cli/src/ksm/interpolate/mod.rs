//! `ksm interpolate`: notations in files replaced by what they name.
//!
//! All files are read, and all notations in them, before Keeper is asked; all values are known before
//! the first file is written. A file of which something could not be replaced is not written, unless
//! `--continue` says so.

mod files;
mod template;
mod transform;

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use clap::Args;
use model::SecretBytes;
use zeroize::Zeroizing;

use super::{
    Done, Ksm,
    context::warn,
    values::{Looked, Values},
};
use crate::{failure::Failure, printer};
use template::{Mention, Template};

/// Replace notations in files by values of the vault
///
/// Lines that begin with # are left alone. keeper://RECORD/field/NAME:-DEFAULT gives a default for
/// what is not there, and |base64, |base64url, |urlencode, |urlencodeplus, |upper, |lower, |trim or
/// |sha256 at the end change the value.
///
/// Do not hand the output to eval or source: whoever may write the records could run commands. Values with
/// signs that mean something to a shell are refused.
#[derive(Args)]
pub(crate) struct InterpolateArgs {
    /// Write to a file, not to stdout
    #[arg(short, long, value_name = "FILE", conflicts_with = "in_place")]
    output_file: Option<PathBuf>,
    /// Write into the files themselves
    #[arg(short = 'w', long, requires = "input_file")]
    in_place: bool,
    /// What is added to the name of the copy that --in-place leaves; nothing for none
    #[arg(short, long, value_name = "SUFFIX", default_value = ".bak")]
    backup_suffix: String,
    /// Look everything up and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Tell about every notation
    #[arg(short, long)]
    verbose: bool,
    /// Write what can be written, notations that have no value as they are
    #[arg(short = 'C', long = "continue")]
    go_on: bool,
    /// Write nothing at all unless every notation has a value, also with --continue
    #[arg(long)]
    validate: bool,
    /// Let values with signs that mean something to a shell pass
    #[arg(long)]
    allow_unsafe_for_eval: bool,
    /// Files with notations in them [default: stdin]
    #[arg(value_name = "FILE")]
    input_file: Vec<PathBuf>,
}

/// What happened so far.
#[derive(Default)]
struct Report {
    replaced: usize,
    defaults: usize,
    errors: Vec<String>,
}

pub(super) fn run(ksm: &Ksm, args: &InterpolateArgs) -> Done {
    if args.output_file.is_some() && args.input_file.len() > 1 {
        return Err(Failure::wrong(
            "--output-file is for one input file: each would write over the one before",
        ));
    }
    let mut report = Report::default();
    let templates = templates(args, &mut report)?;
    let mistakes: Vec<String> = templates.iter().flat_map(Template::mistakes).collect();
    if !mistakes.is_empty() {
        return Err(Failure::wrong(mistakes.join("\n")));
    }
    let mentions = templates.iter().flat_map(Template::mentions);
    let parsed: Vec<_> = mentions.map(|mention| &mention.parsed).collect();
    let values = if parsed.is_empty() { None } else { Some(Values::fetch(ksm, parsed)?) };
    let mut written = Vec::new();
    for template in &templates {
        let before = report.errors.len();
        let text = template.filled(|mention| {
            let value =
                values.as_ref().and_then(|values| value(ksm, args, template, mention, values, &mut report));
            report.replaced += usize::from(value.is_some());
            value
        });
        let whole = report.errors.len() == before;
        written.push((template, text, whole));
    }
    let all_whole = report.errors.is_empty();
    if !args.dry_run && (all_whole || !args.validate) {
        for (template, text, whole) in written {
            if whole || args.go_on {
                write(ksm, args, template, &text)?;
            }
        }
    }
    told(args, &report);
    if all_whole { Ok(ExitCode::SUCCESS) } else { Err(Failure::failed(report.errors.join("\n"))) }
}

/// Reads the files, or stdin.
fn templates(args: &InterpolateArgs, report: &mut Report) -> Result<Vec<Template>, Failure> {
    if args.input_file.is_empty() {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = std::io::stdin().lock().take(files::LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|e| Failure::failed(format!("cannot read stdin: {}", e.kind())))?;
        let text = files::text("stdin", &bytes)?;
        return Ok(vec![Template::read(None, text)]);
    }
    let mut templates = Vec::new();
    for path in &args.input_file {
        match files::read(path) {
            Ok(text) => templates.push(Template::read(Some(path.clone()), &text)),
            Err(failure) if args.go_on => report.errors.push(failure.to_string()),
            Err(failure) => return Err(failure),
        }
    }
    Ok(templates)
}

/// What stands in a mention's place, or nothing, with an error in the report.
fn value(
    ksm: &Ksm,
    args: &InterpolateArgs,
    template: &Template,
    mention: &Mention,
    values: &Values,
    report: &mut Report,
) -> Option<Zeroizing<String>> {
    let place = template.place(mention);
    let checked = |value: SecretBytes| -> Result<Zeroizing<String>, Failure> {
        // Opened to be put into the text that was asked for.
        let text = value
            .expose_text()
            .map_err(|_| Failure::failed("the value is not text, and a file of text cannot hold it"))?;
        let text = Zeroizing::new(text.to_owned());
        safe(args, &place, &text)?;
        Ok(mention.transform.map_or(text.clone(), |transform| transform.apply(&text)))
    };
    let found = match values.look(ksm, &mention.parsed) {
        Looked::Value(value) => checked(value),
        // A default stands for what is not there; what could not be read may be there.
        Looked::Empty | Looked::Absent(_) if mention.default.is_some() => {
            report.defaults += 1;
            checked(SecretBytes::from(mention.default.clone().unwrap_or_default()))
        }
        Looked::Empty => Err(Failure::failed("the field holds no value")),
        Looked::Absent(failure) | Looked::Unknown(failure) => Err(failure),
    };
    if args.verbose {
        let how = if found.is_ok() { "[REPLACED]" } else { "ERROR" };
        printer::talk(format_args!("  {place}: {} - {how}", mention.notation()));
    }
    found.map_err(|failure| report.errors.push(format!("{place}: {failure}"))).ok()
}

/// Signs that let a value become a command where the output is evaluated.
const DANGEROUS: &[(char, &str)] = &[
    ('\n', "newline"),
    ('\r', "carriage return"),
    ('`', "backtick"),
    ('$', "dollar sign"),
    (';', "semicolon"),
    ('|', "pipe"),
    ('&', "ampersand"),
    ('>', "redirect"),
    ('<', "redirect"),
];

/// Refuses a value with such signs, or warns of it. The signs are named; the value is not shown.
fn safe(args: &InterpolateArgs, place: &str, value: &str) -> Result<(), Failure> {
    let mut found: Vec<&str> =
        DANGEROUS.iter().filter(|(sign, _)| value.contains(*sign)).map(|(_, name)| *name).collect();
    found.dedup();
    if found.is_empty() {
        return Ok(());
    }
    let found = found.join(", ");
    if args.allow_unsafe_for_eval {
        warn(format_args!("{place}: the value holds signs that mean something to a shell ({found})"));
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the value holds signs that mean something to a shell ({found}): whoever may write the record could run commands where the output is evaluated; use `ksm exec` for variables, or --allow-unsafe-for-eval when nothing evaluates the output"
    )))
}

fn write(ksm: &Ksm, args: &InterpolateArgs, template: &Template, text: &SecretBytes) -> Result<(), Failure> {
    let now = ksm.world().clock.now();
    match (&args.output_file, &template.path) {
        (Some(path), _) => files::write(path, text, now),
        (None, Some(path)) if args.in_place => {
            files::backup(path, &args.backup_suffix, template.text())?;
            files::write(path, text, now)
        }
        _ => ksm.output().secret(text),
    }
}

fn told(args: &InterpolateArgs, report: &Report) {
    if args.dry_run {
        printer::talk(format_args!(
            "\nDry-run complete:\n  - {} notation(s) have a value, {} do not\n  - No files modified",
            report.replaced,
            report.errors.len()
        ));
        return;
    }
    printer::talk(format_args!(
        "\nInterpolation complete\n  - Replaced {} secret reference(s)\n  - Used {} default value(s)",
        report.replaced, report.defaults
    ));
}
