//! Third-party parts, set up by `./test` and named in the environment. Without them a test that needs
//! one is left out and says so; under `./test` it fails instead.

use std::path::PathBuf;

pub(super) fn part(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    let (given, required) =
        (std::env::var(variable).ok(), std::env::var_os("KEYFERRY_TEST_REQUIRE_PARTS").is_some());
    if given.is_none() {
        assert!(!required, "{variable} is not set: run ./test, which sets the part up");
        println!("left out: {variable} is not set (./test sets it)");
    }
    given
}

/// Base address of a moto server.
pub(crate) fn moto() -> Option<String> {
    part("KEYFERRY_TEST_MOTO")
}

/// The `bao` command line.
pub(crate) fn bao() -> Option<PathBuf> {
    part("KEYFERRY_TEST_BAO").map(PathBuf::from)
}

/// A Python with hvac and pytest.
pub(crate) fn python() -> Option<PathBuf> {
    part("KEYFERRY_TEST_PYTHON").map(PathBuf::from)
}

/// hvac's source archive, which holds its tests, and a Python that can run them.
pub(crate) fn hvac_suite() -> Option<(PathBuf, PathBuf)> {
    Some((part("KEYFERRY_TEST_HVAC_SOURCE")?.into(), part("KEYFERRY_TEST_HVAC_PYTHON")?.into()))
}

/// A Node, and a folder that has node-vault.
pub(crate) fn node_vault() -> Option<(PathBuf, PathBuf)> {
    Some((part("KEYFERRY_TEST_NODE")?.into(), part("KEYFERRY_TEST_NODE_VAULT")?.into()))
}
