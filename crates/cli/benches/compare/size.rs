//! (d) How fast it starts and how much it takes: memory empty and filled, the store's file, the binary.

use std::{path::Path, time::Instant};

use crate::{
    Scale,
    harness::{Boot, Server},
    kv::keyferry,
    load::median,
    stub::Stub,
    sync::fill,
};

pub(crate) async fn measure(scale: Scale) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("keyferry");
    let server = keyferry(&data).await;
    let token = server.token.clone();
    println!("start-up and size");
    println!(
        "{:<44} {:>10.1} MB",
        "binary",
        megabytes(std::fs::metadata(env!("CARGO_BIN_EXE_keyferry")).unwrap().len())
    );
    println!("{:<44} {:>10.1} MB", "resident memory, empty store", resident(&server));
    drop(server);
    println!(
        "{:<44} {:>10.1} ms",
        "start-up to the first answer, empty store",
        start_up(&data, &token).await
    );

    let server = boot(&data, &token);
    let stub = Stub::start().await;
    fill(&server, &stub, scale.secrets).await;
    let what = format!("resident memory after writing {} secrets", scale.secrets);
    println!("{what:<44} {:>10.1} MB", resident(&server));
    drop(server);
    println!("{:<44} {:>10.1} MB", "store on disk", megabytes(bytes_in(&data)));
    println!("{:<44} {:>10.1} ms", "start-up to the first answer, filled", start_up(&data, &token).await);
    let server = boot(&data, &token);
    println!("{:<44} {:>10.1} MB\n", "resident memory after that restart", resident(&server));
}

fn boot(data: &Path, token: &str) -> Server {
    Boot::data(data, token)
        .env("KEYFERRY_SYNC_ALLOW_PRIVATE_NETWORKS", "true")
        .env("KEYFERRY_SYNC_QUOTA_PERCENT", "0")
        .start()
}

/// From the start of the process to an authorised answer; the middle of five, in milliseconds.
async fn start_up(data: &Path, token: &str) -> f64 {
    let mut figures = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let server = boot(data, token);
        server.client().get("sys/mounts").await.expect(200);
        figures.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    median(figures)
}

/// The process's resident memory, in megabytes.
fn resident(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    megabytes(kilobytes * 1024)
}

fn bytes_in(directory: &Path) -> u64 {
    std::fs::read_dir(directory).unwrap().flatten().map(|row| row.metadata().unwrap().len()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}
