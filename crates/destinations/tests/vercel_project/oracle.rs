//! The vendor's own SDK as judge: the schemas it checks requests and answers with, applied to everything
//! we send and to everything the pretend service answers.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use destinations::fakes::ListShape;

use super::*;

#[expect(clippy::disallowed_methods, reason = "the parts are named by the environment of the test run")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Everything that can be asked of the service, once.
async fn everything(bench: &Bench) {
    let all = bench.open(&ALL);
    let some = bench.open(&["production"]);
    create(&some, "ONE").await;
    for shape in [ListShape::Counted, ListShape::Bare, ListShape::Paged(2)] {
        bench.fake.shape_list(shape);
        all.look(&RemoteName::from_kind("ONE")).await.unwrap();
        bench.fake.plant(json!({"key": format!("{shape:?}").replace(['(', ')'], "_"), "value": "",
            "target": ["development"], "type": "plain"}));
    }
    bench.fake.plant(json!({"key": "TAKEN", "value": "t", "target": ["development", "production"]}));
    bench.fake.plant(json!({"key": "BRANCH", "value": "t", "target": ["preview"], "gitBranch": "f"}));
    let receipt = create(&all, "TWO").await;
    let writings = ["TAKEN", "THREE"].map(|name| writing(name, "v", 1, Expect::Absent));
    assert_eq!(put_all(&all, &writings).await.len(), 2);
    written(put(&all, "TWO", "w", 2, Expect::Ours(receipt.handle.as_deref())).await);
    let carry = writing("ONE", "v", 2, Expect::Ours(None)).carrying(&[]);
    written(put_all(&bench.open(&["production", "preview"]), &[carry]).await.pop().unwrap());
    written(put(&some, "TAKEN", "w", 2, Expect::Anything).await);
    remove(&all, "TWO", None, true).await.unwrap();
    remove(&some, "ONE", None, true).await.unwrap();
}

#[tokio::test]
async fn the_vendors_schemas_accept_what_we_send_and_what_we_pretend() {
    let (Some(node), Some(sdk)) = (variable("KEYFERRY_TEST_NODE"), variable("KEYFERRY_TEST_VERCEL_SDK"))
    else {
        let required = variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() == Some("1");
        assert!(!required, "KEYFERRY_TEST_NODE or KEYFERRY_TEST_VERCEL_SDK is not set");
        return;
    };
    let bench = Bench::new().await;
    everything(&bench).await;
    let exchanges: Vec<Value> = bench
        .fake
        .exchanges()
        .into_iter()
        .map(|exchange| {
            json!({"operation": exchange.operation, "request": exchange.request, "status": exchange.status,
                "answer": exchange.answer})
        })
        .collect();
    for operation in ["create", "list", "edit", "remove", "remove-many"] {
        assert!(exchanges.iter().any(|exchange| exchange["operation"] == operation), "{operation}");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vercel_project/oracle.mjs");
    let mut judge = Command::new(node)
        .args([script, &sdk])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    judge.stdin.take().unwrap().write_all(Value::Array(exchanges.clone()).to_string().as_bytes()).unwrap();
    let verdict = judge.wait_with_output().unwrap();
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
    let judged = String::from_utf8_lossy(&verdict.stdout);
    assert_eq!(judged.trim(), format!("{} exchanges accepted, 4 broken ones refused", exchanges.len()));
}
