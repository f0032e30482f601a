//! What every test here stands on: a server process, a client, and the third-party parts.

mod aws;
mod client;
mod cluster;
mod parts;
mod postgres;
mod proxy;
mod server;
mod wire;

pub(crate) use aws::Aws;
pub(crate) use client::{Answer, Client};
pub(crate) use cluster::Cluster;
pub(crate) use parts::{bao, hvac_suite, moto, node_vault, python};
pub(crate) use postgres::{Database, postgres};
pub(crate) use proxy::{Proxy, Traffic};
pub(crate) use server::{Boot, Server, init, init_by, keyferry};
pub(crate) use wire::{Between, GARBAGE, Wire};

use std::{future::Future, time::Duration};

/// Asks until the answer is there, for at least a minute; says what it waited for when it is not.
pub(crate) async fn eventually<T, F, A>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> A,
    A: Future<Output = Option<T>>,
{
    for _ in 0..1200 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited a minute for this in vain: {what}");
}
