//! `exec`.

use crate::row::{Row, row, row_of};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row_of("exec_variable", &["exec", "--", "sh", "-c", "printf %s:%s \"$PW\" \"$_PW\""])
            .env("PW", "keeper://{twitter}/field/password"),
        row_of("exec_object", &["exec", "--", "sh", "-c", "printf %s \"$H\""])
            .env("H", "keeper://{db}/field/host"),
        row_of("exec_without_prefix", &["exec", "--", "sh", "-c", "printf %s \"$A\""]).env("A", "keeperless"),
        row_of("exec_inline", &["exec", "--inline", "--", "echo", "a", "b=keeper://{db}/field/login"]),
        row_of("exec_not_inline", &["exec", "--", "echo", "keeper://{db}/field/login"]),
        row_of("exec_captured", &["exec", "--capture-output", "--", "echo", "hi"])
            .prints("captured-output", "hi\n"),
        row_of("exec_code", &["exec", "--", "sh", "-c", "exit 3"]).exits("childs-exit-code", 3),
        row_of("exec_hands_stdin_on", &["exec", "--", "cat"]).input("from stdin"),
        row_of("exec_unknown_record", &["exec", "--", "echo", "run"])
            .env("PW", "keeper://nope/field/password"),
        row_of("exec_holds_nothing", &["exec", "--", "sh", "-c", "printf '<%s>' \"$X\""])
            .env("X", "keeper://{twitter}/custom_field/nothing")
            .prints("nothing-is-empty", "<>"),
        row_of("exec_keeps_capitals", &["exec", "--", "echo", "-N", "X"])
            .prints("capitals-of-a-child", "-N X\n"),
        row("exec_unknown_program", "exec -- /no/such/program"),
        row("exec_nothing", "exec").exits("wrong-use-exits-2", 2),
    ]
}
