//! After a secret has gone through the store and everything that held it is dropped, the memory of the
//! process does not hold it any more. Looks at the whole memory, so it is the only test of its program.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

use model::{
    DestinationId, DestinationKey, DestinationName, ManualClock, SecretBytes, SeededEntropy, Timestamp,
    Version,
};
use store::{
    Embedded, EmbeddedOptions, Node, RootKey, Store,
    records::{Destination, SecretVersion},
    root_key_file,
};
use tempfile::TempDir;
use zeroize::Zeroize;

const LENGTH: usize = 32;

/// The canary, byte by byte: as a whole it is nowhere but where the test puts it. `salt` makes several.
fn canary(salt: u8, at: usize) -> u8 {
    let at = u8::try_from(at).unwrap();
    at.wrapping_mul(167).wrapping_add(salt) ^ (at.wrapping_mul(59) >> 3) ^ 0x5a
}

fn canary_after(filler: usize, salt: u8) -> Vec<u8> {
    let mut bytes = vec![b'.'; filler + LENGTH];
    for at in 0..LENGTH {
        bytes[filler + at] = canary(salt, at);
    }
    bytes
}

fn hex_digit(salt: u8, at: usize) -> u8 {
    let byte = canary(salt, at / 2);
    let nibble = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// How often the bytes that `byte` gives are in this process's writable memory.
fn in_memory(length: usize, byte: impl Fn(usize) -> u8) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else { continue };
        if !access.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (mut from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        while from < to {
            memory.seek(SeekFrom::Start(from)).unwrap();
            let read = memory.read(&mut buffer[..usize::try_from((to - from).min(1 << 20)).unwrap()]);
            // Special mappings cannot be read.
            let Ok(read @ 1..) = read else { break };
            found += buffer[..read]
                .windows(length)
                .filter(|window| window[0] == byte(0) && (0..length).all(|at| window[at] == byte(at)))
                .count();
            buffer[..read].zeroize();
            from += read as u64;
            if from < to {
                // What lies across the edge is in the next piece.
                from -= length as u64 - 1;
            }
        }
    }
    found
}

fn found(salt: u8) -> usize {
    in_memory(LENGTH, |at| canary(salt, at))
}

#[test]
fn secrets_are_not_left_in_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let dir = TempDir::new().unwrap();
    let backend = Embedded::create(&dir.path().join("store"), EmbeddedOptions::default()).unwrap();
    let entropy = Arc::new(SeededEntropy::new(1));
    let clock = ManualClock::new(Timestamp::from_secs(1));
    let root = RootKey::random(entropy.as_ref());
    runtime.block_on(async {
        let store = Store::init(Arc::new(backend), &root, &clock, entropy).await.unwrap();

        // Small, larger than the usual buffer, and much larger.
        for (salt, filler) in [(1, 0), (2, 700), (3, 100_000)] {
            let record = SecretVersion { data: canary_after(filler, salt) };
            assert!(found(salt) > 0, "or else the search would find nothing at all");
            let key = store.keys().secret_version(Node([salt; 16]), Version(1));
            let mut transaction = store.transaction();
            transaction.put(&key, &record);
            drop(record);
            assert_eq!(found(salt), 0, "after sealing, {filler} before it");
            transaction.commit().await.unwrap();
            let read = store.get(&key).await.unwrap().unwrap();
            assert_eq!(read.record.data.len(), filler + LENGTH);
            drop(read);
            assert_eq!(found(salt), 0, "after opening, {filler} before it");
        }

        let salt = 4;
        let destination = Destination {
            id: DestinationId::from_bytes([1; 16]),
            key: DestinationKey { kind: "aws-sm".into(), name: DestinationName::parse("d").unwrap() },
            created: Timestamp::from_secs(1),
            generation: 1,
            config: canary_after(900, salt),
            purge: None,
            mass_delete_held: None,
            mass_delete_confirmed: None,
        };
        let key = store.keys().destination(&destination.key);
        let mut transaction = store.transaction();
        transaction.put(&key, &destination);
        drop(destination);
        transaction.commit().await.unwrap();
        drop(store.get(&key).await.unwrap().unwrap());
        assert_eq!(found(salt), 0, "a destination's credentials");
    });

    let salt = 5;
    let path = dir.path().join("root.key");
    let key = RootKey::from_bytes(SecretBytes::new(canary_after(0, salt))).unwrap();
    root_key_file::create(&path, &key).unwrap();
    drop(key);
    let key = root_key_file::read(&path).unwrap();
    assert_eq!(key.expose().len(), LENGTH);
    drop(key);
    assert_eq!(found(salt), 0, "a root key");
    assert_eq!(in_memory(2 * LENGTH, |at| hex_digit(salt, at)), 0, "a root key as text");
}
