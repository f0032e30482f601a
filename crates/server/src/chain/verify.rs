//! Checks files of a chain, without the server or its store.

use std::io::{self, BufRead};

use super::record::{MISSING, OPENED, Record};

/// What whoever checks knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The public key of the chain, as `sys/audit-chain` shows it. Without it the key is the one that the
    /// files name themselves.
    pub key: Option<String>,
    /// Number and hash of a record, as `sys/audit-chain` showed them some time. Without it nobody can tell
    /// whether the end was cut off.
    pub head: Option<(u64, String)>,
}

/// Files in which everything is as it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The first one's number; what came before is not in these files.
    pub first: u64,
    /// The last one's number and hash.
    pub last: (u64, String),
    /// The key they are signed with.
    pub key: String,
}

/// What was found first.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// In a line.
    #[error("{file}:{line}: {what}")]
    Line {
        /// As it was named.
        file: String,
        /// From 1.
        line: usize,
        /// In our words.
        what: String,
    },
    /// In all of them together.
    #[error("{0}")]
    Whole(String),
    /// A file cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Read(String, String),
}

/// Checks files, the oldest first, each with the name it is to have in faults.
///
/// # Errors
/// The first fault there is.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = (String, R)>,
    known: &Known,
) -> Result<Verified, Fault> {
    let mut walk = Walk { known, key: known.key.clone(), first: None, last: None, records: 0, met: false };
    for (file, mut reader) in files {
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            let read = read.map_err(|error: io::Error| Fault::Read(file.clone(), error.to_string()))?;
            if read == 0 {
                break;
            }
            number += 1;
            let begins = number == 1;
            let whole = line.strip_suffix(b"\n").ok_or_else(|| "it is cut short".to_owned());
            whole.and_then(|line| walk.take(line, begins)).map_err(|what| Fault::Line {
                file: file.clone(),
                line: number,
                what,
            })?;
        }
    }
    walk.end()
}

struct Walk<'k> {
    known: &'k Known,
    key: Option<String>,
    first: Option<u64>,
    last: Option<(u64, String)>,
    records: u64,
    /// The head that is known was come by.
    met: bool,
}

impl Walk<'_> {
    fn take(&mut self, line: &[u8], begins: bool) -> Result<(), String> {
        let record = Record::read(line)?;
        let told = &record.told;
        if begins && told.event != OPENED {
            return Err(format!(
                "a file begins with a record that opens it, and this is record {}: what preceded it is missing",
                told.seq
            ));
        }
        let named = told.key.as_deref().filter(|_| told.event == OPENED);
        if self.key.is_none() {
            self.key = named.map(str::to_owned);
        }
        let key = self.key.as_deref().ok_or("no record before it says with which key it is signed")?;
        if named.is_some_and(|named| named != key) || !record.is_by(key) {
            return Err(format!("record {} is not signed with the key of this chain", told.seq));
        }
        if let Some((last, hash)) = &self.last {
            if told.seq <= *last {
                return Err(format!(
                    "record {} comes after record {last}: out of order or doubled",
                    told.seq
                ));
            }
            if told.seq > last + 1 {
                return Err(format!("records {} to {} are missing before it", last + 1, told.seq - 1));
            }
            if told.prev != *hash {
                return Err(format!(
                    "record {} does not follow the record {last} that is before it",
                    told.seq
                ));
            }
        }
        if told.event == MISSING {
            return Err(format!(
                "record {}: when the server started, records before it were missing or others than it had written",
                told.seq
            ));
        }
        if let Some((seq, hash)) = &self.known.head
            && *seq == told.seq
        {
            if *hash != record.hash {
                return Err(format!("record {seq} is another than the head that is known"));
            }
            self.met = true;
        }
        self.records += 1;
        self.first.get_or_insert(told.seq);
        self.last = Some((told.seq, record.hash));
        Ok(())
    }

    fn end(self) -> Result<Verified, Fault> {
        let whole = |text: &str| Fault::Whole(text.to_owned());
        let (Some(first), Some(last), Some(key)) = (self.first, self.last, self.key) else {
            return Err(whole("there is no record in these files"));
        };
        match &self.known.head {
            Some((seq, _)) if *seq > last.0 => {
                let missing = last.0 + 1;
                return Err(Fault::Whole(format!("the end is missing: records {missing} to {seq}")));
            }
            Some((seq, _)) if !self.met => {
                return Err(Fault::Whole(format!(
                    "record {seq}, the head that is known, is not in these files"
                )));
            }
            _ => {}
        }
        Ok(Verified { records: self.records, first, last, key })
    }
}
