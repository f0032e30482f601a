//! `secret add` and `secret template`.

use crate::row::{Row, row, row_of};

const FILE: &str = r#"{"version":"v3","kind":"KeeperRecord","data":[
    {"recordType":"login","title":"From a file","notes":"n","fields":[
        {"type":"login","value":"carol"},{"type":"password","value":"hunter2-x"},{"type":"url","value":["https://x.example"]}],
     "customFields":[{"type":"text","label":"env","value":"dev"},{"type":"name","value":{"first":"A","last":"B"}},{"type":"text","label":"later","value":[]}]},
    {"recordType":"serverCredentials","title":"Second","fields":[{"type":"host","value":{"hostName":"h","port":"22"}}]}]}"#;

const YAML: &str = "version: v3\nkind: KeeperRecord\ndata:\n- record_type: login\n  title: From YAML\n  fields:\n  - type: login\n    value: carol\n  custom_fields:\n  - type: text\n    label: env\n    value: dev\n";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row_of(
            "add_fields",
            &[
                "secret",
                "add",
                "field",
                "--sf",
                "{databases}",
                "--rt",
                "login",
                "-t",
                "New one",
                "-n",
                "a note",
                "login=carol",
                "f.password=hunter2-x",
                "url=https://x.example",
                "c.text[My label]=x",
                "c.name.first=A",
                "c.name.last=B",
            ],
        )
        .masked(),
        row_of(
            "add_fields_of_a_card",
            &[
                "secret",
                "add",
                "field",
                "--storage-folder-uid",
                "{root}",
                "--record-type",
                "bankCard",
                "--title",
                "C",
                "paymentCard.cardNumber=x5555",
                "paymentCard.cardExpirationDate=12/2030",
                "text[Cardholder Name]=H",
                "pinCode=x12",
            ],
        )
        .masked(),
        row_of(
            "add_fields_of_a_contact",
            &[
                "secret",
                "add",
                "field",
                "--sf",
                "{root}",
                "--rt",
                "contact",
                "-t",
                "C",
                "name.first=A",
                "email=a@b.example",
                "phone.number=1",
                "phone.type=work",
                "phone.number=2",
            ],
        )
        .masked()
        .leaves("required-is-true", |ours| {
            let text = ours.to_string();
            assert!(text.contains(r#""required":true"#) && text.contains(r#"[{"number":"1","type":"Work"},{"number":"2"}]"#), "{ours:#}");
        }),
        row_of(
            "add_digits_that_are_text",
            &[
                "secret",
                "add",
                "field",
                "--sf",
                "{root}",
                "--rt",
                "login",
                "-t",
                "Digits",
                "password=00123456",
            ],
        )
        .masked()
        .then("secret get -t Digits -f password"),
        row_of(
            "add_a_number_for_a_password",
            &["secret", "add", "field", "--sf", "{root}", "--rt", "login", "-t", "Digits", "password=123456"],
        )
        .masked()
        .leaves("text-stays-text", |ours| assert!(ours.to_string().contains(r#"["123456"]"#), "{ours:#}")),
        row(
            "add_to_an_unknown_folder",
            "secret add field --sf AAAAAAAAAAAAAAAAAAAAAA --rt login -t x login=a",
        ),
        row("add_an_unknown_type", "secret add field --sf {root} --rt nope -t x login=a")
            .exits("wrong-use-exits-2", 2),
        row("add_an_unknown_field", "secret add field --sf {root} --rt login -t x host.hostName=a")
            .exits("wrong-use-exits-2", 2),
        row("add_without_folder", "secret add field --rt login -t x login=a"),
        row("add_file", "secret add file --sf {databases} -f records.json")
            .file("records.json", FILE)
            .masked(),
        row("add_yaml_file", "secret add file --sf {root} -f records.yaml")
            .file("records.yaml", YAML)
            .masked(),
        row("add_a_broken_file", "secret add file --sf {root} -f records.json").file("records.json", "{"),
        row("add_a_missing_file", "secret add file --sf {root} -f nope.json"),
        row_of("clone", &["secret", "add", "clone", "-u", "{db}", "-t", "A copy"]).masked(),
        row("clone_with_fields_of_other_types", "secret add clone -u {odd}")
            .prepare(|side| {
                let folder = side.uids["databases"].clone();
                side.record(
                    "odd",
                    Some(&folder),
                    r#"{"title":"Odd","type":"login","fields":[{"type":"login","label":"User","value":["a"]},{"type":"host","value":[{"hostName":"h"}]}],"custom":[]}"#,
                );
            })
            .masked()
            .prints("a-copy-is-a-copy", "#")
            .exits("a-copy-is-a-copy", 0)
            .leaves("a-copy-is-a-copy", |ours| {
                let copies = ours["records"].as_object().unwrap().values();
                assert_eq!(copies.filter(|record| record["body"]["title"] == "Odd").count(), 2, "{ours:#}");
            }),
        row("clone_what_has_no_folder", "secret add clone -u {twitter}").exits("failures-exit-1", 1),
        row("clone_unknown", "secret add clone -u AAAAAAAAAAAAAAAAAAAAAA"),
        row("template_of_a_record", "secret template record login"),
        row("template_of_a_bank_account", "secret template record bankAccount"),
        row("template_into_a_file", "secret template record -f t.json contact").output("t.json"),
        row("template_of_an_unknown_record", "secret template record nope"),
        row("template_list_of_records", "secret template record -l"),
        row("template_of_a_field", "secret template field address"),
        row("template_list_of_fields", "secret template field --show-list"),
    ]
}
