//! Wrong use ends with 2 before anything is fetched; credentials that do not do end with 1 before
//! anything is written.

use crate::{Sync, everywhere, password};

#[test]
fn every_mistake_is_told_before_anything_is_fetched() {
    let sync = Sync::new();
    let ran = sync
        .bench
        .run(&[
            "sync",
            "-t",
            "aws",
            "-m",
            "bad name",
            "x/field/login",
            "-m",
            "a",
            "x/bogus",
            "-m",
            "b",
            "x/field/login[0",
            "-m",
            "twice",
            "x/title",
            "-m",
            "twice",
            "y/title",
            "-m",
            "both",
            "x/title",
            "-m",
            "both+k",
            "x/title",
            "-r",
            "DB",
            "-px",
            "keeper",
        ])
        .ended(2);
    for said in [
        "--credentials: give the UID",
        "--map bad name: a name at AWS",
        "--map a: ",
        "^^^^^ expected one of",
        "--map b: ",
        "--map twice: this key is given twice",
        "--map both+k: this name is given both plainly and with a JSON key",
        "--prefix: must end in a separator",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    assert_eq!(ran.out, "");
    assert_eq!(sync.bench.keeper.calls("get_secret"), 0);
}

#[test]
fn wrong_use_ends_with_two() {
    let sync = Sync::new();
    let c = sync.credentials.as_str();
    for arguments in [
        vec!["sync"],
        vec!["sync", "-t", "aws", "-c", c],
        vec!["sync", "-t", "nowhere", "-m", "a", "x/title"],
        vec!["sync", "-m", "a"],
        vec!["sync", "-m", "a", "x/title", "--bogus"],
        vec!["sync", "-m", "a", "x/title", "-zz"],
        vec!["sync", "-t", "aws", "-c", "not a uid", "-m", "a", "x/title"],
        vec!["sync", "-t", "azure", "-c", c, "-m", "a_b", "x/title"],
        vec!["sync", "-t", "gcp", "-c", c, "-m", "a+b", "x/title"],
        vec!["sync", "-t", "azure", "-c", c, "-m", "Key", "x/title", "-m", "KEY", "x/title"],
        vec!["sync", "-m", "a", ""],
    ] {
        let ran = sync.bench.run(&arguments).ended(2);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert_ne!(ran.err, "", "{arguments:?}");
    }
    assert_eq!(sync.bench.keeper.calls("get_secret"), 0);
}

#[test]
fn credentials_that_lack_something_name_it() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    let map = password(&uid);
    for (word, labels) in [
        ("aws", vec!["AWS Access Key ID", "AWS Secret Access Key", "AWS Region Name"]),
        ("azure", vec!["Azure Key Vault Name", "Azure Tenant ID", "Azure Client ID", "Azure Client Secret"]),
        ("gcp", vec!["Google Cloud Project ID"]),
    ] {
        if !destinations::kinds().iter().any(|kind| kind.slug().starts_with(word)) {
            continue;
        }
        let ran = sync.bench.run(&["sync", "-t", word, "-c", &uid, "-m", "a", &map]).ended(1);
        assert_eq!(ran.out, "");
        for label in labels {
            assert!(ran.err.contains(label), "{label}: {}", ran.err);
        }
    }
    for (credentials, said) in [
        ("AAAAAAAAAAAAAAAAAAAAAA", "is it shared with the application?"),
        (uid.as_str(), "holds no destination's credentials"),
    ] {
        let ran = sync.bench.run(&["sync", "-c", credentials, "-m", "a", &map]).ended(1);
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    let ran =
        sync.bench.run(&["sync", "-t", "aws", "-c", "AAAAAAAAAAAAAAAAAAAAAA", "-m", "a", &map]).ended(1);
    assert!(ran.err.contains("is it shared"), "{}", ran.err);
    sync.bench.keeper.break_record(&sync.credentials);
    let ran = sync.run(&["-m", "a", &map]).ended(1);
    assert!(ran.err.contains("does not decrypt"), "{}", ran.err);
    assert_eq!(sync.cloud.calls().all, 0);
}

#[test]
fn a_region_that_is_none_is_named_by_its_label() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    let body = sync.cloud.credentials().replace(crate::clouds::REGION, "no region!");
    sync.bench.keeper.set_record(&sync.credentials, &body).unwrap();
    let ran = sync.run(&["-m", "a", &password(&uid)]).ended(1);
    assert!(ran.err.contains("AWS Region Name must be a region"), "{}", ran.err);
    assert!(!ran.err.contains("no region!"), "input is not repeated: {}", ran.err);
}

#[test]
fn credentials_the_cloud_does_not_take_fail_every_entry_and_change_nothing() {
    everywhere(|sync| {
        sync.bench.keeper.set_record(&sync.credentials, &sync.cloud.wrong_credentials()).unwrap();
        let uid = sync.bench.login("DB", "pw");
        let map = password(&uid);
        let ran = sync.run(&["-m", "a", &map, "-m", "b", &map]).ended(1);
        assert_eq!(ran.json()["status"]["failed"], 2);
        assert!(ran.err.contains("does not accept the credentials"), "{}", ran.err);
        assert_eq!((sync.value("a"), sync.value("b")), (None, None));
        assert!(!ran.err.contains("CANARY"), "{}", ran.err);
    });
}
