//! (a) KV reads and durable writes against OpenBao on raft storage and against a bare handler; and, with both
//! on one PostgreSQL server, against OpenBao on its PostgreSQL storage.

use hyper::Request;
use serde_json::json;

use crate::{
    Scale,
    bare::Bare,
    harness::{self, Boot, Server},
    load::{self, Body, median, percentile},
    openbao::OpenBao,
};

/// Secrets read and written, 200 bytes each.
pub(crate) const SECRETS: usize = 1000;

struct Contender {
    name: &'static str,
    address: String,
    token: String,
    reads: Vec<f64>,
    writes: Vec<f64>,
    latencies: Vec<u32>,
}

impl Contender {
    fn new(name: &'static str, address: &str, token: &str) -> Self {
        let (address, token) = (address.to_owned(), token.to_owned());
        Self { name, address, token, reads: Vec::new(), writes: Vec::new(), latencies: Vec::new() }
    }
}

fn request(method: &str, path: &str, token: &str, body: String) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "bench")
        .header("X-Vault-Token", token)
        .body(Body::new(body.into()))
        .unwrap()
}

pub(crate) fn write(token: &str, secret: usize) -> Request<Body> {
    let body = json!({ "data": { "value": "v".repeat(188) } }).to_string();
    request("POST", &format!("/v1/secret/data/bench/s{secret}"), token, body)
}

pub(crate) fn read(token: &str, secret: usize) -> Request<Body> {
    request("GET", &format!("/v1/secret/data/bench/s{secret}"), token, String::new())
}

/// A server on a store of its own, with a KV v2 mount at `secret/`.
pub(crate) async fn keyferry(directory: &std::path::Path) -> Server {
    let token = harness::init(directory);
    let server = Boot::data(directory, &token)
        .env("KEYFERRY_SYNC_ALLOW_PRIVATE_NETWORKS", "true")
        .env("KEYFERRY_SYNC_QUOTA_PERCENT", "0")
        .start();
    server.client().post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    server
}

pub(crate) async fn compare(scale: Scale) {
    let home = tempfile::tempdir().unwrap();
    let server = keyferry(&home.path().join("keyferry")).await;
    let bare = Bare::start();
    let mut contenders = vec![
        Contender::new("keyferry", server.address(), &server.token),
        Contender::new("bare handler", &bare.address, "none"),
    ];
    let openbao = match harness::bao() {
        Some(binary) => Some(OpenBao::start(&binary, &home.path().join("openbao")).await),
        None => None,
    };
    if let Some(openbao) = &openbao {
        contenders.push(Contender::new("OpenBao (raft)", &openbao.address, &openbao.token));
    }
    table(scale, contenders).await;
}

/// Both on one PostgreSQL, each with a schema or database of its own.
pub(crate) async fn compare_on_postgres(scale: Scale) {
    let home = tempfile::tempdir().unwrap();
    let database = harness::postgres().expect("benches/run pg starts a PostgreSQL");
    let config = database.config(home.path(), "");
    let token = harness::init_by(&config);
    let server = Boot::config(&config, &token).start();
    server.client().post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let binary = harness::bao().expect("benches/run pg sets up OpenBao");
    database.sql("CREATE DATABASE openbao_{s}");
    let (server_url, _) = database.url.rsplit_once('/').unwrap();
    let url = format!("{server_url}/openbao_{}?sslmode=disable", database.schema);
    let openbao = OpenBao::on_postgres(&binary, &home.path().join("openbao"), &url).await;
    let contenders = vec![
        Contender::new("keyferry", server.address(), &server.token),
        Contender::new("OpenBao (pg)", &openbao.address, &openbao.token),
    ];
    println!("Both on {}", database.sql("SHOW server_version").lines().next().unwrap_or_default());
    table(scale, contenders).await;
}

async fn table(scale: Scale, mut contenders: Vec<Contender>) {
    for contender in &contenders {
        let token = contender.token.clone();
        load::all(&contender.address, 16, SECRETS, move |number| write(&token, number)).await;
    }

    println!(
        "KV v2, {SECRETS} secrets of 200 bytes, HTTP/1.1 keep-alive; per second, middle of {} rounds of {:?}",
        scale.rounds, scale.round
    );
    println!(
        "{:<16} {:>5} {:>10} {:>8} {:>12} {:>8} {:>9} {:>9}",
        "", "conns", "reads/s", "ratio", "writes/s", "ratio", "p50 ms", "p99 ms"
    );
    for connections in [1, 16, 64] {
        for contender in &mut contenders {
            (contender.reads, contender.writes, contender.latencies) = Default::default();
        }
        for _ in 0..scale.rounds {
            for contender in &mut contenders {
                let token = contender.token.clone();
                let reads =
                    load::run(&contender.address, connections, scale.round, move |connection, step| {
                        read(&token, (connection * 37 + step * 7) % SECRETS)
                    });
                contender.reads.push(reads.await.per_second);
                let token = contender.token.clone();
                let writes =
                    load::run(&contender.address, connections, scale.round, move |connection, step| {
                        write(&token, (connection * 37 + step * 7) % SECRETS)
                    });
                let writes = writes.await;
                contender.writes.push(writes.per_second);
                contender.latencies.extend(writes.latencies);
            }
        }
        let (our_reads, our_writes) =
            (median(contenders[0].reads.clone()), median(contenders[0].writes.clone()));
        for contender in &mut contenders {
            contender.latencies.sort_unstable();
            let (reads, writes) = (median(contender.reads.clone()), median(contender.writes.clone()));
            println!(
                "{:<16} {connections:>5} {reads:>10.0} {:>8.2} {writes:>12.0} {:>8.2} {:>9.2} {:>9.2}",
                contender.name,
                our_reads / reads,
                our_writes / writes,
                percentile(&contender.latencies, 50),
                percentile(&contender.latencies, 99),
            );
        }
    }
    println!("ratio: keyferry's figure divided by the row's. p50 and p99 are of the writes.\n");
}
