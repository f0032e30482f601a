//! `profile`, `init`, `config`, and the command line as such.

use crate::{
    bench::Side,
    row::{Row, row, row_of},
};

/// A second profile beside `_default`.
fn second(side: &mut Side) {
    side.keep("second", &side.config());
}

/// What `init default` prints for the server of the tests, whose key is none of the published ones.
const INIT: &str = r##"{"clientId": "#", "privateKey": "#", "appKey": "#", "hostname": "{host}",
    "serverPublicKeyId": "10", "appOwnerPublicKey": "#", "serverPublicKey": "#"}"##;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("profile_list", "profile list").prepare(second),
        row("profile_list_json", "profile list --json").prepare(second),
        row("profile_list_by_aliases", "p l --json").prepare(second),
        row("commands_and_options_in_capitals", "PROFILE List --JSON").prepare(second),
        row("a_mistyped_command_is_not_run", "prof list")
            .prints("mistyped-command", "")
            .exits("mistyped-command", 2),
        row("an_unknown_option", "profile list --nope"),
        row("profile_active", "profile active second").prepare(second).then("profile list --json"),
        row("profile_active_unknown", "profile active third").prepare(second).then("profile list --json"),
        row("profile_delete", "profile delete second").prepare(second).then("profile list --json"),
        row("profile_delete_unknown", "profile delete third").then("profile list --json"),
        row("profile_export_json", "profile export --plain --file-format json"),
        row("profile_export_json_base64", "profile export --file-format json"),
        row("profile_export_ini", "profile export --plain"),
        row("profile_export_named", "profile export --file-format JSON second").prepare(second),
        row("profile_export_unknown", "profile export third"),
        row("profile_import", "profile import -p third {config}")
            .then("profile list --json")
            .then("-p third secret list --json -u {db}"),
        row("profile_import_nonsense", "profile import %%%").exits("imports-are-checked", 1),
        row("profile_init", "profile init -p third --ini-file keeper.ini -h {host} {token}")
            .then("profile list --json")
            .then("-p third secret list --json -u {db}"),
        row("profile_init_by_option", "profile init --profile-name third --ini-file keeper.ini --hostname {host} --token {token}")
            .then("profile list --json"),
        row("profile_init_by_variable", "profile init -p third --ini-file keeper.ini -h {host}")
            .env("KSM_CLI_TOKEN", "{token}")
            .then("profile list --json"),
        row(
            "profile_init_with_an_unknown_token",
            "profile init -p third --ini-file keeper.ini -h {host} AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        )
        .then("profile list --json"),
        row("profile_init_with_a_bad_name", "profile init -p a.b --ini-file keeper.ini -h {host} {token}")
            .exits("wrong-use-exits-2", 2),
        row("init_default", "init default -h {host} {token}").masked().prints("server-public-key", INIT),
        row("init_default_plain", "init default --plain -h {host} {token}").masked().prints("server-public-key", INIT),
        row("init_k8s", "init k8s --name my-config --ns prod -i -h {host} {token}").masked(),
        row("init_k8s_with_a_bad_name", "init k8s -n -x -h {host} {token}"),
        row("config_show", "config show"),
        row("config_color", "config color --disable").then("config show"),
        row("config_editor", "c editor --app vim --blocking --process-name vim").then("config show"),
        row("the_output_goes_to_a_file", "-o out.json profile list --json").output("out.json"),
        row("the_output_goes_to_stderr", "-o stderr profile list --json"),
        row("another_configuration_file", "--ini-file other.ini profile list --json")
            .prepare(|side| std::fs::copy(side.path("keeper.ini"), side.path("other.ini")).map(drop).unwrap()),
        row("the_configuration_from_the_environment", "secret notation keeper://{db}/field/login")
            .prepare(|side| std::fs::remove_file(side.path("keeper.ini")).unwrap())
            .env("KSM_CONFIG", "{config}"),
        row("numbered_configurations", "profile list --json")
            .env("KSM_CONFIG_BASE64_1", "{config}")
            .env("KSM_CONFIG_BASE64_2", "{config}")
            .env("KSM_CONFIG_BASE64_DESC_2", "prod"),
        row_of("a_profile_that_is_not_there", &["-p", "third", "secret", "list"]),
    ]
}
