//! Our mark as the comment of a variable (decisions 6a). It is sent with the value, so it costs no call,
//! and it says which write a record holds.

use model::{AssociationId, StoreId};

use crate::{Mark, WriteId};

/// For whoever reads it in Vercel's dashboard.
const FOREWORD: &str = "Written by keyferry. Changes made here are overwritten.";

/// Begins the last word of the comment. The digit is the form of what follows.
const TAG: &str = "keyferry:1:";

/// The comment a record is to have: about 240 characters. (Vercel takes 500 UNSURE.)
pub(super) fn comment(mark: &Mark) -> String {
    let write = mark.write.map(WriteId::to_hex).unwrap_or_default();
    let Mark { store, epoch, association, version, .. } = mark;
    format!("{FOREWORD} {TAG}{store}:{epoch}:{association}:{version}:{write}")
}

/// The mark in a comment, if there is one. Words that a person put before it do no harm.
pub(super) fn read(comment: &str) -> Option<Mark> {
    let mut parts = comment.split_whitespace().next_back()?.strip_prefix(TAG)?.split(':');
    let store = StoreId::from_bytes(id(parts.next()?)?);
    let epoch = parts.next()?.parse().ok()?;
    let association = AssociationId::from_bytes(id(parts.next()?)?);
    let version = parts.next()?.parse().ok()?;
    let write = WriteId::parse(parts.next()?);
    parts.next().is_none().then_some(Mark { store, epoch, association, version, write })
}

fn id(hex: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(hex, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Mark {
        Mark {
            store: StoreId::from_bytes([0xfe; 16]),
            epoch: u32::MAX,
            association: AssociationId::from_bytes([2; 16]),
            version: u64::MAX,
            write: Some(WriteId([9; 32])),
        }
    }

    #[test]
    fn a_mark_is_read_back_and_fits() {
        let comment = comment(&sample());
        assert!(comment.len() <= 256, "{}", comment.len());
        assert_eq!(read(&comment), Some(sample()));
        assert_eq!(read(&format!("Ask Ann first.\n{comment}\n")), Some(sample()));
    }

    #[test]
    fn what_is_not_whole_is_no_mark() {
        let comment = comment(&sample());
        for bad in [
            "",
            "keyferry",
            "keyferry:1:",
            "Written by keyferry. Changes made here are overwritten.",
            &comment[..comment.len() - 66],
            &format!("{comment}:more"),
            &format!("{comment} and more"),
            &comment.replace("keyferry:1:fe", "keyferry:1:xx"),
            &comment.replace("keyferry:1:", "keyferry:2:"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        // Which write it was is the least of it.
        let unsure = comment.replace(&WriteId([9; 32]).to_hex(), "x");
        assert_eq!(read(&unsure), Some(Mark { write: None, ..sample() }));
    }

    proptest! {
        #[test]
        fn no_comment_makes_it_panic(comment in ".{0,40}|keyferry:1:[0-9a-f:]{0,120}") {
            let _ = read(&comment);
        }
    }
}
