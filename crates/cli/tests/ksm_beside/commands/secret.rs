//! `secret`, but for `add` and `template`.

use crate::{
    bench::Side,
    row::{Row, row, row_of},
};

pub(crate) fn rows() -> Vec<Row> {
    [list(), get(), notation(), update(), files()].into_iter().flatten().collect()
}

/// A record that is shared directly and lies in a shared folder as well.
fn twice(side: &mut Side) {
    let (record, folder) = (side.uids["db"].clone(), side.app);
    side.server.share_record(folder, &record, true);
}

fn list() -> Vec<Row> {
    vec![
        row("secret_list", "secret list"),
        row("secret_list_json", "secret list --json"),
        row("secret_list_of_uids", "s l -u {db} -u {twitter} --json"),
        row("secret_list_of_a_folder", "secret list --folder {databases} --json"),
        row("secret_list_of_a_folder_and_below", "secret list -f {root} -r --json"),
        row("secret_list_by_title", "secret list -t ^d[ab] --json"),
        row("secret_list_by_a_bad_expression", "secret list -t [").exits("wrong-use-exits-2", 2),
        row("secret_list_by_query", "secret list --json -q $.fields[?(@.type==\"login\")].value"),
        row(
            "secret_list_with_what_the_query_finds",
            "secret list --json -v -q $.fields[?(@.type==\"login\")].value",
        ),
        row(
            "secret_list_with_what_the_query_finds_as_table",
            "secret list -v -q $.fields[?(@.type==\"login\")].value",
        ),
        row("secret_list_of_an_unknown_uid", "secret list -u AAAAAAAAAAAAAAAAAAAAAA"),
        row("secret_list_by_uid_and_folder", "secret list -u {db} -f {root}"),
        row("secret_list_of_what_is_shared_twice", "secret list --json -u {db}").prepare(twice).prints(
            "shared-twice",
            r#"[{"uid": "{db}", "title": "DB One", "record_type": "databaseCredentials"}]"#,
        ),
    ]
}

fn get() -> Vec<Row> {
    vec![
        row("secret_get", "secret get {twitter}"),
        row("secret_get_unmasked", "secret get --unmask -u {twitter}"),
        row("secret_get_json", "secret get {twitter} --json"),
        row("secret_get_several", "secret get -u {db} -u {ja} --json"),
        row("secret_get_several_as_text", "secret get {db} {ja}").prints(
            "width-of-a-mask",
            "\n Record: {db}\n Title: DB One\n Record Type: databaseCredentials\n\n Field     Value\n --------- --------------------------------------------\n type      postgres\n host      [{\"hostName\": \"db.example\", \"port\": \"5432\"}]\n login     dba\n password  ****\n\n\n\n Record: {ja}\n Title: 本番DB\n Record Type: login\n\n Field     Value\n --------- -----\n login     運用\n password  ****\n\n\n",
        ),
        row_of("secret_get_by_title", &["secret", "get", "-t", "DB One", "--json"]),
        row_of("secret_get_by_title_and_uid", &["secret", "get", "-t", "DB One", "-u", "{ja}", "--json"]),
        row("secret_get_as_array", "secret get --force-array --json {db}"),
        row("secret_get_inflated", "secret get --json {payer}"),
        row("secret_get_deflated", "secret get --json --deflate {payer}"),
        row("secret_get_card_as_text", "secret get {card}"),
        row("secret_get_field", "secret get {twitter} -f login"),
        row("secret_get_field_that_is_masked", "s g {twitter} --field password"),
        row("secret_get_field_with_parts", "secret get {db} -f host"),
        row("secret_get_custom_field", "secret get {twitter} -f api_key"),
        row("secret_get_field_in_japanese", "secret get {twitter} -f 環境"),
        row("secret_get_field_that_holds_nothing", "secret get {twitter} -f nothing"),
        row("secret_get_by_query", "secret get {twitter} -q $.fields[*].type"),
        row("secret_get_one_by_query", "secret get {twitter} --query title"),
        row("secret_get_one_by_query_as_array", "secret get {twitter} -q $.title --force-array"),
        row("secret_get_by_query_raw", "secret get {twitter} --raw -q $.custom[?(@.label=='env')].value[0]"),
        row("secret_get_by_query_of_several", "secret get {twitter} {db} -q $[*].title"),
        row("secret_get_by_query_nothing", "secret get {twitter} -q $.nope"),
        row("secret_get_by_a_bad_query", "secret get {twitter} -q $.[").exits("wrong-use-exits-2", 2),
        row("secret_get_unknown_field", "secret get {twitter} -f nope"),
        row("secret_get_field_of_several", "secret get {twitter} {db} -f login")
            .exits("wrong-use-exits-2", 2),
        row("secret_get_unknown_uid", "secret get AAAAAAAAAAAAAAAAAAAAAA"),
        row("secret_get_unknown_title", "secret get -t nope").exits("missing-is-a-failure", 1),
        row("secret_get_one_of_two_is_missing", "secret get {db} AAAAAAAAAAAAAAAAAAAAAA --json")
            .exits("missing-is-a-failure", 1),
        row("secret_get_nothing", "secret get").exits("wrong-use-exits-2", 2),
        row("secret_totp", "secret totp {twitter}"),
        row("secret_totp_without_one", "secret totp {db}"),
    ]
}

fn notation() -> Vec<Row> {
    vec![
        row("notation_of_a_field", "secret notation keeper://{twitter}/field/login"),
        row("notation_of_an_array", "s n keeper://{twitter}/field/url[]"),
        row("notation_of_an_object", "secret notation keeper://{twitter}/custom_field/phone[1]"),
        row("notation_of_a_property", "secret notation {twitter}/custom_field/name[last]"),
        row("notation_of_every_property", "secret notation {twitter}/custom_field/phone[][number]")
            .prints("csv", "555-5555555,777-7777777,888-8888888,999-9999999"),
        row("notation_of_a_boolean", "secret notation {twitter}/custom_field/flag")
            .prints("json-values", "true"),
        row("notation_of_nothing", "secret notation {twitter}/custom_field/nothing"),
        row("notation_of_notes", "secret notation {twitter}/notes"),
        row_of(
            "notation_by_title",
            &["secret", "notation", r"keeper://Twitter Login \[Marketing\]/field/password"],
        ),
        row("notation_in_japanese", "secret notation keeper://本番DB/field/login"),
        row_of("notation_of_a_file", &["secret", "notation", r"keeper://{twitter}/file/creds\[2\].crt"]),
        row("notation_of_a_linked_value", "secret notation keeper://Payer/field/cardRef[cardNumber]"),
        row("notation_of_an_unknown_record", "secret notation keeper://nope/field/login"),
        row("notation_of_an_unknown_field", "secret notation {twitter}/field/nope"),
        row("notation_with_fields", "secret notation {twitter}/fields/login")
            .prints("selector-words", "alice")
            .exits("selector-words", 0),
        row("notation_with_a_mistake", "secret notation {twitter}/field/login[")
            .exits("wrong-use-exits-2", 2),
    ]
}

fn update() -> Vec<Row> {
    vec![
        row_of(
            "update_fields",
            &["secret", "update", "-u", "{twitter}", "--field", "login=bob", "--custom-field", "env=two words"],
        ),
        row("update_with_the_label_in_the_value", "secret update -u {db} --field login=my_login=x").leaves(
            "label-in-a-value",
            |ours| assert!(ours.to_string().contains(r#""my_login=x""#), "{ours:#}"),
        ),
        row("update_by_json", "secret update -u {db} --field-json host={\"hostName\":\"other\",\"port\":\"1\"}"),
        row_of("update_custom_by_json", &["secret", "update", "-u", "{twitter}", "--custom-field-json", r#"env=["a", "b"]"#]),
        row_of("update_title_and_notes", &["secret", "update", "-u", "{db}", "-t", "DB Two", "-n", "a note"]),
        row("update_of_an_unknown_field", "secret update -u {db} --field nope=x"),
        row("update_of_an_unknown_record", "secret update -u AAAAAAAAAAAAAAAAAAAAAA --field login=x"),
        row("update_with_bad_json", "secret update -u {db} --field-json host={").exits("wrong-use-exits-2", 2),
        row("update_of_what_is_read_only", "secret update -u {ro} --field login=x"),
        row("delete", "secret delete -u {db} --json"),
        row("delete_as_table", "secret delete -u {db} -u {ja}"),
        row("delete_of_an_unknown_record", "secret delete -u AAAAAAAAAAAAAAAAAAAAAA --json")
            .prints("keepers-words", r#"[{"uid": "AAAAAAAAAAAAAAAAAAAAAA", "responseCode": "doesnt_exist", "error": "Not found"}]"#)
            .exits("failures-exit-1", 1),
    ]
}

fn files() -> Vec<Row> {
    vec![
        row_of("upload", &["secret", "upload", "-u", "{db}", "-f", "a.txt", "-t", "A title"])
            .file("a.txt", "content")
            .masked(),
        row("upload_of_a_missing_file", "secret upload -u {db} -f nope.txt"),
        row_of(
            "download",
            &["secret", "download", "-u", "{twitter}", "--name", "cert two", "--file-output", "out.crt"],
        )
        .output("out.crt"),
        row("download_by_uid", "secret download -u {twitter} --file-uid {text} --file-output stdout"),
        row(
            "download_into_a_new_folder",
            "secret download -u {twitter} --name ja --file-output new/dir/out --create-folders",
        )
        .output("new/dir/out"),
        row("download_of_an_unknown_file", "secret download -u {twitter} --name nope --file-output stdout"),
        row("download_of_nothing", "secret download -u {twitter} --file-output stdout")
            .exits("wrong-use-exits-2", 2),
        row_of(
            "delete_attachment",
            &["secret", "delete-attachment", "-u", "{twitter}", "-f", "cert two", "-f", "{text}"],
        ),
        row("delete_attachment_unknown", "secret delete-attachment -u {twitter} -f nope"),
    ]
}
