//! `interpolate`.

use crate::row::{Row, row, row_of};

const TEMPLATE: &str = "# keeper://{twitter}/field/login stays\n\
    LOGIN=keeper://{twitter}/field/login\n\
    URL=postgres://keeper://{db}/field/login:keeper://{db}/field/password@db\n\
    KEY='keeper://{twitter}/custom_field/api_key|base64'\n\
    JA=keeper://本番DB/field/login\n\
    PORT=keeper://{db}/field/nope:-5432\n";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("interpolate", "interpolate a.env").file("a.env", TEMPLATE),
        row("interpolate_stdin", "interpolate").input(TEMPLATE),
        row("interpolate_into_a_file", "interpolate a.env -o new/b.env").file("a.env", TEMPLATE).output("new/b.env"),
        row("interpolate_in_place", "interpolate -w a.env")
            .file("a.env", TEMPLATE)
            .output("a.env")
            .output("a.env.bak"),
        row("interpolate_in_place_with_another_suffix", "interpolate --in-place -b .old a.env b.env")
            .file("a.env", TEMPLATE)
            .file("b.env", "X=keeper://{db}/field/login|upper\n")
            .output("a.env")
            .output("b.env")
            .output("b.env.old"),
        row("interpolate_dry", "interpolate -n -v a.env").file("a.env", TEMPLATE).output("a.env"),
        row_of("interpolate_transformed", &["interpolate", "a.env"]).file(
            "a.env",
            "keeper://{ja}/field/login|base64url keeper://{ja}/field/login|urlencode keeper://{ja}/field/login|sha256\n",
        ),
        row("interpolate_an_object", "interpolate a.env").file("a.env", "keeper://{db}/field/host[0]\n"),
        row("interpolate_what_a_shell_reads", "interpolate a.env --allow-unsafe-for-eval")
            .file("a.env", "keeper://{odd}/field/password\n")
            .prepare(|side| {
                side.record("odd", None, r#"{"title":"Odd","type":"login","fields":[{"type":"password","value":["a;b$c"]}],"custom":[]}"#);
            }),
        row("interpolate_with_a_missing_field", "interpolate a.env")
            .file("a.env", "A=keeper://{db}/field/nope\n")
            .prints("all-or-nothing", "")
            .exits("failures-exit-1", 1),
        row("interpolate_and_go_on", "interpolate --continue a.env")
            .file("a.env", "A=keeper://{db}/field/nope\nB=keeper://{db}/field/login\n")
            .exits("failures-exit-1", 1),
        row("interpolate_and_validate", "interpolate --validate a.env")
            .file("a.env", "A=keeper://{db}/field/nope\n")
            .prints("all-or-nothing", ""),
        row("interpolate_with_an_unknown_transformation", "interpolate a.env")
            .file("a.env", "A=keeper://{db}/field/login|rot13\n")
            .exits("wrong-use-exits-2", 2),
        row("interpolate_md5", "interpolate a.env")
            .file("a.env", "A=keeper://{db}/field/login|md5\n")
            .prints("no-md5", "")
            .exits("no-md5", 2),
        row("interpolate_a_missing_file", "interpolate nope.env"),
    ]
}
