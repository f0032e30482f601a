//! What an audit device costs: reads with every one of them written to a file, beside reads with none.

use serde_json::json;

use crate::{
    Scale,
    harness::{Boot, Server, init},
    kv::{SECRETS, read, write},
    load::{self, median},
};

/// The most of a server's read throughput that audit to a file may cost.
const BAR: f64 = 0.30;

async fn server(directory: &std::path::Path, audited: bool) -> Server {
    let data = directory.join("data");
    let token = init(&data);
    let device = format!("[[audit]]\ntype = \"file\"\nfile_path = \"{}/audit.log\"\n", directory.display());
    let text = format!(
        "[storage]\npath = \"{}\"\n[listener]\naddress = \"127.0.0.1:0\"\n{}",
        data.display(),
        if audited { device.as_str() } else { "" }
    );
    let file = directory.join("keyferry.toml");
    std::fs::write(&file, text).unwrap();
    let server = Boot::config(&file, &token).start();
    server.client().post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let token = server.token.clone();
    load::all(server.address(), 16, SECRETS, move |number| write(&token, number)).await;
    server
}

pub(crate) async fn measure(scale: Scale) {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = [server(homes[0].path(), false).await, server(homes[1].path(), true).await];
    println!("audit to a file: reads per second, middle of {} rounds of {:?}", scale.rounds, scale.round);
    println!("{:>5} {:>10} {:>10} {:>7}", "conns", "none", "file", "cost");
    for connections in [1, 16, 64] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..scale.rounds {
            for (server, rates) in servers.iter().zip(&mut rates) {
                let token = server.token.clone();
                let round = load::run(server.address(), connections, scale.round, move |connection, step| {
                    read(&token, (connection * 37 + step * 7) % SECRETS)
                });
                rates.push(round.await.per_second);
            }
        }
        let [none, file] = rates.map(median);
        let cost = 1.0 - file / none;
        let verdict = if cost <= BAR { "" } else { "  above the bar of 30 %" };
        println!("{connections:>5} {none:>10.0} {file:>10.0} {:>6.1}%{verdict}", cost * 100.0);
    }
    println!();
}
