//! The table, a file for each group of commands.

mod exec;
mod folder;
mod profile;
mod secret;

use crate::row::Row;

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    [profile::rows(), secret::rows(), folder::rows(), exec::rows()].into_iter().flatten().collect()
}
