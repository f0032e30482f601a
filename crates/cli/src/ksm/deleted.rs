//! What became of records or folders that were to be deleted, as the official CLI tells it.

use std::process::ExitCode;

use keeper::{Deleted, json::Json};

use super::{
    Done, Ksm,
    table::{Color, Column},
};
use crate::failure::Failure;

/// Prints a row for each, and fails when one is still there.
pub(super) fn tell(ksm: &Ksm, asked: &[String], gone: &[Deleted], json: bool) -> Done {
    let told = gone
        .iter()
        .filter(|one| asked.contains(&one.uid))
        .map(|one| (one.uid.as_str(), one.code.as_str(), if one.ok { "" } else { reason(&one.code) }));
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
fn reason(code: &str) -> &'static str {
    match code {
        "access_denied" => "The application may not edit it",
        "doesnt_exist" => "Not found",
        "folder_not_empty" => "It is not empty: --force deletes it with what is in it",
        _ => "Not deleted",
    }
}
