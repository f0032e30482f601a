//! `ksm config`: settings for all profiles, in the section `_config` of `keeper.ini`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::{
    Done, Ksm,
    table::{Color, Column},
};
use crate::failure::Failure;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the settings
    Show,
    /// Colours in tables
    Color(Switch),
    /// Keep the last answer for when Keeper cannot be reached
    Cache(Switch),
    /// Where descriptions of further record types are
    RecordTypeDir(DirectoryArgs),
    /// The editor of `secret add editor`
    Editor(EditorArgs),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Switch {
    /// Switch it on
    #[arg(long)]
    enable: bool,
    /// Switch it off
    #[arg(long)]
    disable: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DirectoryArgs {
    /// The directory
    #[arg(short, long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// None
    #[arg(long)]
    clear: bool,
}

#[derive(Args)]
pub(crate) struct EditorArgs {
    /// The program
    #[arg(long, alias = "app", value_name = "PROGRAM", required_unless_present = "clear")]
    application: Option<String>,
    /// It returns before editing is over, so it must be waited for
    #[arg(long)]
    blocking: bool,
    /// The name its process has, where that is another one
    #[arg(long, value_name = "NAME")]
    process_name: Option<String>,
    /// None
    #[arg(long)]
    clear: bool,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::Show => return show(ksm),
        Command::Color(switch) => set(ksm, &[("color", Some(switch.word()))])?,
        Command::Cache(switch) => set(ksm, &[("cache", Some(switch.word()))])?,
        Command::RecordTypeDir(args) => {
            if args.directory.is_some() {
                return Err(Failure::failed(
                    "descriptions of further record types cannot be read yet: `secret add` knows the types that come with Keeper",
                ));
            }
            set(ksm, &[("record_type_dir", None)])?;
        }
        Command::Editor(args) => {
            let blocking = if args.blocking && !args.clear { "True" } else { "False" };
            let unless_cleared = |text: Option<String>| text.filter(|_| !args.clear);
            let (editor, process) =
                (unless_cleared(args.application.clone()), unless_cleared(args.process_name.clone()));
            set(
                ksm,
                &[
                    ("editor", editor.as_deref()),
                    ("editor_use_blocking", Some(blocking)),
                    ("editor_process_name", process.as_deref()),
                ],
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Switch {
    /// As Python writes it.
    const fn word(&self) -> &'static str {
        if self.enable { "True" } else { "False" }
    }
}

fn set(ksm: &Ksm, settings: &[(&str, Option<&str>)]) -> Result<(), Failure> {
    let file = ksm.store()?.file()?;
    let mut ini = file.ini.clone();
    for (key, value) in settings {
        ini.set_common(key, *value);
    }
    file.save(&ini)
}

fn show(ksm: &Ksm) -> Done {
    let store = ksm.store()?;
    let setting = |key: &str, default: &str| store.common(key).unwrap_or_else(|| default.to_owned());
    let mut table = ksm.table([
        Column::new("Config Item").in_color(Color::Green),
        Column::new("Value").in_color(Color::Yellow).wrapping(),
    ]);
    let unset = "-NOT SET-";
    table.row(["Active Profile", store.active().unwrap_or(unset)]);
    table.row(["Cache Enabled", &setting("cache", "False")]);
    table.row(["Color Enabled", &setting("color", "True")]);
    table.row(["Record Type Directory", &setting("record_type_dir", unset)]);
    let editor = format!("{} ({})", setting("editor", unset), setting("editor_process_name", unset));
    table.row(["Editor", &editor]);
    table.row(["Editor Blocking", &setting("editor_use_blocking", "False")]);
    ksm.output().text(&table.draw())?;
    Ok(ExitCode::SUCCESS)
}
