//! What is fuzzed: each target takes any bytes and panics when something that must hold does not.

mod targets;

pub use targets::TARGETS;
