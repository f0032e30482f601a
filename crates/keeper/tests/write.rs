//! Every change the protocol knows, and files. The pretend Keeper opens and checks all that is sent.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Bench;
use keeper::{
    Client, Error, Found, Record, Scope, Transaction, Upload, Vault,
    json::{Json, Style},
    server::Fault,
};
use model::SecretBytes;

fn compact(json: &Json) -> String {
    json.write(Style::Compact).expose_text().unwrap().to_owned()
}

fn found<'v>(vault: &'v Vault, uid: &str) -> &'v Record {
    let Found::Record(record) = vault.find(uid) else { panic!("{uid}") };
    record
}

async fn fetched(client: &Client) -> Vault {
    client.fetch(Scope::All).await.unwrap()
}

fn with_title(record: &Record, title: &str) -> Json {
    let mut body = record.json().clone();
    body.set("title", Json::text(title));
    body
}

const BODY: &str =
    r#"{"title":"old","type":"login","fields":[{"type":"login","value":["a"]}],"x-unknown":[1.50]}"#;

#[tokio::test]
async fn an_update_keeps_what_it_does_not_know_and_notices_other_writers() {
    let bench = Bench::new().await;
    let uid = bench.record(BODY);
    let client = bench.client();
    let vault = fetched(&client).await;
    let record = found(&vault, &uid);
    client.update(record, &with_title(record, "new"), Transaction::General).await.unwrap();
    assert_eq!(compact(&bench.server.record(&uid).unwrap()), BODY.replace("old", "new"));
    assert_eq!(bench.server.revision(&uid), Some(2));
    let late = client.update(record, &with_title(record, "late"), Transaction::General).await;
    assert!(matches!(late, Err(Error::Refused { status: 409, .. })));
    assert_eq!(compact(&bench.server.record(&uid).unwrap()), BODY.replace("old", "new"));
}

#[tokio::test]
async fn a_rotation_is_made_to_last_or_taken_back() {
    let bench = Bench::new().await;
    let uid = bench.record(BODY);
    let client = bench.client();
    for (keep, want) in [(false, "old"), (true, "new")] {
        let vault = fetched(&client).await;
        let record = found(&vault, &uid);
        client.update(record, &with_title(record, "new"), Transaction::Rotation).await.unwrap();
        assert!(compact(&bench.server.record(&uid).unwrap()).contains("\"new\""));
        if keep { client.finalize(&uid).await } else { client.rollback(&uid).await }.unwrap();
        assert_eq!(bench.server.record(&uid).unwrap().get("title").unwrap().as_text(), Some(want));
    }
    assert!(matches!(client.finalize(&uid).await, Err(Error::Refused { .. })), "none is under way");
}

#[tokio::test]
async fn what_may_only_be_read_is_not_written() {
    let bench = Bench::new().await;
    let uid = bench.server.add_record(BODY).unwrap();
    bench.server.share_record(bench.app, &uid, false);
    let client = bench.client();
    let vault = fetched(&client).await;
    let record = found(&vault, &uid);
    assert!(!record.is_editable());
    let refused = client.update(record, record.json(), Transaction::General).await;
    assert_eq!(refused, Err(Error::ReadOnly));
    assert_eq!(bench.server.calls("update_secret"), 0);
    assert_eq!(client.delete(std::slice::from_ref(&uid)).await.unwrap()[0].code, "access_denied");
}

#[tokio::test]
async fn records_are_created_in_folders_at_any_depth_and_deleted() {
    let bench = Bench::new().await;
    let root = bench.server.add_folder(None, "共有").unwrap();
    bench.server.share_folder(bench.app, &root, true);
    let client = bench.client();
    let folders = client.folders().await.unwrap();
    assert_eq!(folders.path(&root), ["共有"]);
    let middle = client.create_folder(&root, &folders, "middle").await.unwrap();
    let folders = client.folders().await.unwrap();
    let inner = client.create_folder(&middle, &folders, "inner").await.unwrap();
    let folders = client.folders().await.unwrap();
    assert_eq!(folders.path(&inner), ["共有", "middle", "inner"]);
    assert!(folders.is_within(&inner, &root) && !folders.is_within(&root, &inner));
    assert_eq!(bench.server.folder(&inner), Some(("inner".to_owned(), Some(middle.clone()))));

    let body = Json::parse(BODY).unwrap();
    let mut made = Vec::new();
    for folder in [&root, &middle, &inner] {
        let uid = client.create(folder, &folders, &body).await.unwrap();
        assert_eq!(bench.server.folders_of(&uid), std::slice::from_ref(folder));
        made.push(uid);
    }
    let vault = fetched(&client).await;
    for (uid, folder) in made.iter().zip([&root, &middle, &inner]) {
        let record = found(&vault, uid);
        assert_eq!(compact(record.json()), BODY);
        assert_eq!(record.places()[0].folder(), folder);
        assert_eq!(record.places()[0].shared_folder, root);
    }

    client.rename_folder(&inner, &folders, "renamed").await.unwrap();
    client.rename_folder(&root, &folders, "root").await.unwrap();
    assert_eq!(client.folders().await.unwrap().path(&inner), ["root", "middle", "renamed"]);

    let mut gone = made.clone();
    gone.push("AAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let deleted = client.delete(&gone).await.unwrap();
    assert_eq!(deleted.iter().map(|d| d.ok).collect::<Vec<_>>(), [true, true, true, false]);
    let refused = client.delete_folders(std::slice::from_ref(&middle), false).await.unwrap();
    assert_eq!(refused[0].code, "folder_not_empty");
    assert!(client.delete_folders(&[middle], true).await.unwrap()[0].ok);
    assert!(bench.server.folder(&inner).is_none());
    assert_eq!(client.folders().await.unwrap().list().len(), 1);
}

#[tokio::test]
async fn nothing_is_created_without_a_folder_or_the_owners_key() {
    let bench = Bench::new().await;
    let root = bench.server.add_folder(None, "root").unwrap();
    let below = bench.server.add_folder(Some(&root), "below").unwrap();
    bench.server.share_folder(bench.app, &root, true);
    let client = bench.client();
    let folders = client.folders().await.unwrap();
    let body = Json::parse(BODY).unwrap();
    assert_eq!(client.create("nosuch", &folders, &body).await, Err(Error::NoFolder));
    assert_eq!(client.create_folder("nosuch", &folders, "x").await, Err(Error::NoFolder));
    assert_eq!(client.rename_folder("nosuch", &folders, "x").await, Err(Error::NoFolder));
    bench.server.break_folder(&root);
    let folders = client.folders().await.unwrap();
    assert!(folders.list().is_empty());
    assert_eq!(folders.unreadable(), [root, below.clone()]);
    assert_eq!(client.create(&below, &folders, &body).await, Err(Error::NoFolder));
    for answer in [
        "[]",
        "{",
        r#"{"folders":[{"folderUid":"a","parent":"b"},{"folderUid":"b","parent":"a"},{"folderUid":"c","parent":"gone"}]}"#,
    ] {
        bench.server.fail("get_folders", Fault::Sealed(answer), 1);
        match client.folders().await {
            Ok(folders) => assert_eq!(folders.unreadable(), ["a", "b", "c"]),
            Err(error) => assert!(matches!(error, Error::Answer(_))),
        }
    }
}

#[tokio::test]
async fn files_go_up_and_come_down() {
    let bench = Bench::new().await;
    let uid = bench.record(BODY);
    let client = bench.client();
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let upload = Upload {
        name: "証明書.pem".to_owned(),
        title: "cert".to_owned(),
        kind: "application/x-pem-file".to_owned(),
        content: SecretBytes::new(content.clone()),
    };
    let mut files = Vec::new();
    for _ in 0..2 {
        let vault = fetched(&client).await;
        files.push(client.upload(found(&vault, &uid), &upload).await.unwrap());
    }
    let (meta, stored) = bench.server.file(&uid, &files[1]).unwrap();
    assert_eq!(
        compact(&meta),
        r#"{"name":"証明書.pem","size":100000,"title":"cert","lastModified":1700000000000,"type":"application/x-pem-file"}"#
    );
    assert_eq!(stored, content);
    let body = compact(&bench.server.record(&uid).unwrap());
    assert!(
        body.contains(&format!(r#"{{"type":"fileRef","value":["{}","{}"]}}"#, files[0], files[1])),
        "{body}"
    );

    let vault = fetched(&client).await;
    let record = found(&vault, &uid);
    let file = &record.files()[0];
    assert_eq!((file.name(), file.title(), file.size()), (Some("証明書.pem"), Some("cert"), Some(100_000)));
    // Opened to be compared: it is made up.
    assert_eq!(client.download(file).await.unwrap().expose(), content);
    for fault in [Fault::Status(503), Fault::LostAnswer] {
        bench.server.fail("file_download", fault, 2);
        assert_eq!(client.download(file).await.unwrap().len(), content.len());
    }
    bench.server.fail("file_download", Fault::Garbage, 1);
    assert!(matches!(client.download(file).await, Err(Error::Answer(_))));
    bench.server.fail("file_download", Fault::Status(404), 1);
    assert!(matches!(client.download(file).await, Err(Error::Refused { status: 404, .. })));
    bench.server.fail("file_upload", Fault::Status(503), 1);
    assert!(matches!(client.upload(record, &upload).await, Err(Error::Server { status: 503 })));

    let vault = fetched(&client).await;
    client.remove_files(found(&vault, &uid), &files[..1]).await.unwrap();
    assert!(!bench.server.files_of(&uid).contains(&files[0]));
    let body = compact(&bench.server.record(&uid).unwrap());
    assert!(!body.contains(&files[0]) && body.contains(&files[1]), "{body}");

    bench.server.tell_file_addresses(&uid, false);
    let vault = fetched(&client).await;
    let file = &found(&vault, &uid).files()[0];
    assert_eq!(client.download(file).await.unwrap_err(), Error::NoFileAddress);
    bench.server.break_files(&uid);
    let vault = fetched(&client).await;
    assert!(found(&vault, &uid).files().is_empty());
    assert_eq!(found(&vault, &uid).unreadable_files().len(), 2);
}

#[tokio::test]
async fn links_are_read_in_the_open_and_sealed() {
    let bench = Bench::new().await;
    let (uid, other) = (bench.record(BODY), bench.record("{}"));
    bench.server.link(&uid, &other, None, Some(r#"{"is_admin":true}"#), false).unwrap();
    bench.server.link(&uid, &uid, Some("ai_settings"), Some(r#"{"version":"v1.0.0"}"#), true).unwrap();
    bench.server.link(&uid, &other, None, None, false).unwrap();
    bench.server.link(&uid, &other, Some("meta"), Some("no object"), false).unwrap();
    let client = bench.client();
    assert_eq!(found(&fetched(&client).await, &uid).links().count(), 0);
    let vault = client.fetch_with_links(Scope::All).await.unwrap();
    let links: Vec<_> = found(&vault, &uid)
        .links()
        .map(|link| (link.record_uid().unwrap(), link.path(), link.data().map(|data| compact(&data))))
        .collect();
    assert_eq!(links[0], (other.as_str(), None, Some(r#"{"is_admin":true}"#.to_owned())));
    assert_eq!(links[1], (uid.as_str(), Some("ai_settings"), Some(r#"{"version":"v1.0.0"}"#.to_owned())));
    assert_eq!(links[2].2, None);
    assert_eq!(links[3].2, None);
}
