use std::time::Duration;

use insta::assert_snapshot;

use crate::bench::{Bench, ROOT};

#[tokio::test]
async fn the_root_token_lasts_for_ever() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.get("auth/token/lookup-self").await, @r#"200 {"data":{"accessor":"[accessor]","creation_time":1695221513,"creation_ttl":0,"display_name":"root","entity_id":"","expire_time":null,"explicit_max_ttl":0,"id":"root","issue_time":"2023-09-20T14:51:53.961861Z","meta":null,"num_uses":0,"orphan":true,"path":"auth/token/root","policies":["root"],"renewable":false,"ttl":0,"type":"service"},"mount_type":"token","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.post("auth/token/renew-self", "").await, @r#"400 {"errors":["lease is not renewable"]}"#);
}

#[tokio::test]
async fn tokens_are_made_and_looked_up() {
    let bench = Bench::bare().await;
    let body =
        r#"{"policies":["Ops","default"],"ttl":"1h","meta":{"team":7},"display_name":"x y","role_name":"r"}"#;
    let made = bench.post("auth/token/create", body).await;
    assert_snapshot!(made, @r#"200 {"auth":{"accessor":"[accessor]","client_token":"[token]","entity_id":"","lease_duration":3600,"metadata":{"team":"7"},"mfa_requirement":null,"num_uses":0,"orphan":false,"policies":["default","ops"],"renewable":true,"token_policies":["default","ops"],"token_type":"service"},"mount_type":"token","request_id":"[uuid]","warnings":["Policy \"ops\" does not exist","Endpoint ignored these unrecognized parameters: [role_name]"]}"#);
    let token = made.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    let accessor = made.json()["auth"]["accessor"].as_str().unwrap().to_owned();
    bench.clock.advance(Duration::from_millis(1500));
    let looked = bench.as_token(&token, "GET", "auth/token/lookup-self", "").await;
    assert_snapshot!(looked, @r#"200 {"data":{"accessor":"[accessor]","creation_time":1695221513,"creation_ttl":3600,"display_name":"token-x-y","entity_id":"","expire_time":"2023-09-20T15:51:53.961861Z","explicit_max_ttl":0,"id":"[token]","issue_time":"2023-09-20T14:51:53.961861Z","meta":{"team":"7"},"num_uses":0,"orphan":false,"path":"auth/token/create","policies":["default","ops"],"renewable":true,"ttl":3598,"type":"service"},"mount_type":"token","request_id":"[uuid]"}"#);
    let same = bench.post("auth/token/lookup", &format!(r#"{{"token":"{token}"}}"#)).await;
    assert_eq!(same.data(), looked.data());
    let by_accessor =
        bench.post("auth/token/lookup-accessor", &format!(r#"{{"accessor":"{accessor}"}}"#)).await;
    assert_eq!(by_accessor.data()["id"], "");
    assert_eq!(by_accessor.data()["display_name"], "token-x-y");
    let listed = bench.list("auth/token/accessors").await;
    assert_eq!(listed.keys().len(), 2);
    assert!(listed.keys().contains(&accessor));
    // Without a token to look up it is the caller's own.
    assert_eq!(bench.post("auth/token/lookup", "{}").await.data()["id"], ROOT);
    assert_snapshot!(bench.post("auth/token/lookup", r#"{"token":"zz"}"#).await, @r#"403 {"errors":["bad token"]}"#);
    assert_snapshot!(bench.post("auth/token/lookup-accessor", r#"{"accessor":"zz"}"#).await, @r#"400 {"errors":["1 error occurred:\n\t* invalid accessor\n\n"]}"#);
}

#[tokio::test]
async fn what_a_token_cannot_be_is_refused() {
    let bench = Bench::bare().await;
    bench.token(r#"{"id":"taken","policies":["default"]}"#).await;
    for (body, text) in [
        (r#"{"id":"a.b"}"#, "custom token ID cannot have a '.' in the value"),
        (r#"{"id":"a b"}"#, "custom token ID must be at most 256 printable ASCII characters without spaces"),
        (r#"{"id":"taken"}"#, "cannot create a token with a duplicate ID"),
        (r#"{"type":"batch"}"#, "batch tokens cannot be root tokens"),
        (r#"{"type":"batch","policies":["a"],"num_uses":2}"#, "batch tokens cannot have \"num_uses\" set"),
        (r#"{"type":"batch","policies":["a"],"period":2}"#, "batch tokens cannot have \"period\" set"),
        (
            r#"{"type":"batch","policies":["a"],"id":"x"}"#,
            "a token id cannot be given to batch tokens or with a role",
        ),
        (r#"{"type":"weird"}"#, "invalid 'token_type' value"),
        (r#"{"ttl":"-5"}"#, "ttl must be positive"),
        (r#"{"period":"-5"}"#, "period must be positive"),
        (r#"{"explicit_max_ttl":-5}"#, "explicit_max_ttl must be positive"),
        (r#"{"num_uses":-1}"#, "number of uses cannot be negative"),
        (r#"{"policies":["response-wrapping"]}"#, "cannot assign policy \"response-wrapping\""),
        (r#"{"entity_alias":"x"}"#, "'entity_alias' is only allowed in combination with token role"),
        (
            r#"{"ttl":"soon"}"#,
            r#"Field validation failed: error converting input for field "ttl": expected a duration such as 90, "90s" or "1h30m""#,
        ),
    ] {
        let answer = bench.post("auth/token/create", body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text), "{body}");
    }
    assert_snapshot!(bench.post("auth/token/create/role", "{}").await, @r#"400 {"errors":["unknown role role"]}"#);
    assert_snapshot!(bench.get("auth/token/create").await, @r#"405 {"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#);
}

#[tokio::test]
async fn times_are_capped_and_honoured() {
    let bench = Bench::bare().await;
    let made = bench.post("auth/token/create", r#"{"policies":["default"],"ttl":"9999h","id":"long"}"#).await;
    assert_eq!(made.json()["auth"]["lease_duration"], 2_764_800);
    assert_eq!(
        made.json()["warnings"][0],
        "TTL of \"9999h\" exceeded the effective max_ttl of \"768h\"; TTL value is capped accordingly"
    );
    let made = bench.post("auth/token/create", r#"{"policies":["default"],"id":"usual"}"#).await;
    assert_eq!(made.json()["auth"]["lease_duration"], 2_764_800);
    let made = bench
        .post(
            "auth/token/create",
            r#"{"policies":["default"],"ttl":"1h","explicit_max_ttl":"30m","id":"short"}"#,
        )
        .await;
    assert_eq!(made.json()["auth"]["lease_duration"], 1_800);
    let made = bench.post("auth/token/create", r#"{"ttl":"1h","id":"rooted"}"#).await;
    assert_eq!(made.json()["auth"]["policies"][0], "root");
    assert_eq!(made.json()["auth"]["lease_duration"], 3_600);

    let looks = async |token: &str| bench.as_token(token, "GET", "auth/token/lookup-self", "").await;
    bench.clock.advance(Duration::from_secs(1_799));
    assert_eq!(looks("short").await.data()["ttl"], 1);
    bench.clock.advance(Duration::from_secs(1));
    assert_snapshot!(looks("short").await, @r#"403 {"errors":["permission denied"]}"#);
    assert_eq!(looks("rooted").await.status, 200);
    bench.clock.advance(Duration::from_mins(30));
    assert_eq!(looks("rooted").await.status, 403);
    assert_eq!(looks("usual").await.status, 200);
    // The records of dead tokens are swept.
    let before = bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len();
    bench.app.do_chores().await.unwrap();
    assert_eq!(bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len(), before - 2);
    // The name of a token that ended can be given again.
    assert_eq!(bench.post("auth/token/create", r#"{"id":"short"}"#).await.status, 200);
}

#[tokio::test]
async fn tokens_are_renewed_within_their_limits() {
    let bench = Bench::bare().await;
    bench.token(r#"{"policies":["default"],"ttl":"1h","explicit_max_ttl":"90m","id":"t"}"#).await;
    let renew = async |body: &str| bench.as_token("t", "POST", "auth/token/renew-self", body).await;
    bench.clock.advance(Duration::from_mins(40));
    assert_snapshot!(renew(r#"{"increment":"10m"}"#).await, @r#"200 {"auth":{"accessor":"[accessor]","client_token":"t","entity_id":"","lease_duration":600,"metadata":null,"mfa_requirement":null,"num_uses":0,"orphan":false,"policies":["default"],"renewable":true,"token_policies":["default"],"token_type":"service"},"mount_type":"token","request_id":"[uuid]"}"#);
    // Who does not say gets what was last given.
    assert_eq!(renew("").await.json()["auth"]["lease_duration"], 600);
    assert_eq!(
        renew(r#"{"increment":"1h"}"#).await.json()["warnings"][0],
        "TTL of \"1h\" exceeded the effective max_ttl of \"50m\"; TTL value is capped accordingly"
    );
    bench.clock.advance(Duration::from_mins(49));
    assert_eq!(renew("").await.json()["auth"]["lease_duration"], 60);
    bench.clock.advance(Duration::from_mins(1));
    assert_eq!(renew("").await.status, 403);

    bench.token(r#"{"policies":["default"],"period":"1h","id":"p"}"#).await;
    for _ in 0..1000 {
        bench.clock.advance(Duration::from_mins(59));
        let renewed = bench.call("PUT", "auth/token/renew", r#"{"token":"p","increment":5}"#).await;
        assert_eq!(renewed.json()["auth"]["lease_duration"], 3_600, "a periodic token lives on");
    }
    let accessor = bench.post("auth/token/lookup", r#"{"token":"p"}"#).await.data()["accessor"]
        .as_str()
        .unwrap()
        .to_owned();
    let renewed = bench.post("auth/token/renew-accessor", &format!(r#"{{"accessor":"{accessor}"}}"#)).await;
    assert_eq!(renewed.json()["auth"]["client_token"], "");
    bench.token(r#"{"policies":["default"],"renewable":false,"id":"n"}"#).await;
    for (path, body, text) in [
        ("renew", r#"{"token":"n"}"#, "lease is not renewable"),
        ("renew", r#"{"token":"zz"}"#, "token not found"),
        ("renew", "{}", "missing token ID"),
        ("renew-accessor", r#"{"accessor":"zz"}"#, "1 error occurred:\n\t* invalid accessor\n\n"),
    ] {
        let answer = bench.post(&format!("auth/token/{path}"), body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
    }
}

#[tokio::test]
async fn a_number_of_uses_is_counted_exactly() {
    let bench = Bench::bare().await;
    bench.token(r#"{"policies":["default"],"num_uses":3,"id":"t"}"#).await;
    let look = async || bench.as_token("t", "GET", "auth/token/lookup-self", "").await;
    assert_eq!(look().await.data()["num_uses"], 2);
    // What is denied is a use too.
    assert_eq!(bench.as_token("t", "GET", "sys/mounts", "").await.status, 403);
    // The last one still works; Vault shows -1 then.
    assert_eq!(look().await.data()["num_uses"], -1);
    assert_snapshot!(look().await, @r#"403 {"errors":["permission denied"]}"#);
    assert_eq!(bench.list("auth/token/accessors").await.keys().len(), 1);
    // Looking a token up does not use it.
    bench.token(r#"{"policies":["default"],"num_uses":1,"id":"u"}"#).await;
    for _ in 0..3 {
        assert_eq!(bench.post("auth/token/lookup", r#"{"token":"u"}"#).await.data()["num_uses"], 1);
    }
    bench.token(r#"{"num_uses":2,"id":"r"}"#).await;
    assert_snapshot!(bench.as_token("r", "POST", "auth/token/create", "{}").await, @r#"400 {"errors":["restricted use token cannot generate child tokens"]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_requests_at_once_only_as_many_pass_as_uses_are_left() {
    let bench = Bench::bare().await;
    bench.token(r#"{"policies":["default"],"num_uses":20,"id":"t"}"#).await;
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.as_token("t", "GET", "auth/token/lookup-self", "").await.status })
        })
        .collect();
    let mut passed = 0;
    for call in calls {
        match call.await.unwrap() {
            200 => passed += 1,
            status => assert_eq!(status, 403),
        }
    }
    assert_eq!(passed, 20);
}

#[tokio::test]
async fn children_die_with_their_parents_and_orphans_do_not() {
    let bench = Bench::bare().await;
    let make = async |parent: &str, path: &str, id: &str| {
        let answer = bench
            .as_token(
                parent,
                "POST",
                &format!("auth/token/{path}"),
                &format!(r#"{{"id":"{id}","ttl":"1h"}}"#),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer}");
    };
    let alive =
        async |token: &str| bench.as_token(token, "GET", "auth/token/lookup-self", "").await.status == 200;
    make(ROOT, "create", "parent").await;
    make("parent", "create", "child").await;
    make("child", "create", "grandchild").await;
    make("child", "create-orphan", "orphan").await;
    let looked = bench.as_token("orphan", "GET", "auth/token/lookup-self", "").await.data();
    assert_eq!(
        (looked["orphan"].as_bool(), looked["path"].as_str()),
        (Some(true), Some("auth/token/create-orphan"))
    );

    assert_eq!(bench.post("auth/token/revoke", r#"{"token":"parent"}"#).await.status, 204);
    for (token, lives) in [("parent", false), ("child", false), ("grandchild", false), ("orphan", true)] {
        assert_eq!(alive(token).await, lives, "{token}");
    }
    assert_eq!(bench.list("auth/token/accessors").await.keys().len(), 2);
    // A new token of the parent's name does not wake its children.
    make(ROOT, "create", "parent").await;
    assert!(!alive("child").await);
    bench.app.do_chores().await.unwrap();
    assert_eq!(bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_parents_end_in_time_ends_its_children() {
    let bench = Bench::bare().await;
    bench.token(r#"{"id":"parent","ttl":"10m"}"#).await;
    let answer = bench.as_token("parent", "POST", "auth/token/create", r#"{"id":"child","ttl":"5h"}"#).await;
    assert_eq!(answer.status, 200);
    bench.clock.advance(Duration::from_mins(10));
    assert_eq!(bench.as_token("child", "GET", "auth/token/lookup-self", "").await.status, 403);
}

#[tokio::test]
async fn tokens_are_revoked_in_every_way() {
    let bench = Bench::bare().await;
    let alive =
        async |token: &str| bench.as_token(token, "GET", "auth/token/lookup-self", "").await.status == 200;
    for id in ["a", "b", "c"] {
        bench.token(&format!(r#"{{"id":"{id}","ttl":"1h"}}"#)).await;
    }
    assert_eq!(bench.as_token("a", "POST", "auth/token/revoke-self", "").await.status, 204);
    assert!(!alive("a").await);
    let accessor = bench.as_token("b", "GET", "auth/token/lookup-self", "").await.data()["accessor"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = format!(r#"{{"accessor":"{accessor}"}}"#);
    assert_eq!(bench.post("auth/token/revoke-accessor", &body).await.status, 204);
    assert!(!alive("b").await);
    assert_snapshot!(bench.post("auth/token/revoke-accessor", &body).await, @r#"200 {"mount_type":"token","request_id":"[uuid]","warnings":["No token found with this accessor"]}"#);
    // revoke-orphan leaves the children.
    bench.as_token("c", "POST", "auth/token/create", r#"{"id":"child","ttl":"1h"}"#).await;
    assert_eq!(bench.post("auth/token/revoke-orphan", r#"{"token":"c"}"#).await.status, 204);
    assert!(!alive("c").await);
    assert_eq!(bench.as_token("child", "GET", "auth/token/lookup-self", "").await.data()["orphan"], true);
    assert_eq!(bench.post("auth/token/revoke", r#"{"token":"zz"}"#).await.status, 204);
    assert_snapshot!(bench.post("auth/token/revoke", "{}").await, @r#"400 {"errors":["missing token ID"]}"#);
    assert_snapshot!(bench.post("auth/token/revoke-orphan", r#"{"token":"zz"}"#).await, @r#"400 {"errors":["token to revoke not found"]}"#);
}

#[tokio::test]
async fn capabilities_are_told() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.post("sys/capabilities-self", r#"{"paths":["b","a"]}"#).await, @r#"200 {"a":["root"],"b":["root"],"data":{"a":["root"],"b":["root"]},"mount_type":"system","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.post("sys/capabilities-self", r#"{"path":"a"}"#).await.data(), @r#"{"a":["root"],"capabilities":["root"]}"#);
    assert_snapshot!(bench.post("sys/capabilities-self", "{}").await, @r#"400 {"errors":["paths must be supplied"]}"#);
    let weak = bench.token(r#"{"policies":["default"],"id":"weak"}"#).await;
    let body = r#"{"paths":["auth/token/lookup-self","/secret/data/a"]}"#;
    assert_snapshot!(bench.as_token(&weak, "POST", "sys/capabilities-self", body).await.data(), @r#"{"/secret/data/a":["deny"],"auth/token/lookup-self":["read"]}"#);
    assert_snapshot!(bench.post("sys/capabilities", r#"{"token":"weak","path":"sys/mounts"}"#).await.data(), @r#"{"capabilities":["deny"],"sys/mounts":["deny"]}"#);
    let accessor = bench.post("auth/token/lookup", r#"{"token":"weak"}"#).await.data()["accessor"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = format!(r#"{{"accessor":"{accessor}","path":"sys/capabilities-self"}}"#);
    assert_snapshot!(bench.post("sys/capabilities-accessor", &body).await.data(), @r#"{"capabilities":["update"],"sys/capabilities-self":["update"]}"#);
    assert_snapshot!(bench.post("sys/capabilities", r#"{"token":"zz","path":"a"}"#).await, @r#"400 {"errors":["1 error occurred:\n\t* invalid token\n\n"]}"#);
    assert_snapshot!(bench.post("sys/capabilities-accessor", r#"{"accessor":"zz","path":"a"}"#).await, @r#"400 {"errors":["1 error occurred:\n\t* invalid accessor\n\n"]}"#);
    assert_eq!(bench.get("sys/capabilities-self").await.status, 405);
}

#[tokio::test]
async fn more_dead_tokens_than_fit_in_a_page_are_swept_and_the_living_stay() {
    let bench = Bench::bare().await;
    for number in 0..300 {
        let ttl = if number % 10 == 0 { "1h" } else { "1s" };
        bench.token(&format!(r#"{{"policies":["default"],"ttl":"{ttl}","id":"t{number}"}}"#)).await;
    }
    let count = async || bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len();
    assert_eq!(count().await, 301);
    bench.clock.advance(Duration::from_secs(2));
    bench.app.do_chores().await.unwrap();
    // The root token, and every tenth.
    assert_eq!(count().await, 31);
    assert_eq!(bench.as_token("t10", "GET", "auth/token/lookup-self", "").await.status, 200);
    assert_eq!(
        bench.call("LIST", "auth/token/accessors", "").await.data()["keys"].as_array().unwrap().len(),
        31
    );
}
