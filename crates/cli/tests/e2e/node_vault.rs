//! node-vault, the JavaScript client, run as its users run it: see `node_vault.mjs`. Its package holds no tests of its own.

use std::process::Command;

use crate::harness::{Server, node_vault};

#[test]
fn node_vault_does_all_it_can() {
    let Some((node, package)) = node_vault() else { return };
    let server = Server::dev();
    let output = Command::new(node)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/node_vault.mjs"))
        .args([&server.url, &server.token])
        .arg(package)
        .env_remove("VAULT_ADDR")
        .env_remove("VAULT_TOKEN")
        .env_remove("VAULT_NAMESPACE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with("done: ")).count(), 10, "{said}");
}
