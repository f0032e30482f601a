//! (b) How long a write takes to arrive, and (c) how many deliveries a second, against what the raw HTTP
//! client can do with the same bodies.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::Request;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    Scale,
    harness::{Client, Server},
    kv::keyferry,
    load::{self, Body, micros, percentile},
    stub::Stub,
};

const AT: &str = "sys/sync/destinations/aws-sm/stub";

fn write(token: &str, secret: usize, number: u64) -> Request<Body> {
    let body = json!({ "data": { "n": number, "value": "v".repeat(170) } }).to_string();
    post(token, &format!("/v1/secret/data/bench/s{secret}"), body)
}

fn associate(token: &str, secret: usize) -> Request<Body> {
    let body = json!({ "mount": "secret", "secret_name": format!("bench/s{secret}") }).to_string();
    post(token, &format!("/v1/{AT}/associations/set"), body)
}

fn post(token: &str, path: &str, body: String) -> Request<Body> {
    Request::post(path)
        .header("Host", "bench")
        .header("X-Vault-Token", token)
        .body(Body::new(body.into()))
        .unwrap()
}

async fn destination(client: &Client, stub: &Stub) {
    let config = json!({
        "access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "endpoint": stub.url(),
    });
    client.post(AT, config).await.expect(200);
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("five minutes were not enough for {what}");
}

/// `secrets` secrets, each with an association, all delivered.
pub(crate) async fn fill(server: &Server, stub: &Stub, secrets: usize) {
    destination(&server.client(), stub).await;
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| write(&token, secret, secret as u64)).await;
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| associate(&token, secret)).await;
    until("the first delivery", || stub.secrets() == secrets).await;
}

pub(crate) async fn latency(scale: Scale) {
    const SECRETS: usize = 1000;
    let home = tempfile::tempdir().unwrap();
    let server = keyferry(&home.path().join("keyferry")).await;
    let stub = Stub::start().await;
    fill(&server, &stub, SECRETS).await;
    println!("write to arrival at a destination that takes no time (AWS stub), {SECRETS} associated secrets");
    println!(
        "{:>9} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "writes/s", "sent", "p50 ms", "p99 ms", "max ms", "missing"
    );
    let mut number = 1_000_000_u64;
    for per_second in [100_u32, 1000] {
        let total =
            usize::try_from(per_second).unwrap() * usize::try_from(scale.round.as_secs().max(1)).unwrap() * 2;
        // An open loop: writes begin when they are due, however long earlier ones take.
        let connections = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..64 {
            let connection = load::connect(server.address()).await;
            connections.lock().await.push(connection);
        }
        let mut tasks = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        for step in 0..total {
            ticks.tick().await;
            number += 1;
            let (connections, token, number) = (Arc::clone(&connections), server.token.clone(), number);
            tasks.spawn(async move {
                let begun = Instant::now();
                let Some(mut connection) = connections.lock().await.pop() else {
                    return (number, begun, false);
                };
                load::exchange(&mut connection, write(&token, step % SECRETS, number)).await;
                connections.lock().await.push(connection);
                (number, begun, true)
            });
        }
        let sent = tasks.join_all().await;
        assert!(
            sent.iter().all(|(_, _, sent)| *sent),
            "64 connections were not enough: the server is overloaded"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        let arrived = |number: u64| stub.arrival(number);
        let mut latencies: Vec<u32> =
            sent.iter().filter_map(|(number, begun, _)| Some(micros(arrived(*number)? - *begun))).collect();
        latencies.sort_unstable();
        println!(
            "{per_second:>9} {total:>8} {:>9.2} {:>9.2} {:>9.2} {:>9}",
            percentile(&latencies, 50),
            percentile(&latencies, 99),
            percentile(&latencies, 100),
            total - latencies.len(),
        );
    }
    println!(
        "from the first byte of the client's request, durable commit included; missing: overtaken by a newer version\n"
    );
}

pub(crate) async fn throughput(scale: Scale) {
    let secrets = scale.associations;
    let home = tempfile::tempdir().unwrap();
    let server = keyferry(&home.path().join("keyferry")).await;
    let client = server.client();
    let stub = Stub::start().await;
    let switch = async |disabled: bool| {
        client.patch("sys/sync/config", json!({ "disabled": disabled })).await.expect(200);
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let rate = |begun: Instant| secrets as f64 / begun.elapsed().as_secs_f64();

    // First deliveries: all associations are made while nothing is sent out, then let go at once.
    switch(true).await;
    destination(&client, &stub).await;
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| write(&token, secret, secret as u64)).await;
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| associate(&token, secret)).await;
    assert_eq!(stub.calls(), 0, "nothing is sent while syncing is switched off");
    let begun = Instant::now();
    switch(false).await;
    until("the first deliveries", || stub.secrets() == secrets).await;
    let created = rate(begun);
    settle(&client, secrets).await;
    let calls_created = stub.calls();

    // Updates: every secret is written again while nothing is sent out.
    switch(true).await;
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| write(&token, secret, (secret + secrets) as u64))
        .await;
    let before = stub.calls();
    let begun = Instant::now();
    switch(false).await;
    until("the updates", || stub.arrived() == 2 * secrets).await;
    let updated = rate(begun);
    settle(&client, secrets).await;
    let calls_updated = stub.calls() - before;

    // The same values again: a new version of each secret, but nothing to carry over.
    let before = stub.calls();
    let token = server.token.clone();
    load::all(server.address(), 64, secrets, move |secret| write(&token, secret, (secret + secrets) as u64))
        .await;
    settle(&client, secrets).await;
    let calls_same = stub.calls() - before;

    // Every association asked for again, which delivers again whatever is known.
    let before = stub.calls();
    let token = server.token.clone();
    let begun = Instant::now();
    load::all(server.address(), 64, secrets, move |secret| associate(&token, secret)).await;
    until("the refreshes", || stub.calls() >= before + secrets).await;
    let refreshed = rate(begun);
    settle(&client, secrets).await;
    let calls_refreshed = stub.calls() - before;

    // What the raw client does with bodies of the same size, on as many connections as the engine may use.
    stub.reset();
    let address = stub.address.clone();
    let begun = Instant::now();
    load::all(&address, 64, secrets, |secret| {
        let body = json!({
            "Name": format!("vault/kv_00000000/bench/s{secret}"),
            "ClientRequestToken": "0".repeat(64),
            "SecretString": json!({ "n": secret, "value": "v".repeat(170) }).to_string(),
            "Tags": [{ "Key": "hashicorp:vault", "Value": "" }, { "Key": "keyferry", "Value": "m".repeat(120) }],
        });
        Request::post("/")
            .header("Host", "bench")
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", "secretsmanager.CreateSecret")
            .body(Body::new(body.to_string().into()))
            .unwrap()
    })
    .await;
    let raw = rate(begun);

    println!("sync throughput, {secrets} associations at one destination (AWS stub that takes no time)");
    println!("{:<34} {:>10} {:>8} {:>14}", "", "per second", "ratio", "calls/secret");
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let row = |what: &str, figure: f64, calls: usize| {
        println!("{what:<34} {figure:>10.0} {:>8.2} {:>14.2}", figure / raw, calls as f64 / secrets as f64);
    };
    row("raw HTTP client, same bodies", raw, secrets);
    row("first delivery", created, calls_created);
    row("changed value", updated, calls_updated);
    row("refresh asked for", refreshed, calls_refreshed);
    println!("same value written again: {calls_same} calls for {secrets} secrets");
    println!();
}

/// Waits until the server itself says that every association is in place.
async fn settle(client: &Client, secrets: usize) {
    for _ in 0..600 {
        let data = client.get(&format!("{AT}/associations")).await.data();
        let rows = data["associated_secrets"].as_object().unwrap();
        let synced = |entry: &Value| entry["sync_status"] == "SYNCED";
        if rows.len() == secrets && rows.values().all(synced) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("not all associations became SYNCED within five minutes");
}
