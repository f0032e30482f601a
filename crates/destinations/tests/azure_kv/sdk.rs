//! Microsoft's own client (azure-keyvault-secrets with azure-identity) as a judge: it takes our pretend
//! service for Azure, and finds there what keyferry wrote. `KEYFERRY_TEST_AZURE_PYTHON` names a Python that
//! has it; `KEYFERRY_TEST_REQUIRE_PARTS=1` makes it a failure when there is none.

use std::process::{Command, Stdio};

use super::*;

#[expect(clippy::disallowed_methods, reason = "the parts are named by the environment of the test run")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn left_out(why: &str) -> Option<Value> {
    eprintln!("left out: {why}");
    None
}

/// What the judge prints; `None` where there is none and none is required.
async fn judge(bench: &Bench, task: &str) -> Option<Value> {
    let Some(python) = variable("KEYFERRY_TEST_AZURE_PYTHON") else {
        assert!(
            variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() != Some("1"),
            "KEYFERRY_TEST_AZURE_PYTHON is not set"
        );
        return left_out("KEYFERRY_TEST_AZURE_PYTHON is not set");
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure_kv/sdk_judge.py");
    let mut command = Command::new(python);
    command
        .args([script, task])
        .env_clear()
        .env("JUDGE_BASE", bench.fake.url())
        .env("JUDGE_VAULT", FakeAzure::VAULT)
        .env("JUDGE_TENANT", FakeAzure::TENANT)
        .env("JUDGE_CLIENT", FakeAzure::CLIENT_ID)
        .env("JUDGE_SECRET", FakeAzure::CLIENT_SECRET)
        .stdin(Stdio::null());
    // Off this thread, on which the pretend service answers.
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn microsofts_client_takes_the_pretend_service_for_azure() {
    let bench = Bench::new().await;
    let Some(verdict) = judge(&bench, "behave").await else { return };
    assert_eq!(verdict, "as Azure does");
    // It signed in, by the challenge.
    assert!(bench.fake.calls("Token") >= 1);
}

#[tokio::test]
async fn microsofts_client_finds_what_keyferry_wrote() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let odd = "\u{1}\"\\/\n\té環🔑";
    written(send(&destination, "Text", odd, 1, Expect::Absent, &[("team", "x y")], None).await);
    bench.advance(60);
    written(send(&destination, "Text", "second", 2, Expect::Ours(Some("x")), &[], None).await);
    let bytes: Vec<u8> = (0..=255).collect();
    let value = model::SecretBytes::new(bytes.clone());
    Writing { value, encoding: Encoding::Binary, ..Writing::new(name("Bytes"), "", 3) }
        .written(&destination)
        .await;
    create(&destination, "gone").await;
    remove(&destination, "gone").await.unwrap();

    let Some(found) = judge(&bench, "find").await else { return };
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["Bytes", "Text"]);
    let text = &found["Text"];
    assert_eq!((&text["value"], text["versions"].as_array().unwrap().len()), (&json!("second"), 2));
    assert_eq!(text["current"]["version"], bench.fake.view("Text").unwrap().version);
    let owner = format!("{} 1 {}", "01".repeat(16), "02".repeat(16));
    assert_eq!(
        text["current"]["tags"],
        json!({"keyferry:owner": owner, "keyferry:write": format!("2 {}", "02".repeat(32))})
    );
    let first =
        text["versions"].as_array().unwrap().iter().find(|v| v["version"] != text["current"]["version"]);
    assert_eq!(first.unwrap()["tags"]["team"], "x y");
    use base64::Engine as _;
    assert_eq!(found["Bytes"]["value"], base64::prelude::BASE64_STANDARD.encode(&bytes));
    assert_eq!(found["Bytes"]["current"]["content_type"], "application/octet-stream;base64");
}

/// The same work, asked for in the same words.
#[tokio::test]
async fn keyferry_asks_as_microsofts_client_does() {
    let bench = Bench::new().await;
    let Some(version) = judge(&bench, "write").await else { return };
    let (method, target, theirs) = bench.fake.last_change().unwrap();
    let destination = bench.open(json!({}));
    let changed = send(&destination, "Db", "x", 1, Expect::Anything, &[], None).await;
    let ours = written(changed).revision.unwrap();
    let (_, put_target, put) = bench.fake.last_change().unwrap();
    assert_eq!(put_target, "/secrets/Db?api-version=7.4");
    assert!(put["value"].is_string() && put["tags"].is_object());
    written(send(&destination, "Db", "x", 1, Expect::Ours(None), &[("team", "z")], Some(&[])).await);
    let (our_method, our_target, our_patch) = bench.fake.last_change().unwrap();
    assert_eq!(our_method, method);
    assert_eq!(our_target.replace(&ours, "V"), target.replace(version.as_str().unwrap(), "V"));
    assert_eq!(our_patch["tags"]["team"], theirs["tags"]["team"]);
}
