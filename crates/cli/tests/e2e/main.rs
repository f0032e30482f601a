//! The real binary, from outside: booted on a free loopback port, spoken to over HTTP by our own client,
//! by the `bao` command line and by hvac, and ended by its pid.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![expect(clippy::print_stdout, reason = "nextest shows what a test says when it is asked to")]

mod harness;

mod access;
mod attacks;
mod audit;
mod backup;
mod bao;
mod bao_beside;
mod canary;
mod command_line;
mod faults;
mod heavy;
mod hostile;
mod hvac;
mod hvac_suite;
mod node_vault;
mod nodes;
mod postgres;
mod seal;
mod shutdown;
#[expect(dead_code, reason = "shared with benches/run soak, which prints more of it")]
mod soak;
mod soaked;
mod sync;
mod telemetry;
mod tls;
