//! The behaviours. Each gets a place of its own.

use std::collections::BTreeMap;

use destinations::{
    Case, Encoding, Expect, Fault, Held, Mark, Present, PutOutcome, Remote, Remove, Retry, fakes::Trouble,
};
use futures_util::future::BoxFuture;
use model::{AssociationId, Blame, RemoteName, SecretBytes, StoreId};
use serde_json::json;

use crate::{
    bench::{Bench, Call, Need, Writing, mark, present, remove},
    watch::{CANARY, fault},
};

/// One behaviour.
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(Bench) -> BoxFuture<'static, ()>,
}

macro_rules! behaviours {
    ($($name:ident: $($need:ident)*;)*) => {
        pub(crate) const ALL: &[Behaviour] = &[$(Behaviour {
            name: stringify!($name),
            needs: &[$(Need::$need),*],
            run: |bench| Box::pin($name(bench)),
        }),*];
    };
}

behaviours! {
    what_is_put_is_there: Holds;
    an_update_replaces_the_value: Holds;
    putting_twice_changes_nothing: Marks Versions;
    removing_takes_it_away: Holds;
    removing_what_is_not_there_succeeds: Holds;
    a_strangers_entry_is_called_so_and_left_alone: Holds;
    another_stores_entry_is_not_ours: Marks;
    another_epoch_is_not_ours: Marks;
    a_strangers_entry_can_be_taken_over: Holds;
    a_lost_first_write_is_found_again: Marks Troubles;
    a_lost_first_write_is_written_over_by_the_next: Marks Troubles;
    a_lost_update_is_done_again: Marks Troubles Handles;
    a_lost_removal_is_done_again: Holds Troubles;
    going_back_to_an_old_value_ends_there: Holds;
    a_write_made_before_becomes_current_again: Marks Writes Versions Recovery;
    what_is_being_deleted_is_restored: Marks Recovery;
    an_update_restores_what_is_being_deleted: Marks Recovery Handles;
    a_strangers_entry_being_deleted_is_left_alone: Marks Recovery;
    removing_what_is_being_deleted_succeeds: Marks Recovery;
    a_strangers_entry_is_not_removed: Marks;
    a_replaced_entry_is_not_removed: Marks Handles;
    a_replaced_entry_is_not_written_to: Marks Handles;
    an_entry_that_is_gone_is_made_again: Holds;
    an_entry_without_handle_is_proved_by_its_mark: Marks;
    an_order_removes_anything: Holds;
    the_largest_value_is_taken_and_a_larger_one_refused: Holds;
    empty_values_are_taken: Empty Holds;
    empty_values_are_refused: NoEmpty Holds;
    every_character_a_name_may_have_is_taken: Holds;
    names_that_cannot_be_are_refused: ;
    text_comes_out_as_it_went_in: Holds;
    bytes_come_out_as_they_went_in: Binary Marks;
    settings_are_carried_to_what_is_there: Marks Tags Versions;
    custom_tags_are_there_from_the_start: Marks Tags;
    ownership_is_checked_each_time_when_asked: Marks Handles;
    looking_tells_which_write_is_there: Marks Writes;
    many_are_looked_at_in_order: Holds;
    many_are_read_in_order: Marks Reads;
    bytes_are_read_back: Marks Reads Binary;
    what_is_being_deleted_is_not_read: Marks Reads Recovery;
    wrong_credentials_are_the_operators: Credentials;
    a_throttle_is_the_providers_and_passes: Holds Troubles;
    an_outage_is_the_providers_and_passes: Holds Troubles;
    a_silent_service_is_given_up_on: Holds Troubles;
    a_broken_connection_leaves_a_write_uncertain: Holds Troubles;
    no_call_is_made_that_is_not_needed: Marks Calls Handles;
    a_put_that_is_repeated_by_many_at_once_is_one: Marks;
}

/// It bears our mark, where there are marks; where there are none the caller's ledger is the proof.
fn is_ours(bench: &Bench, there: &Present) -> bool {
    match &there.mark {
        Some(there) => there.same_owner(&mark(1)),
        None => !bench.abilities().marks,
    }
}

async fn what_is_put_is_there(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    assert_eq!(destination.look(&name).await, Ok(Remote::Absent));
    let receipt = Writing::new(&name, "first", 1).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"first");
    let there = present(&destination, &name).await;
    assert!(is_ours(&bench, &there));
    assert_eq!(there.handle, receipt.handle);
    assert!(!there.vaults && !there.recoverable && !there.unreadable && !there.managed_by_provider);
}

async fn an_update_replaces_the_value(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "first", 1).written(&destination).await;
    let again = Writing::ours(&name, "second", 2, receipt.handle.as_deref()).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"second");
    assert_eq!(again.handle, receipt.handle);
    if bench.abilities().marks {
        assert_ne!(again.revision, receipt.revision);
    }
    assert!(is_ours(&bench, &present(&destination, &name).await));
}

async fn putting_twice_changes_nothing(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let first = Writing::new(&name, "v", 1).written(&destination).await;
    let second = Writing::new(&name, "v", 1).written(&destination).await;
    let third = Writing::ours(&name, "v", 1, first.handle.as_deref()).written(&destination).await;
    assert_eq!((&first, &first), (&second, &third));
    assert_eq!(bench.back.versions(name.as_str()).await, 1);
}

async fn removing_takes_it_away(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "v", 1).written(&destination).await;
    remove(&destination, &name, receipt.handle.as_deref()).await.unwrap();
    assert_eq!(bench.value("a").await, None);
    match destination.look(&name).await.unwrap() {
        Remote::Absent => {}
        Remote::Present(there) => assert!(there.recoverable),
        Remote::CannotTell => panic!("cannot tell"),
    }
}

async fn removing_what_is_not_there_succeeds(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    remove(&destination, &name, None).await.unwrap();
    let receipt = Writing::new(&name, "v", 1).written(&destination).await;
    bench.back.take_away(name.as_str()).await;
    remove(&destination, &name, receipt.handle.as_deref()).await.unwrap();
    remove(&destination, &name, None).await.unwrap();
}

async fn a_strangers_entry_is_called_so_and_left_alone(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.plant(name.as_str(), "theirs").await;
    assert_eq!(present(&destination, &name).await.mark, None);
    let there = Writing::new(&name, "ours", 1).taken(&destination).await;
    assert_eq!(there.mark, None);
    assert!(!there.unreadable);
    assert_eq!(bench.value("a").await.unwrap(), b"theirs");
}

async fn is_anothers(bench: Bench, theirs: Mark) {
    let (destination, name) = (bench.open(), bench.name("a"));
    Writing { mark: theirs.clone(), ..Writing::new(&name, "theirs", 1) }.written(&destination).await;
    let there = Writing::new(&name, "ours", 2).taken(&destination).await;
    assert!(there.mark.as_ref().unwrap().same_owner(&theirs));
    let there = Writing::ours(&name, "ours", 2, None).taken(&destination).await;
    assert!(there.mark.unwrap().same_owner(&theirs));
    assert_eq!(remove(&destination, &name, None).await.unwrap_err().code, "ownership_lost");
    assert_eq!(bench.value("a").await.unwrap(), b"theirs");
}

async fn another_stores_entry_is_not_ours(bench: Bench) {
    is_anothers(bench, Mark { store: StoreId::from_bytes([9; 16]), ..mark(1) }).await;
}

async fn another_epoch_is_not_ours(bench: Bench) {
    is_anothers(bench, Mark { epoch: 2, ..mark(1) }).await;
}

async fn a_strangers_entry_can_be_taken_over(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.plant(name.as_str(), "theirs").await;
    let take = Writing { expect: Expect::Anything, ..Writing::new(&name, "ours", 1) };
    let receipt = take.written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"ours");
    let there = present(&destination, &name).await;
    assert!(is_ours(&bench, &there));
    assert_eq!(there.handle, receipt.handle);
    // Where nothing is in the way it is a first write like any other.
    let free = bench.name("b");
    Writing { expect: Expect::Anything, ..Writing::new(&free, "ours", 1) }.written(&destination).await;
    assert_eq!(bench.value("b").await.unwrap(), b"ours");
}

async fn a_lost_first_write_is_found_again(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.trouble(Call::Create, vec![Trouble::LoseAnswer]);
    let lost = fault(Writing::new(&name, CANARY, 1).send(&destination).await);
    assert!(lost.ambiguous && lost.blame == Blame::External && lost.retry == Retry::Backoff, "{lost:?}");
    Writing::new(&name, CANARY, 1).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), CANARY.as_bytes());
    assert_eq!(bench.back.versions(name.as_str()).await, 1);
}

async fn a_lost_first_write_is_written_over_by_the_next(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.trouble(Call::Create, vec![Trouble::LoseAnswer]);
    fault(Writing::new(&name, "first", 1).send(&destination).await);
    Writing::new(&name, "second", 2).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"second");
}

async fn a_lost_update_is_done_again(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "first", 1).written(&destination).await;
    bench.back.trouble(Call::Update, vec![Trouble::LoseAnswer]);
    let handle = receipt.handle.as_deref();
    assert!(fault(Writing::ours(&name, "second", 2, handle).send(&destination).await).ambiguous);
    Writing::ours(&name, "second", 2, handle).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"second");
    assert_eq!(bench.back.versions(name.as_str()).await, 2);
}

async fn a_lost_removal_is_done_again(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "v", 1).written(&destination).await;
    bench.back.trouble(Call::Remove, vec![Trouble::LoseAnswer]);
    fault(remove(&destination, &name, receipt.handle.as_deref()).await);
    remove(&destination, &name, receipt.handle.as_deref()).await.unwrap();
    assert_eq!(bench.value("a").await, None);
}

async fn going_back_to_an_old_value_ends_there(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "A", 1).written(&destination).await;
    for (value, write) in [("B", 2), ("A", 3)] {
        Writing::ours(&name, value, write, receipt.handle.as_deref()).written(&destination).await;
        assert_eq!(bench.value("a").await.unwrap(), value.as_bytes());
    }
}

/// A late repetition of a write is also a repetition after another one.
async fn a_write_made_before_becomes_current_again(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "A", 1).written(&destination).await;
    let handle = receipt.handle.as_deref();
    Writing::ours(&name, "B", 2, handle).written(&destination).await;
    Writing::ours(&name, "A", 1, handle).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"A");
    assert_eq!(present(&destination, &name).await.mark.unwrap().write, mark(1).write);
}

async fn what_is_being_deleted_is_restored(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "old", 1).written(&destination).await;
    remove(&destination, &name, receipt.handle.as_deref()).await.unwrap();
    assert_eq!(bench.value("a").await, None);
    let again = Writing::new(&name, "new", 2).written(&destination).await;
    assert_eq!(again.handle, receipt.handle);
    assert_eq!(bench.value("a").await.unwrap(), b"new");
    assert!(!present(&destination, &name).await.recoverable);
}

async fn an_update_restores_what_is_being_deleted(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "old", 1).written(&destination).await;
    bench.back.schedule_deletion(name.as_str()).await;
    Writing::ours(&name, "new", 2, receipt.handle.as_deref()).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"new");
}

async fn a_strangers_entry_being_deleted_is_left_alone(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.plant(name.as_str(), "theirs").await;
    bench.back.schedule_deletion(name.as_str()).await;
    let there = Writing::new(&name, "ours", 1).taken(&destination).await;
    assert!(there.recoverable && there.mark.is_none());
    assert_eq!(bench.value("a").await, None);
}

async fn removing_what_is_being_deleted_succeeds(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "v", 1).written(&destination).await;
    bench.back.schedule_deletion(name.as_str()).await;
    remove(&destination, &name, receipt.handle.as_deref()).await.unwrap();
    remove(&destination, &name, None).await.unwrap();
}

async fn a_strangers_entry_is_not_removed(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.plant(name.as_str(), "theirs").await;
    let refused = fault(remove(&destination, &name, None).await);
    assert_eq!((refused.code, refused.blame), ("ownership_lost", Blame::Client));
    assert_eq!(bench.value("a").await.unwrap(), b"theirs");
}

async fn a_replaced_entry_is_not_removed(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "ours", 1).written(&destination).await;
    bench.back.plant(name.as_str(), "theirs").await;
    // Ours is gone, which is what was wanted; or the other one is noticed. It stays either way.
    match remove(&destination, &name, receipt.handle.as_deref()).await {
        Ok(()) => {}
        Err(refused) => assert_eq!(refused.code, "ownership_lost"),
    }
    assert_eq!(bench.value("a").await.unwrap(), b"theirs");
}

async fn a_replaced_entry_is_not_written_to(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "ours", 1).written(&destination).await;
    bench.back.plant(name.as_str(), "theirs").await;
    let there = Writing::ours(&name, "ours", 2, receipt.handle.as_deref()).taken(&destination).await;
    assert_eq!(there.mark, None);
    assert_eq!(bench.value("a").await.unwrap(), b"theirs");
}

async fn an_entry_that_is_gone_is_made_again(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let receipt = Writing::new(&name, "old", 1).written(&destination).await;
    bench.back.take_away(name.as_str()).await;
    let again = Writing::ours(&name, "new", 2, receipt.handle.as_deref()).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"new");
    assert_eq!(present(&destination, &name).await.handle, again.handle);
}

async fn an_entry_without_handle_is_proved_by_its_mark(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    Writing::new(&name, "old", 1).written(&destination).await;
    Writing::ours(&name, "new", 2, None).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"new");
    let other = bench.name("b");
    bench.back.plant(other.as_str(), "theirs").await;
    Writing::ours(&other, "ours", 2, None).taken(&destination).await;
    assert_eq!(bench.value("b").await.unwrap(), b"theirs");
}

async fn an_order_removes_anything(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.plant(name.as_str(), "theirs").await;
    destination.remove(&Remove { name: &name, handle: None, owner: None }).await.unwrap();
    assert_eq!(bench.value("a").await, None);
}

async fn the_largest_value_is_taken_and_a_larger_one_refused(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let largest = bench.abilities().max_value_bytes;
    let value = |len: usize| format!("{CANARY}{}", "x".repeat(len - CANARY.len()));
    let refused = fault(Writing::new(&name, &value(largest + 1), 1).send(&destination).await);
    assert_eq!((refused.code, refused.blame), ("value_too_large", Blame::Client));
    assert_eq!(bench.value("a").await, None);
    Writing::new(&name, &value(largest), 1).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap().len(), largest);
}

async fn empty_values_are_taken(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    assert!(bench.abilities().empty_values);
    Writing::new(&name, "", 1).written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), b"");
}

async fn empty_values_are_refused(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    assert!(!bench.abilities().empty_values);
    let refused = fault(Writing::new(&name, "", 1).send(&destination).await);
    assert_eq!((refused.code, refused.blame), ("value_empty", Blame::Client));
}

async fn every_character_a_name_may_have_is_taken(bench: Bench) {
    let destination = bench.open();
    let rule = &bench.abilities().names;
    let all: String =
        (' '..='\u{17f}').chain(['\u{3042}', '\u{1f511}']).filter(|c| (rule.allows)(*c)).collect();
    let name = bench.name(&all);
    let kept = if rule.case == Case::Upper { all.to_ascii_uppercase() } else { all.clone() };
    assert!(name.as_str().ends_with(&kept), "nothing had to be replaced");
    Writing::new(&name, "v", 1).written(&destination).await;
    assert_eq!(bench.back.value(name.as_str()).await.unwrap(), b"v");
    let longest = format!("{}{}", bench.prefix, "n".repeat(rule.max_len - bench.prefix.len()));
    let longest = bench.kind.remote_name(&longest).unwrap();
    Writing::new(&longest, "v", 1).written(&destination).await;
    assert_eq!(bench.back.value(longest.as_str()).await.unwrap(), b"v");
    remove(&destination, &longest, None).await.unwrap();
}

async fn names_that_cannot_be_are_refused(bench: Bench) {
    let rule = &bench.abilities().names;
    for bad in [String::new(), "n".repeat(rule.max_len + 1)] {
        let refused = fault(bench.kind.remote_name(&bad));
        assert_eq!((refused.code, refused.blame), ("illegal_name", Blame::Client));
    }
}

async fn text_comes_out_as_it_went_in(bench: Bench) {
    let destination = bench.open();
    let odd = "\u{0}\u{1}\"\\/\n\r\t\u{7f}\u{2028}é環🔑{}\u{feff}";
    for (n, value) in ["x", " x ", odd, r#"{"a":"b"}"#, "null"].into_iter().enumerate() {
        let name = bench.name(&format!("n{n}"));
        Writing::new(&name, value, 1).written(&destination).await;
        assert_eq!(bench.back.value(name.as_str()).await.unwrap(), value.as_bytes());
    }
}

async fn bytes_come_out_as_they_went_in(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let value: Vec<u8> = (0..=255).collect();
    let put = Writing {
        value: SecretBytes::new(value.clone()),
        encoding: Encoding::Binary,
        ..Writing::new(&name, "", 1)
    };
    put.written(&destination).await;
    assert_eq!(bench.value("a").await.unwrap(), value);
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn custom_tags_are_there_from_the_start(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let put = Writing { tags: tags(&[("team", "a b"), ("cost:centre", "")]), ..Writing::new(&name, "v", 1) };
    put.written(&destination).await;
    let there = bench.back.tags(name.as_str()).await;
    assert_eq!(there.get("team"), Some(&bench.back.kept("a b")));
    assert_eq!(there.get(&bench.back.kept("cost:centre")).map(String::as_str), Some(""));
}

async fn settings_are_carried_to_what_is_there(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let first = Writing { tags: tags(&[("team", "a"), ("old", "x")]), ..Writing::new(&name, "v", 1) };
    let receipt = first.written(&destination).await;
    let carry = Writing {
        tags: tags(&[("team", "b"), ("new", "y")]),
        value_changed: false,
        settings_changed: Some(vec!["old".to_owned()]),
        ..Writing::ours(&name, "v", 1, receipt.handle.as_deref())
    };
    carry.written(&destination).await;
    let there = bench.back.tags(name.as_str()).await;
    assert_eq!(there.get("team").map(String::as_str), Some("b"));
    assert_eq!(there.get("new").map(String::as_str), Some("y"));
    assert_eq!(there.get("old"), None);
    assert_eq!(bench.back.versions(name.as_str()).await, 1);
    assert_eq!(bench.value("a").await.unwrap(), b"v");
    assert!(present(&destination, &name).await.mark.unwrap().same_owner(&mark(1)));
}

async fn ownership_is_checked_each_time_when_asked(bench: Bench) {
    let (usual, name) = (bench.open(), bench.name("a"));
    let wary = bench.open_adding(json!({"ownership_check": "always"}));
    let receipt = Writing::new(&name, "first", 1).written(&wary).await;
    let handle = receipt.handle.as_deref();
    Writing::ours(&name, "second", 2, handle).written(&wary).await;
    // Someone makes it theirs: only the mark says so.
    let theirs = Mark { association: AssociationId::from_bytes([7; 16]), ..mark(3) };
    let take = Writing { mark: theirs, expect: Expect::Anything, ..Writing::new(&name, "theirs", 3) };
    take.written(&usual).await;
    if bench.kind.slug() != "in-mem" {
        Writing::ours(&name, "third", 4, handle).taken(&wary).await;
        assert_eq!(bench.value("a").await.unwrap(), b"theirs");
    }
}

async fn looking_tells_which_write_is_there(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let first = Writing::new(&name, "first", 1).written(&destination).await;
    let there = present(&destination, &name).await;
    assert_eq!(there.mark.unwrap().write, mark(1).write);
    assert_eq!(there.revision, first.revision);
    Writing::ours(&name, "second", 2, first.handle.as_deref()).written(&destination).await;
    assert_eq!(present(&destination, &name).await.mark.unwrap().write, mark(2).write);
}

async fn many_are_looked_at_in_order(bench: Bench) {
    let destination = bench.open();
    for count in [0, 1, 7, 14] {
        let names: Vec<RemoteName> = (0..count).map(|n| bench.name(&format!("{count}-{n}"))).collect();
        for (n, name) in names.iter().enumerate() {
            if n % 3 != 0 {
                Writing::new(name, "v", 1).written(&destination).await;
            }
        }
        let seen = destination.look_many(&names).await;
        assert_eq!(seen.len(), count);
        for (n, seen) in seen.into_iter().enumerate() {
            match seen.unwrap() {
                Remote::Absent => assert!(n % 3 == 0, "{n} of {count}"),
                Remote::Present(there) => {
                    assert!(n % 3 != 0 && is_ours(&bench, &there), "{n} of {count}");
                }
                Remote::CannotTell => panic!("cannot tell"),
            }
        }
    }
}

async fn many_are_read_in_order(bench: Bench) {
    let destination = bench.open();
    let odd = "\u{1}\"\\/\n\r\té環🔑 ";
    for count in [0, 1, 2, 23] {
        let names: Vec<RemoteName> = (0..count).map(|n| bench.name(&format!("{count}-{n}"))).collect();
        for (n, name) in names.iter().enumerate() {
            if n % 3 != 1 {
                Writing::new(name, &format!("{n}{odd}"), 1).written(&destination).await;
            }
        }
        let read = destination.read_many(&names).await;
        assert_eq!(read.len(), count);
        for (n, read) in read.into_iter().enumerate() {
            match read.unwrap() {
                Held::Nothing => assert!(n % 3 == 1, "{n} of {count}"),
                Held::Value(value, encoding) => {
                    assert_eq!(value.expose_text().unwrap(), format!("{n}{odd}"));
                    assert_eq!(encoding, Encoding::Text);
                }
            }
        }
    }
}

async fn bytes_are_read_back(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let bytes: Vec<u8> = (0..=255).collect();
    let put = Writing {
        value: SecretBytes::new(bytes.clone()),
        encoding: Encoding::Binary,
        ..Writing::new(&name, "", 1)
    };
    put.written(&destination).await;
    let read = destination.read_many(&[name]).await.pop().unwrap().unwrap();
    assert!(matches!(read, Held::Value(value, Encoding::Binary) if value.expose() == bytes));
}

async fn what_is_being_deleted_is_not_read(bench: Bench) {
    let destination = bench.open();
    let names = [bench.name("a"), bench.name("b")];
    for name in &names {
        Writing::new(name, "v", 1).written(&destination).await;
    }
    bench.back.schedule_deletion(names[0].as_str()).await;
    let read = destination.read_many(&names).await;
    assert!(matches!(read.as_slice(), [Ok(Held::Nothing), Ok(Held::Value(..))]), "{read:?}");
    let read = destination.read_many(&names[..1]).await;
    assert!(matches!(read.as_slice(), [Ok(Held::Nothing)]), "{read:?}");
}

async fn wrong_credentials_are_the_operators(bench: Bench) {
    let destination = bench.open_with(&bench.wrong, destinations::NetSettings::default());
    let name = bench.name("a");
    let put = fault(Writing::new(&name, CANARY, 1).send(&destination).await);
    let look = fault(destination.look(&name).await);
    let remove = fault(remove(&destination, &name, Some("arn:aws:x")).await);
    for refused in [put, look, remove] {
        assert_eq!((refused.code, refused.blame), ("credentials_rejected", Blame::Client), "{refused:?}");
        assert_eq!((refused.retry, refused.ambiguous), (Retry::Slowly, false));
    }
}

/// Each call fails as told, repeats nothing, and works the next time.
async fn passes(bench: Bench, trouble: Trouble, expected: fn(&Fault) -> bool) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.trouble(Call::Create, vec![trouble.clone()]);
    let refused = fault(Writing::new(&name, CANARY, 1).send(&destination).await);
    assert!(expected(&refused), "{refused:?}");
    wait_out(&refused).await;
    let receipt = Writing::new(&name, CANARY, 1).written(&destination).await;
    let handle = receipt.handle.as_deref();

    bench.back.trouble(Call::Update, vec![trouble.clone()]);
    let changed = format!("{CANARY} changed");
    let refused = fault(Writing::ours(&name, &changed, 2, handle).send(&destination).await);
    assert!(expected(&refused), "{refused:?}");
    wait_out(&refused).await;
    Writing::ours(&name, &changed, 2, handle).written(&destination).await;

    bench.back.trouble(Call::Look, vec![trouble.clone()]);
    let refused = fault(destination.look(&name).await);
    assert!(expected(&refused), "{refused:?}");
    wait_out(&refused).await;
    assert!(is_ours(&bench, &present(&destination, &name).await));

    bench.back.trouble(Call::Remove, vec![trouble]);
    let refused = fault(remove(&destination, &name, handle).await);
    assert!(expected(&refused), "{refused:?}");
    wait_out(&refused).await;
    remove(&destination, &name, handle).await.unwrap();
}

/// Lets the time pass that the service asked for.
async fn wait_out(refused: &Fault) {
    if let Retry::After(wait) = refused.retry {
        tokio::time::pause();
        tokio::time::advance(wait).await;
        tokio::time::resume();
    }
}

async fn a_throttle_is_the_providers_and_passes(bench: Bench) {
    passes(bench, Trouble::Refuse("ThrottlingException", 400), |refused| {
        (refused.code, refused.blame) == ("throttled", Blame::External)
            && matches!(refused.retry, Retry::Backoff | Retry::After(_))
            && !refused.ambiguous
    })
    .await;
}

async fn an_outage_is_the_providers_and_passes(bench: Bench) {
    passes(bench, Trouble::Garbage("<html>502 CANARY-FROM-REMOTE</html>", 502), |refused| {
        (refused.code, refused.blame, refused.retry) == ("provider_down", Blame::External, Retry::Backoff)
    })
    .await;
}

async fn a_silent_service_is_given_up_on(bench: Bench) {
    let (destination, name) = (bench.open_hasty(), bench.name("a"));
    bench.back.trouble(Call::Create, vec![Trouble::Hang]);
    let refused = fault(Writing::new(&name, CANARY, 1).send(&destination).await);
    assert_eq!((refused.code, refused.blame, refused.ambiguous), ("timeout", Blame::External, true));
    Writing::new(&name, CANARY, 1).written(&destination).await;
}

async fn a_broken_connection_leaves_a_write_uncertain(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    bench.back.trouble(Call::Create, vec![Trouble::Break]);
    let refused = fault(Writing::new(&name, CANARY, 1).send(&destination).await);
    assert_eq!((refused.code, refused.blame, refused.ambiguous), ("connection_lost", Blame::External, true));
    assert_eq!(bench.value("a").await, None);
    Writing::new(&name, CANARY, 1).written(&destination).await;
}

async fn no_call_is_made_that_is_not_needed(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let (makes, changes) = bench.back.costs();
    bench.back.calls();
    let mut receipt = Writing::new(&name, "first", 1).written(&destination).await;
    assert_eq!(bench.back.calls(), makes);
    for write in 2..5 {
        let put = Writing::after(&name, &format!("v{write}"), write, &receipt);
        receipt = put.written(&destination).await;
        assert_eq!(bench.back.calls(), changes);
    }
}

async fn a_put_that_is_repeated_by_many_at_once_is_one(bench: Bench) {
    let (destination, name) = (bench.open(), bench.name("a"));
    let writes = (0..8).map(|_| {
        let (destination, name) = (&destination, &name);
        async move { Writing::new(name, "v", 1).send(destination).await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(PutOutcome::Written(_)))), "{outcomes:?}");
    assert_eq!(bench.value("a").await.unwrap(), b"v");
}
