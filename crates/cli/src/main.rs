//! The `keyferry` binary.

fn main() {}
