//! The table, a file for each group of commands.

mod add;
mod exec;
mod folder;
mod interpolate;
mod profile;
mod secret;
mod sync;

use crate::row::Row;

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    [
        profile::rows(),
        add::rows(),
        secret::rows(),
        folder::rows(),
        exec::rows(),
        interpolate::rows(),
        sync::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
