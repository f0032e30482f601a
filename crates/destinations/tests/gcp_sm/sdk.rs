//! Google's own client (google-cloud-secret-manager over REST, with google-auth) as a judge: it takes our
//! pretend service for Google, and finds there what keyferry wrote. `KEYFERRY_TEST_GCP_PYTHON` names a Python
//! that has it; `KEYFERRY_TEST_REQUIRE_PARTS=1` makes it a failure when there is none.

use std::process::{Command, Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};

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
    let Some(python) = variable("KEYFERRY_TEST_GCP_PYTHON") else {
        assert!(
            variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() != Some("1"),
            "KEYFERRY_TEST_GCP_PYTHON is not set"
        );
        return left_out("KEYFERRY_TEST_GCP_PYTHON is not set");
    };
    // Its library dates its statements by the real time.
    #[expect(clippy::disallowed_methods, reason = "a library of the judge looks at the real time")]
    bench.theirs.set(Timestamp::from_secs(jiff::Timestamp::now().as_second()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gcp_sm/sdk_judge.py");
    let url = bench.fake.url();
    let mut command = Command::new(python);
    command
        .args([script, task])
        .env_clear()
        .env("JUDGE_HOST", url.strip_prefix("http://").unwrap())
        .env("JUDGE_PROJECT", FakeGcp::PROJECT)
        .env("JUDGE_CREDENTIALS", bench.fake.credentials())
        .stdin(Stdio::null());
    // Off this thread, on which the pretend service answers.
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn googles_client_takes_the_pretend_service_for_google() {
    let bench = Bench::new().await;
    let Some(verdict) = judge(&bench, "behave").await else { return };
    assert_eq!(verdict, "as Google does");
    // It signed in with the service account's key.
    assert_eq!(bench.fake.calls("token"), 1);
}

#[tokio::test]
async fn googles_client_finds_what_keyferry_wrote() {
    let bench = Bench::new().await;
    let key = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k";
    let destination = bench.open(json!({"replica_regions": {"us-east1": key}}));
    let one = first("first", 1).written(&destination).await;
    after(&one, "second é環🔑", 2).written(&destination).await;
    Writing { name: "Tagged_1", tags: &[("Team", "A b")], ..first("v", 3) }
        .written(&bench.open(json!({})))
        .await;
    Writing { name: "gone", ..first("v", 4) }.written(&destination).await;
    remove(&destination, "gone", None, true).await.unwrap();

    let Some(found) = judge(&bench, "find").await else { return };
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["Tagged_1", "a"]);
    let mark = json!({"keyferry_managed_by": "keyferry", "keyferry_epoch": "1",
        "keyferry_store": "01".repeat(16), "keyferry_association": "02".repeat(16)});
    assert_eq!(
        found["a"],
        json!({"value": BASE64_STANDARD.encode("second é環🔑"), "labels": mark,
            "annotations": {"keyferry.first-version": "1", "keyferry.first-write": "01".repeat(32)},
            "versions": {"1": "DESTROYED", "2": "ENABLED"}, "locations": {"us-east1": key}})
    );
    assert_eq!(found["Tagged_1"]["labels"]["team"], "a_b");
    assert_eq!(found["Tagged_1"]["locations"], json!({}));
}
