//! A process that is killed in the middle of committing: what it was told is done is there
//! afterwards.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use store::{Backend, Batch, Embedded, EmbeddedOptions, Write};
use tempfile::TempDir;

/// The argument that makes this program the one to be killed.
pub(crate) const VICTIM: &str = "--commit-until-killed";
const WRITERS: u64 = 8;

/// Commits for ever and prints what is done.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn victim(file: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let store = Arc::new(Embedded::open(Path::new(file), EmbeddedOptions::default()).unwrap());
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut number = value(&store, b'a', writer).await;
                loop {
                    number += 1;
                    let writes = [b'a', b'b'].map(|half| {
                        // Of changing size, so that pages are split and joined.
                        let padding = vec![0; usize::try_from(number * 37 % 3000).unwrap()];
                        Write::Put(key(half, writer), [number.to_be_bytes().as_slice(), &padding].concat())
                    });
                    store.commit(Batch { checks: vec![], writes: writes.to_vec() }).await.unwrap();
                    println!("{writer} {number}");
                    std::io::stdout().flush().unwrap();
                }
            });
        }
        tasks.join_next().await;
    });
}

fn key(half: u8, writer: u64) -> Vec<u8> {
    [&[half][..], &writer.to_be_bytes()].concat()
}

async fn value(store: &Embedded, half: u8, writer: u64) -> u64 {
    let entry = store.get(&key(half, writer)).await.unwrap();
    entry.map_or(0, |entry| u64::from_be_bytes(entry.value[..8].try_into().unwrap()))
}

pub(crate) fn what_a_killed_process_was_told_is_done_is_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("store");
    drop(Embedded::create(&file, EmbeddedOptions::default()).unwrap());
    for round in 1..=6 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([VICTIM, file.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = HashMap::new();
        let mut lines = 0;
        for line in BufReader::new(victim.stdout.take().unwrap()).split(b'\n') {
            // The last line may be cut off, which makes it say less.
            let line = String::from_utf8(line.unwrap()).unwrap();
            let Some((writer, number)) = line.split_once(' ').filter(|(_, number)| !number.is_empty()) else {
                continue;
            };
            told.insert(writer.parse::<u64>().unwrap(), number.parse::<u64>().unwrap());
            lines += 1;
            if lines == round * 70 {
                victim.kill().unwrap();
            }
        }
        victim.wait().unwrap();
        assert!(lines >= round * 70, "it ended by itself after {lines} commits");
        let store = Embedded::open(&file, EmbeddedOptions::default()).unwrap();
        runtime.block_on(async {
            for writer in 0..WRITERS {
                let (a, b) = (value(&store, b'a', writer).await, value(&store, b'b', writer).await);
                assert_eq!(a, b, "half a commit");
                let told = told.get(&writer).copied().unwrap_or(0);
                assert!(a >= told, "writer {writer} was told {told}, and {a} is there");
            }
        });
    }
}
