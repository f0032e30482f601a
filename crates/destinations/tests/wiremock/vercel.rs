use std::time::Duration;

use destinations::Retry;
use model::Blame;

use super::*;

fn open_project(wire: &Wire) -> Arc<dyn Destination> {
    open(
        "vercel-project",
        json!({"endpoint": wire.url(), "access_token": "t", "project_id": "prj_1", "team_id": "team_1",
            "deployment_environments": ["production"]}),
    )
}

const ENV: &str = "/v10/projects/prj_1/env";

fn record(id: &str, key: &str, comment: &str) -> Value {
    json!({"id": id, "key": key, "value": "", "type": "sensitive", "target": ["production"],
        "comment": comment, "createdAt": 1, "updatedAt": 2, "customEnvironmentIds": []})
}

fn failed(key: &str, code: &str) -> Value {
    json!({"error": {"code": code, "message": "", "envVarKey": key, "target": ["production"]}})
}

#[tokio::test]
async fn a_storm_of_refusals_is_waited_out_as_each_of_them_asks() {
    let Some(wire) = Wire::new() else { return };
    let now = SystemClock.now().as_secs();
    let limited = |reset: Value| {
        answer(
            429,
            json!({"error": {"code": "rate_limited", "message": "", "name": "b",
            "limit": {"total": 60, "remaining": 0, "reset": reset}}}),
        )
    };
    let created = answer(201, json!({"created": record("env_1", "A", ""), "failed": []}));
    let storm = [
        limited(json!(now + 1000)),
        limited(json!(now - 1000)),
        with_header(
            answer(429, json!({"error": {"code": "rate_limited", "message": ""}})),
            "Retry-After",
            "7",
        ),
        with_header(answer(503, json!({})), "Retry-After", "9"),
        answer(500, json!({"error": {"code": "internal_server_error", "message": ""}})),
        created,
    ];
    wire.script("POST", ENV, storm).await;
    let destination = open_project(&wire);
    let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
    for expected in
        [Some(seconds(900, 1000)), Some(seconds(1, 1)), Some(seconds(7, 7)), Some(seconds(9, 9)), None]
    {
        let fault = put(&destination, "A", 1, Expect::Absent).await.unwrap_err();
        assert_eq!(fault.blame, Blame::External);
        match (fault.retry, expected) {
            (Retry::After(wait), Some(range)) => assert!(range.contains(&wait), "{wait:?}"),
            (Retry::Backoff, None) => {}
            other => panic!("{other:?}"),
        }
    }
    written(put(&destination, "A", 1, Expect::Absent).await);
    let posts = wire.requests("POST").await;
    assert_eq!(posts.len(), 6, "each try is one call");
    assert!(posts.iter().all(|(url, body)| *url == format!("{ENV}?teamId=team_1") && *body == posts[0].1));
}

#[tokio::test]
async fn an_array_that_half_succeeds_converges() {
    let Some(wire) = Wire::new() else { return };
    let destination = open_project(&wire);
    // OURS was made by a call whose answer is lost.
    let first = [
        json!({"fault": "CONNECTION_RESET_BY_PEER"}),
        answer(
            201,
            json!({"created": [record("env_2", "NEW", "")],
            "failed": [failed("OURS", "ENV_CONFLICT"), failed("THEIRS", "ENV_ALREADY_EXISTS"),
                failed("LATER", "UNKNOWN_ERROR"), failed("NEVER", "RESERVED_ENV_VARIABLE")]}),
        ),
        answer(201, json!({"created": [record("env_1", "OURS", "")], "failed": []})),
    ];
    wire.script("POST", ENV, first).await;
    let lost = put(&destination, "OURS", 1, Expect::Absent).await.unwrap_err();
    assert_eq!((lost.code, lost.ambiguous), ("connection_lost", true));
    let comment = wire.requests("POST").await[0].1["comment"].as_str().unwrap().to_owned();
    let listed = json!({"envs": [record("env_1", "OURS", &comment), record("env_9", "THEIRS", "by hand")],
        "hiddenProductionEnvCount": 0});
    wire.script("GET", ENV, [answer(200, listed)]).await;

    let names = ["NEW", "OURS", "THEIRS", "LATER", "NEVER"];
    let mut outcomes = put_all(&destination, &names, 2, Expect::Absent).await.into_iter();
    let mut next = || outcomes.next().unwrap();
    assert_eq!(written(next()).handle.as_deref(), Some("production=env_2"));
    assert_eq!(written(next()).handle.as_deref(), Some("production=env_1"));
    assert!(matches!(next(), Ok(PutOutcome::Taken(there)) if there.mark.is_none()));
    assert_eq!(next().unwrap_err().code, "provider_down");
    assert_eq!(next().unwrap_err().code, "name_reserved");

    let posts = wire.requests("POST").await;
    assert_eq!(posts[1].1.as_array().unwrap().len(), 5);
    // Ours alone is written over, by name, for just its environments.
    assert_eq!(posts[2].0, format!("{ENV}?teamId=team_1&upsert=true"));
    assert_eq!((&posts[2].1["key"], &posts[2].1["target"]), (&json!("OURS"), &json!(["production"])));
    assert_eq!((posts.len(), wire.requests("GET").await.len()), (3, 1));
}

#[tokio::test]
async fn a_record_that_vanishes_between_list_and_upsert_is_made_on_the_next_try() {
    let Some(wire) = Wire::new() else { return };
    let destination = open_project(&wire);
    wire.script(
        "PATCH",
        "/v9/projects/prj_1/env/env_1",
        [answer(404, json!({"error": {"code": "not_found", "message": ""}}))],
    )
    .await;
    let empty = json!({"envs": [], "pagination": {"count": 0, "next": null, "prev": null}});
    wire.script("GET", ENV, [answer(200, empty)]).await;
    let conflict = answer(400, json!({"error": {"code": "ENV_CONFLICT", "message": "", "envVarKey": "A"}}));
    let created = answer(201, json!({"created": record("env_7", "A", ""), "failed": []}));
    wire.script("POST", ENV, [conflict, created]).await;
    let handle = Expect::Ours(Some("production=env_1"));
    assert_eq!(put(&destination, "A", 2, handle).await.unwrap_err().code, "name_busy");
    assert_eq!(written(put(&destination, "A", 2, handle).await).handle.as_deref(), Some("production=env_7"));
}
