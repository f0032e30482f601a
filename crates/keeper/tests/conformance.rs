//! Every row of the conformance table, through our client. `official.rs` asks the official SDK the
//! same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{
    Bench,
    conformance::{Fixture, TABLE, Want, want},
};
use keeper::{
    json::Style,
    notation::{Evaluation, Value, evaluate, parse},
};

#[tokio::test]
async fn every_row_of_the_table_holds() {
    let bench = Bench::new().await;
    let fixture = Fixture::put(&bench.server, bench.app);
    let client = bench.client();
    let vault = client.fetch(keeper::Scope::All).await.unwrap();
    for (row, official, ours) in TABLE {
        let text = fixture.notation(row);
        let found = match parse(&text) {
            Err(error) => format!("!{}", error.kind.code()),
            Ok(parsed) => match evaluate(&parsed.notation, &vault) {
                Evaluation::Value(Value::Json(json), _) => {
                    json.write(Style::Compact).expose_text().unwrap().to_owned()
                }
                Evaluation::Value(Value::File(file), _) => {
                    let content = client.download(&file).await.unwrap();
                    format!("b:{}", content.expose_text().unwrap())
                }
                Evaluation::Empty => "null".to_owned(),
                Evaluation::NotShared => "!not shared".to_owned(),
                Evaluation::Failed(failure) => format!("!{}", failure.kind.code()),
            },
        };
        let wanted = match want(ours.unwrap_or(official)) {
            Want::Json(json) => json,
            Want::Bytes(bytes) => format!("b:{bytes}"),
            Want::Error(class) => format!("!{class}"),
        };
        assert_eq!(found, wanted, "{row}");
    }
    assert_eq!(bench.server.calls("get_secret"), 1, "one fetch serves the whole table");
}
