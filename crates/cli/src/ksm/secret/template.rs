//! `ksm secret template`: what records and fields of a type consist of.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use keeper::{
    json::{Json, Style},
    record_types, yaml,
};
use model::SecretBytes;

use super::add::{Form, Version};
use crate::{
    failure::Failure,
    ksm::{
        Done, Ksm,
        output::Output,
        table::{Color, Column},
    },
    printer,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A file with one record, for `secret add file`
    Record(RecordArgs),
    /// A field
    Field(FieldArgs),
}

#[derive(Args)]
pub(crate) struct RecordArgs {
    /// List the types
    #[arg(short = 'l', long)]
    show_list: bool,
    /// Form of the file
    #[arg(short, long, value_enum, ignore_case = true, default_value = "json")]
    output_format: Form,
    /// Write it to a file
    #[arg(short = 'f', long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Version of the record format
    #[arg(long, value_enum, ignore_case = true, default_value = "v3")]
    version: Version,
    /// Type of the record
    #[arg(value_name = "TYPE", required_unless_present = "show_list")]
    record_type: Option<String>,
}

#[derive(Args)]
pub(crate) struct FieldArgs {
    /// List the types
    #[arg(short = 'l', long)]
    show_list: bool,
    /// Form of the output
    #[arg(short, long, value_enum, ignore_case = true, default_value = "json")]
    output_format: Form,
    /// Version of the record format
    #[arg(long, value_enum, ignore_case = true, default_value = "v3")]
    version: Version,
    /// Type of the field
    #[arg(value_name = "TYPE", required_unless_present = "show_list")]
    field_type: Option<String>,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    printer::talk("");
    match command {
        Command::Record(args) => {
            let Version::V3 = args.version;
            if args.show_list {
                let names = record_types::record_kinds().map(|kind| kind.name);
                return list(ksm, "Record Type", names);
            }
            let kind = args.record_type.unwrap_or_default();
            let template = record_types::of_record(&kind, None, None).map_err(Failure::failed)?;
            let file = args.output_file.map(|path| Output::new(&path.display().to_string()));
            print(file.as_ref().unwrap_or(ksm.output()), &template, args.output_format)?;
        }
        Command::Field(args) => {
            let Version::V3 = args.version;
            if args.show_list {
                let names = record_types::field_kinds().map(|kind| kind.name);
                return list(ksm, "Field Type", names);
            }
            let template =
                record_types::of_field(&args.field_type.unwrap_or_default()).map_err(Failure::failed)?;
            print(ksm.output(), &template, args.output_format)?;
        }
    }
    printer::talk("");
    Ok(ExitCode::SUCCESS)
}

fn print(output: &Output, template: &Json, form: Form) -> Result<(), Failure> {
    output.secret(&match form {
        Form::Json => template.write(Style::PythonIndented(4)),
        Form::Yaml => SecretBytes::from(yaml::write(template).as_str()),
    })
}

fn list<'n>(ksm: &Ksm, title: &'static str, names: impl Iterator<Item = &'n str>) -> Done {
    let mut table = ksm.table([Column::new(title).in_color(Color::Green).wrapping()]);
    for name in names {
        table.row([name]);
    }
    ksm.output().text(&table.draw())?;
    printer::talk("");
    Ok(ExitCode::SUCCESS)
}
