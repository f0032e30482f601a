use std::{error::Error as _, io};

use tokio_postgres::{Error, error::SqlState};

/// Why something did not succeed, in our words: what a server says may repeat what it was sent.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) what: String,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection is gone, never came, or leads to a server that cannot serve now: another connection.
    Lost,
    /// The statement lost against others, or took too long: the same again.
    Again,
    /// It would be refused again.
    Refused,
}

impl Fault {
    pub(super) fn lost(what: impl Into<String>) -> Self {
        Self { kind: Kind::Lost, what: what.into() }
    }

    pub(super) fn refused(what: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, what: what.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Some(code) = error.code() {
            let (kind, words) = meaning(code);
            let words = words.unwrap_or("the database refused it");
            return Self { kind, what: format!("{words} (SQLSTATE {})", code.code()) };
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::lost(format!("TLS: {tls}"));
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                // What rustls reports comes wrapped in one of these.
                if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    return Self::lost(format!("TLS: {tls}"));
                }
                return Self::lost(io.kind().to_string());
            }
            source = cause.source();
        }
        if error.is_closed() {
            return Self::lost("the connection was closed");
        }
        // The client's own words, which name its step and no data.
        let step = error.to_string();
        if step.starts_with("error serializing") || step.starts_with("error deserializing") {
            return Self::refused(step);
        }
        Self::lost(step)
    }
}

fn meaning(code: &SqlState) -> (Kind, Option<&'static str>) {
    use Kind::{Again, Lost, Refused};
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        return (Again, Some("the transaction kept losing against others"));
    }
    if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(code) {
        return (Again, Some("a statement took too long"));
    }
    match code.code() {
        "28P01" | "28000" => (Refused, Some("the user or the password was refused")),
        "3D000" => (Refused, Some("there is no such database")),
        "42501" => (Refused, Some("the database user lacks a right to it")),
        "25006" => (Lost, Some("the server only takes reads")),
        "53300" => (Lost, Some("the server has no connection to spare")),
        "53100" => (Refused, Some("the server's disk is full")),
        "57P01" | "57P02" => (Lost, Some("the server is shutting down")),
        "57P03" => (Lost, Some("the server is starting up or shutting down")),
        "25P03" => (Lost, Some("the transaction was left open for too long")),
        // Statement completion unknown: what takes the place of an answer on distributed engines.
        "40003" => (Lost, Some("the server does not know the outcome")),
        code if code.starts_with("08") || code.starts_with("57P") => (Lost, Some("the connection failed")),
        code if code.starts_with("42") => {
            (Refused, Some("the schema is not what this version made, or the server does not speak its SQL"))
        }
        _ => (Refused, None),
    }
}
