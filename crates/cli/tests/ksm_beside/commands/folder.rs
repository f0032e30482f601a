//! `folder`.

use crate::row::{Row, row, row_of};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("folder_list", "folder list"),
        row("folder_list_json", "folder list --json"),
        row("folder_list_with_records", "folder list -l --json"),
        row("folder_list_with_records_as_table", "folder list --list-records"),
        row("folder_list_one", "folder list -f {databases} -l --json"),
        row("folder_list_below", "folder list -f {root} -r --json"),
        row("folder_list_unknown", "folder list -f AAAAAAAAAAAAAAAAAAAAAA --json"),
        row_of("folder_add", &["folder", "add", "-f", "{databases}", "-t", "新しい one"]).masked(),
        row("folder_add_to_an_unknown_one", "folder add -f AAAAAAAAAAAAAAAAAAAAAA -t x"),
        row("folder_update", "folder update -f {databases} -t Other"),
        row("folder_update_unknown", "folder update -f AAAAAAAAAAAAAAAAAAAAAA -t x"),
        row("folder_delete", "folder delete --json {empty}"),
        row("folder_delete_as_table", "folder delete {empty}"),
        row("folder_delete_by_force", "folder delete -f {databases} --json"),
        row("folder_delete_of_a_full_one", "folder delete --json {databases}")
            .prints(
                "keepers-words",
                r#"[{"uid": "{databases}", "responseCode": "folder_not_empty", "error": "It is not empty: --force deletes it with what is in it"}]"#,
            )
            .exits("failures-exit-1", 1),
    ]
}
