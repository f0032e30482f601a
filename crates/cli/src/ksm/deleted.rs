//! What became of records or folders that were to be deleted, as the official CLI tells it.

use std::process::ExitCode;

use keeper::{Deleted, json::Json};

use super::{
    Done, Ksm,
    table::{Color, Column},
};
use crate::failure::Failure;

/// What was to be deleted.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Records
    Record,
    /// Folders
    Folder,
}

/// Prints a row for each, and fails when one is still there.
pub(super) fn tell(ksm: &Ksm, kind: Kind, asked: &[String], gone: &[Deleted], json: bool) -> Done {
    let told = gone
        .iter()
        .filter(|one| asked.contains(&one.uid))
        .map(|one| (one.uid.as_str(), one.code.as_str(), if one.ok { "" } else { reason(kind, &one.code) }));
    let untold = asked
        .iter()
        .filter(|uid| !gone.iter().any(|one| one.uid == **uid))
        .map(|uid| (uid.as_str(), "n/a", "Not found"));
    let rows: Vec<_> = told.chain(untold).collect();
    if json {
        let row = |(uid, code, error): &(&str, &str, &str)| {
            Json::object([
                ("uid", Json::text(*uid)),
                ("responseCode", Json::text(*code)),
                ("error", Json::text(*error)),
            ])
        };
        ksm.output().json(&Json::Array(rows.iter().map(row).collect()), 4)?;
    } else {
        let mut table = ksm.table([
            Column::new("UID").in_color(Color::Green),
            Column::new("Response Code").in_color(Color::Yellow),
            Column::new("Error").in_color(Color::Red).wrapping(),
        ]);
        for (uid, code, error) in &rows {
            table.row([uid, code, error]);
        }
        ksm.output().text(&format!("\n{}\n", table.draw().as_str()))?;
    }
    let kept: Vec<&str> = rows.iter().filter(|(.., error)| !error.is_empty()).map(|(uid, ..)| *uid).collect();
    if kept.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::failed(format!("not deleted: {}", kept.join(", "))))
}

/// Keeper's word for why, in ours: its own message is not repeated.
fn reason(kind: Kind, code: &str) -> &'static str {
    match (code, kind) {
        ("access_denied", _) => "The application may not edit it",
        ("doesnt_exist", _) => "Not found",
        (_, Kind::Folder) => "Not deleted: a folder that is not empty needs --force",
        (_, Kind::Record) => "Not deleted",
    }
}
