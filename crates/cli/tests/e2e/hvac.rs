//! hvac, the Python client, run as its users run it: see `hvac_test.py` and `hvac_access_test.py`.

use std::process::Command;

use crate::harness::{Server, python};

#[test]
fn hvac_does_all_it_can() {
    let Some(python) = python() else { return };
    let server = Server::dev();
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "hvac_test.py", "hvac_access_test.py"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KEYFERRY_URL", &server.url)
        .env("KEYFERRY_TOKEN", &server.token)
        .env_remove("VAULT_ADDR")
        .env_remove("VAULT_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" passed"), "{said}");
}
