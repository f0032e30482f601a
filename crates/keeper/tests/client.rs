//! Our client against our pretend Keeper. That both are right is shown by `official.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::Bench;
use keeper::{
    Client, Error, Found, Options, Scope, Unread,
    config::{Host, OneTimeToken},
    notation::{Evaluation, FailureKind, Value, evaluate, parse},
    server::Fault,
};
use model::{SecretBytes, Timestamp};

fn titled(title: &str) -> String {
    format!(r#"{{"title":"{title}","type":"login","fields":[{{"type":"password","value":["{title} pw"]}}]}}"#)
}

/// The value a notation has in a fresh fetch, or the class of its failure.
async fn value(client: &Client, notation: &str) -> String {
    let notation = parse(notation).unwrap().notation;
    let vault = client.fetch_for([&notation]).await.unwrap();
    match evaluate(&notation, &vault) {
        Evaluation::Value(Value::Json(json), _) => json.as_text().unwrap().to_owned(),
        Evaluation::Value(Value::File(_), _) => "file".to_owned(),
        Evaluation::Empty => "empty".to_owned(),
        Evaluation::NotShared => "not shared".to_owned(),
        Evaluation::Failed(failure) => failure.kind.code().to_owned(),
    }
}

#[tokio::test]
async fn a_token_binds_once_and_the_configuration_works() {
    let bench = Bench::new().await;
    let uid = bench.record(&titled("one"));
    let (token, device) = bench.server.add_device(bench.app);
    let token = OneTimeToken::parse(&token, Some(&bench.server.host()))
        .unwrap()
        .with_server_key(&bench.server.server_key())
        .unwrap();
    let config = Client::bind(&token, bench.options(), bench.around()).await.unwrap();
    assert_eq!(config.client_id(), device.0);
    let client = bench.client_with(config.clone(), bench.options()).unwrap();
    let vault = client.fetch(Scope::All).await.unwrap();
    assert_eq!(vault.app_title.as_deref(), Some("Bench"));
    assert_eq!(vault.records()[0].uid(), uid);
    let again = Client::bind(&token, bench.options(), bench.around()).await;
    assert_eq!(again.unwrap_err(), Error::AccessDenied);
    // Through every form a configuration is kept in.
    let text = config.to_base64();
    let keeper::config::StoredConfig::Bound(read) =
        keeper::config::StoredConfig::parse(text.expose_text().unwrap()).unwrap()
    else {
        panic!()
    };
    let client = bench.client_with(read, bench.options()).unwrap();
    assert_eq!(value(&client, &format!("{uid}/field/password")).await, "one pw");
}

#[tokio::test]
async fn unknown_revoked_and_expired_devices_are_denied() {
    let bench = Bench::new().await;
    let stranger = SecretBytes::from(format!("US:{}", "A".repeat(43)));
    let stranger = OneTimeToken::parse(&stranger, None)
        .unwrap()
        .with_host(bench.server.host())
        .with_server_key(&bench.server.server_key())
        .unwrap();
    let denied = Client::bind(&stranger, bench.options(), bench.around()).await;
    assert_eq!(denied.unwrap_err(), Error::AccessDenied);
    let config = bench.config();
    let device = keeper::server::Device(config.client_id().to_owned());
    let client = bench.client_with(config, bench.options()).unwrap();
    bench.server.expire(&device, Timestamp::from_secs(1_700_000_100));
    assert_eq!(client.fetch(Scope::All).await.unwrap().expires_on, Some(1_700_000_100_000));
    bench.clock.advance(Duration::from_secs(100));
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::AccessDenied);
    let config = bench.config();
    let device = keeper::server::Device(config.client_id().to_owned());
    let client = bench.client_with(config, bench.options()).unwrap();
    client.fetch(Scope::All).await.unwrap();
    bench.server.revoke(&device);
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::AccessDenied);
    assert!(bench.waits.taken().is_empty(), "what is denied is not tried again");
}

#[tokio::test]
async fn one_connection_and_one_call_serve_many_notations() {
    let bench = Bench::new().await;
    let uids: Vec<String> = (0..20).map(|n| bench.record(&titled(&format!("r{n}")))).collect();
    let client = bench.client();
    let notations: Vec<_> =
        uids.iter().map(|uid| parse(&format!("{uid}/field/password")).unwrap().notation).collect();
    let vault = client.fetch_for(&notations).await.unwrap();
    assert!(matches!(vault.scope(), Scope::Only(asked) if asked.len() == 20));
    for notation in &notations {
        assert!(matches!(evaluate(notation, &vault), Evaluation::Value(..)));
    }
    assert_eq!(bench.server.calls("get_secret"), 1);
    for _ in 0..5 {
        client.fetch(Scope::All).await.unwrap();
    }
    assert_eq!((bench.server.calls("get_secret"), bench.server.connections()), (6, 1));
}

#[tokio::test]
async fn a_small_answer_that_does_not_settle_everything_is_followed_by_a_full_one() {
    let bench = Bench::new().await;
    let there = bench.record(&titled("there"));
    bench.record(r#"{"title":"abcdefghijklmnopqrstuv","type":"t","fields":[]}"#);
    let address = bench.record(r#"{"title":"a","fields":[{"type":"address","value":[{"city":"Kyoto"}]}]}"#);
    let linking =
        bench.record(&format!(r#"{{"title":"l","fields":[{{"type":"addressRef","value":["{address}"]}}]}}"#));
    let gone = bench.record(&titled("gone"));
    bench.server.unshare(bench.app, &gone);
    let client = bench.client();
    for (notation, want, calls) in [
        (format!("{there}/field/password"), "there pw", 1),
        ("abcdefghijklmnopqrstuv/type".to_owned(), "t", 2),
        (format!("{linking}/field/addressRef[city]"), "Kyoto", 2),
        (format!("{gone}/field/password"), "not shared", 2),
        ("there/field/password".to_owned(), "there pw", 1),
    ] {
        let before = bench.server.calls("get_secret");
        assert_eq!(value(&client, &notation).await, want, "{notation}");
        assert_eq!(bench.server.calls("get_secret") - before, calls, "{notation}");
    }
}

#[tokio::test]
async fn what_does_not_decrypt_is_neither_missing_nor_in_the_way() {
    let bench = Bench::new().await;
    let (good, bad, no_json) =
        (bench.record(&titled("good")), bench.record(&titled("bad")), bench.record("no json"));
    bench.server.break_record(&bad);
    let folder = bench.server.add_folder(None, "f").unwrap();
    let inside = bench.server.add_record(&titled("inside")).unwrap();
    bench.server.put_into(&inside, &folder);
    bench.server.share_folder(bench.app, &folder, false);
    bench.server.break_folder(&folder);
    let client = bench.client();
    let vault = client.fetch(Scope::All).await.unwrap();
    assert_eq!(vault.records().len(), 1);
    for (uid, why) in [(&bad, Unread::Content), (&no_json, Unread::Json), (&inside, Unread::FolderKey)] {
        assert!(matches!(vault.find(uid), Found::Unreadable(w) if w == why), "{why}");
        assert_eq!(value(&client, &format!("{uid}/field/password")).await, "unreadable_record");
    }
    assert_eq!(value(&client, "good/field/password").await, "good pw");
    assert_eq!(value(&client, &format!("{good}/field/password")).await, "good pw");
    let by_title = parse("bad/field/password").unwrap().notation;
    let Evaluation::Failed(failure) = evaluate(&by_title, &vault) else { panic!() };
    assert_eq!(failure.kind, FailureKind::NoRecord { unreadable: 3 });
    // In a folder that does not open and shared directly as well: readable after all.
    bench.server.share_record(bench.app, &inside, false);
    assert_eq!(value(&client, &format!("{inside}/field/password")).await, "inside pw");
}

#[tokio::test]
async fn an_answer_that_lists_nothing_proves_nothing() {
    let bench = Bench::new().await;
    let client = bench.client();
    let uid = bench.record(&titled("x"));
    bench.server.unshare(bench.app, &uid);
    let notation = format!("{uid}/field/password");
    assert_eq!(value(&client, &notation).await, "not shared");
    bench.server.fail("get_secret", Fault::Sealed(r#"{"appData":null}"#), 2);
    assert_eq!(value(&client, &notation).await, "not_fetched");
    for answer in ["", "null", "[]", "{", r#"{"records":{}}"#, r#"{"records":[{"recordUid":5}]}"#] {
        bench.server.fail("get_secret", Fault::Sealed(answer), 1);
        let error = client.fetch(Scope::All).await.unwrap_err();
        assert!(matches!(error, Error::Answer(_)), "{answer} {error}");
    }
    bench.server.fail("get_secret", Fault::Sealed(r#"{"records":[],"appData":"AAAA"}"#), 1);
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::ApplicationKey);
}

#[tokio::test]
async fn throttling_is_waited_out_within_bounds() {
    let bench = Bench::new().await;
    let client = bench.client();
    bench.server.fail("get_secret", Fault::Throttled(Some(3.0)), 1);
    bench.server.fail("get_secret", Fault::Throttled(None), 2);
    client.fetch(Scope::All).await.unwrap();
    let waits = bench.waits.taken();
    assert_eq!(waits.len(), 3);
    for (wait, about) in waits.iter().zip([3.0, 22.0, 44.0]) {
        assert!((about * 0.75..=about * 1.25).contains(&wait.as_secs_f64()), "{waits:?}");
    }
    bench.server.fail("get_secret", Fault::Throttled(None), 6);
    let error = client.fetch(Scope::All).await.unwrap_err();
    assert_eq!(error, Error::Throttled { retries: 5, retry_after: None });
    assert_eq!(bench.waits.taken().len(), 5);
    client.fetch(Scope::All).await.unwrap();
    bench.server.fail("get_secret", Fault::Throttled(Some(3600.0)), 1);
    let error = client.fetch(Scope::All).await.unwrap_err();
    assert_eq!(error, Error::Throttled { retries: 0, retry_after: Some(Duration::from_hours(1)) });
    assert!(bench.waits.taken().is_empty());
    // Only with 403: elsewhere the word means nothing.
    bench.server.fail("get_secret", Fault::Refuse(400, "throttled"), 1);
    let error = client.fetch(Scope::All).await.unwrap_err();
    assert_eq!(error, Error::Refused { status: 400, code: Some("throttled".to_owned()) });
}

#[tokio::test]
async fn failures_that_pass_are_tried_again_for_reads_and_not_for_writes() {
    let bench = Bench::new().await;
    let client = bench.client();
    for fault in [Fault::Status(502), Fault::Refuse(500, "throttled"), Fault::LostAnswer] {
        bench.server.fail("get_secret", fault.clone(), 3);
        client.fetch(Scope::All).await.unwrap();
        let waits = bench.waits.taken();
        assert_eq!(waits.len(), 3, "{fault:?}");
        assert!(waits[2] > waits[0] && waits[2] <= Duration::from_millis(2500), "{waits:?}");
    }
    bench.server.fail("get_secret", Fault::Status(503), 4);
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::Server { status: 503 });
    assert_eq!(bench.waits.taken().len(), 3);
    let uid = bench.record(&titled("x"));
    for fault in [Fault::Status(502), Fault::LostAnswer] {
        bench.server.fail("delete_secret", fault, 1);
        let before = bench.server.calls("delete_secret");
        assert!(client.delete(std::slice::from_ref(&uid)).await.is_err());
        assert_eq!(bench.server.calls("delete_secret"), before + 1);
    }
    assert!(bench.server.record(&uid).is_none(), "the lost answer was to a deletion that happened");
    bench.server.fail("get_secret", Fault::Garbage, 1);
    assert!(matches!(client.fetch(Scope::All).await.unwrap_err(), Error::Answer(_)));
}

#[tokio::test]
async fn another_server_key_is_taken_up_twice_at_most() {
    let bench = Bench::new().await;
    let config = bench.config();
    // A client with the old key and the new one in its table, and no key of its own configuration.
    let mut options = bench.options();
    options.server_keys.push(("10".to_owned(), bench.server.server_key()));
    bench.server.rotate_server_key("11").unwrap();
    options.server_keys.push(("11".to_owned(), bench.server.server_key()));
    let json = config.to_json();
    let json = json.expose_text().unwrap();
    let without_key: String =
        json.lines().filter(|line| !line.contains("\"serverPublicKey\"")).collect::<Vec<_>>().join("\n");
    let without_key = without_key.replace("AppOwner", "appOwner").replace(",\n}", "\n}");
    let keeper::config::StoredConfig::Bound(config) =
        keeper::config::StoredConfig::parse(&without_key).unwrap()
    else {
        panic!()
    };
    let client = bench.client_with(config.clone(), options.clone()).unwrap();
    assert_eq!(client.server_key_id(), "10");
    client.fetch(Scope::All).await.unwrap();
    assert_eq!(client.server_key_id(), "11");
    assert_eq!(bench.server.calls("get_secret"), 2);
    client.fetch(Scope::All).await.unwrap();
    assert_eq!(bench.server.calls("get_secret"), 3);
    let next = bench.client_with(config.with_server_key_id("11"), options).unwrap();
    next.fetch(Scope::All).await.unwrap();
    assert_eq!(bench.server.calls("get_secret"), 4);
    bench.server.rotate_server_key("77").unwrap();
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::UnknownServerKey { id: "77".to_owned() });
    // With a key of its own the client goes on with it under the new id, as the SDK does, and gives
    // up when Keeper is not content with that.
    let own = bench.client();
    bench.server.rotate_server_key("78").unwrap();
    let before = bench.server.calls("get_secret");
    let error = own.fetch(Scope::All).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
    assert_eq!(bench.server.calls("get_secret") - before, 2);
    bench.server.fail("get_secret", Fault::Refuse(401, "key"), 1);
    assert!(matches!(own.fetch(Scope::All).await.unwrap_err(), Error::Answer(_)));
    let before = bench.server.calls("get_secret");
    bench.server.fail("get_secret", Fault::AskForKey("11"), 9);
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::KeySwitches);
    assert_eq!(bench.server.calls("get_secret") - before, 3);
}

#[tokio::test]
async fn a_wrong_clock_is_told_apart_from_a_certificate_nobody_vouches_for() {
    let bench = Bench::new().await;
    let entropy = std::sync::Arc::new(model::SeededEntropy::new(3));
    let server = keeper::server::PretendKeeper::start_expired(entropy, bench.clock.clone()).await.unwrap();
    let app = server.add_app("Late").unwrap();
    let options = Options { extra_ca: Some(server.ca_pem().into()), ..Options::default() };
    let client = bench.client_with(server.add_bound_device(app).unwrap(), options).unwrap();
    let error = client.fetch(Scope::All).await.unwrap_err();
    assert_eq!(error, Error::CertificateTime { host: server.host().to_string() });
    assert!(error.to_string().contains("date and time of this machine"));
}

#[tokio::test]
async fn each_class_of_trouble_has_its_own_error() {
    let bench = Bench::new().await;
    let client = bench.client();
    bench.server.register_only("mr99.0.0");
    assert_eq!(client.fetch(Scope::All).await.unwrap_err(), Error::ClientVersion);
    let options = Options { client_version: "mr99.0.0".to_owned(), ..bench.options() };
    bench.client_with(bench.config(), options).unwrap().fetch(Scope::All).await.unwrap();

    let distrusting = bench.client_with(bench.config(), Options::default()).unwrap();
    let host = bench.server.host().to_string();
    assert_eq!(distrusting.fetch(Scope::All).await.unwrap_err(), Error::Certificate { host: host.clone() });
    let careless = Options { verify: false, ..Options::default() };
    bench.server.register_only("mp17.3.0");
    bench.client_with(bench.config(), careless).unwrap().fetch(Scope::All).await.unwrap();

    let hasty = Options { request_timeout: Duration::from_millis(200), ..bench.options() };
    let hasty = bench.client_with(bench.config(), hasty).unwrap();
    bench.server.fail("get_secret", Fault::Slow(Duration::from_secs(20)), 4);
    assert_eq!(hasty.fetch(Scope::All).await.unwrap_err(), Error::Timeout { host });

    let narrow = Options { largest_answer: 100, ..bench.options() };
    let narrow = bench.client_with(bench.config(), narrow).unwrap();
    assert_eq!(narrow.fetch(Scope::All).await.unwrap_err(), Error::Answer("is too large"));

    let nowhere = bench.config().with_host(Host::parse("127.0.0.1:1").unwrap());
    let nowhere = bench.client_with(nowhere, bench.options()).unwrap();
    let refused = nowhere.fetch(Scope::All).await.unwrap_err();
    assert_eq!(refused, Error::Connect { host: "127.0.0.1:1".to_owned() });

    let bad_ca = Options { extra_ca: Some(b"no certificate".to_vec()), ..Options::default() };
    assert!(matches!(bench.client_with(bench.config(), bad_ca), Err(Error::Setup(_))));
}

/// Allows a name while it is asked about, and not when it is connected to; and no other host.
struct Wavering(std::sync::Mutex<Vec<(String, u16)>>, &'static [(&'static str, u16)]);

#[async_trait::async_trait]
impl keeper::Guard for Wavering {
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<std::net::IpAddr>, keeper::NoAddress> {
        self.0.lock().unwrap().push((host.to_owned(), port));
        if host == "lost" {
            return Err(keeper::NoAddress::NotFound);
        }
        // 0: any but the usual one.
        let open =
            |(name, at): &(&str, u16)| *name == host && if *at == 0 { port != 443 } else { port == *at };
        if self.1.iter().any(open) {
            Ok(vec![[127, 0, 0, 1].into()])
        } else {
            Err(keeper::NoAddress::Blocked("not there".to_owned()))
        }
    }
}

#[tokio::test]
async fn a_guard_decides_about_names_when_they_are_connected_to_and_about_literals() {
    let bench = Bench::new().await;
    let port = bench.server.host().to_string().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let literal = format!("127.0.0.1:{port}");
    let name = format!("localhost:{port}");
    for (host, open, outcome, asked) in [
        (&name, &[("localhost", 0), ("localhost", 443)][..], None, vec![port, 443]),
        // It led elsewhere by the time it was connected to.
        (&name, &[("localhost", 0)], Some("blocked"), vec![port, 443]),
        (&name, &[], Some("blocked"), vec![port]),
        (&literal, &[], Some("blocked"), vec![port]),
        (&format!("lost:{port}"), &[], Some("connect"), vec![port; 4]),
        (&"lost".to_owned(), &[], Some("connect"), vec![443; 4]),
        (&"169.254.169.254".to_owned(), &[], Some("blocked"), vec![443]),
        (&format!("[::1]:{port}"), &[], Some("blocked"), vec![port]),
    ] {
        let guard = std::sync::Arc::new(Wavering(std::sync::Mutex::default(), open));
        let around = keeper::Around { guard: Some(guard.clone()), ..bench.around() };
        let config = bench.config().with_host(Host::parse(host).unwrap());
        let before = bench.server.calls("get_secret");
        let client = keeper::Client::new(config, bench.options(), around).unwrap();
        let error = client.fetch(Scope::All).await.err();
        assert_eq!(error.as_ref().map(Error::code), outcome, "{host} {open:?}: {error:?}");
        let ports: Vec<u16> = guard.0.lock().unwrap().iter().map(|(_, port)| *port).collect();
        assert_eq!(ports, asked, "{host} {open:?}");
        let made = bench.server.calls("get_secret") - before;
        assert_eq!(made, usize::from(outcome.is_none()), "{host} {open:?}");
    }
}

#[tokio::test]
async fn many_records_open_in_order() {
    let bench = Bench::new().await;
    let folder = bench.server.add_folder(None, "many").unwrap();
    bench.server.share_folder(bench.app, &folder, false);
    for n in 0..2000 {
        let uid = bench.server.add_record(&titled(&format!("record {n}"))).unwrap();
        bench.server.put_into(&uid, &folder);
    }
    let client = bench.client();
    let vault = client.fetch(Scope::All).await.unwrap();
    assert_eq!(vault.records().len(), 2000);
    let titles: Vec<_> = vault.records().iter().filter_map(|r| r.title()).collect();
    assert!(titles.iter().enumerate().all(|(n, title)| *title == format!("record {n}")), "in order");
}
