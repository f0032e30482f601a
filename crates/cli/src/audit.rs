//! `keyferry audit verify`: checks the chain of sync events without a server.

use std::{fs::File, io::BufReader};

use server::chain::{Fault, Known, verify as check};

use crate::{args::AuditVerifyArgs, failure::Failure, printer};

/// Says what the files hold, or what is wrong with them first.
pub(crate) fn verify(args: &AuditVerifyArgs) -> Result<(), Failure> {
    let digits = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = match &args.key {
        Some(key) if !digits(key) => {
            return Err(Failure::wrong("--key: want a public key of 64 hexadecimal digits"));
        }
        key => key.as_ref().map(|key| key.to_ascii_lowercase()),
    };
    let head = match &args.head {
        None => None,
        Some(head) => {
            let parts = head.split_once(':').and_then(|(number, hash)| Some((number.parse().ok()?, hash)));
            match parts {
                Some((number, hash)) if digits(hash) => Some((number, hash.to_ascii_lowercase())),
                _ => return Err(Failure::wrong("--head: want a number, a colon and 64 hexadecimal digits")),
            }
        }
    };
    let known = Known { key, head };
    let mut files = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let file =
            File::open(path).map_err(|error| Failure::wrong(format!("{name}: cannot be read: {error}")))?;
        files.push((name, BufReader::new(file)));
    }
    let count = files.len();
    let found = check(files, &known).map_err(|fault| match fault {
        Fault::Read(..) => Failure::wrong(fault),
        fault => Failure::failed(fault),
    })?;
    let (last, hash) = &found.last;
    printer::data(format_args!(
        "OK: {} records in {count} file(s), {} to {last}, signed by {}",
        found.records, found.first, found.key
    ));
    printer::data(format_args!("head: {last}:{hash}"));
    if known.key.is_none() {
        printer::talk("the key is the one that the files name; pass --key to be sure whose it is");
    }
    if known.head.is_none() {
        printer::talk("whether records after the last one were cut off can only be told with --head");
    }
    if found.first > 1 {
        printer::talk(format_args!("records 1 to {} are not in these files", found.first - 1));
    }
    Ok(())
}
