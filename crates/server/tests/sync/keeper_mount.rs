//! Mounts of type `keeper`: what a Keeper application may see, as KV v2, and delivered from there.

use std::sync::Arc;

use keeper::server::{Fault, PretendKeeper};
use model::{ManualClock, SeededEntropy, Timestamp};
use server::app::SyncSettings;

use super::*;

struct Setting {
    keeper: PretendKeeper,
    app: usize,
    bench: Bench,
    config: String,
}

impl Setting {
    /// A vault with two records in folders and one without, mounted at `k/` and polled once.
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let keeper = PretendKeeper::start(Arc::new(SeededEntropy::new(3)), clock).await.unwrap();
        let app = keeper.add_app("App").unwrap();
        let options =
            keeper::Options { extra_ca: Some(keeper.ca_pem().into()), ..keeper::Options::default() };
        let bench = Bench::made(SyncSettings::default(), options).await;
        let config = keeper.add_bound_device(app).unwrap();
        // Opened to be sent to the server: it is made up.
        let config = config.to_base64().expose_text().unwrap().to_owned();
        Self { keeper, app, bench, config }
    }

    async fn mounted() -> Self {
        let setting = Self::new().await;
        let root = setting.keeper.add_folder(None, "Production").unwrap();
        let below = setting.keeper.add_folder(Some(&root), "A/B").unwrap();
        setting.keeper.share_folder(setting.app, &root, false);
        for (title, folder) in [("Main DB", &root), ("本番", &below)] {
            let uid = setting.keeper.add_record(&login(title, title)).unwrap();
            setting.keeper.put_into(&uid, folder);
        }
        setting.record("API", "first");
        setting.mount().await.ok();
        setting.poll().await;
        setting
    }

    async fn mount(&self) -> Reply {
        let options = json!({"ksm_config": self.config, "interval": "10s",
            "allowed_ipv4_addresses": "127.0.0.0/8", "allowed_ports": self.port()});
        self.bench.post("sys/mounts/k", json!({"type": "keeper", "options": options})).await
    }

    fn port(&self) -> String {
        self.keeper.host().to_string().rsplit(':').next().unwrap().to_owned()
    }

    /// The mount's options, as they are shown.
    fn shown(&self) -> Value {
        json!({"version": "2", "interval": "10s", "allowed_ipv4_addresses": "127.0.0.0/8",
            "allowed_ports": self.port()})
    }

    fn record(&self, title: &str, password: &str) -> String {
        let uid = self.keeper.add_record(&login(title, password)).unwrap();
        self.keeper.share_record(self.app, &uid, false);
        uid
    }

    /// Lets the interval pass, and polls.
    async fn poll(&self) {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
        self.bench.app.do_polls().await;
    }

    async fn read(&self, path: &str) -> Value {
        self.bench.get(&format!("k/data/{path}")).await.data()
    }

    async fn status(&self, path: &str) -> u16 {
        self.bench.get(&format!("k/data/{path}")).await.status
    }

    /// What the destination holds under the only name there is.
    async fn delivered(&self) -> Option<String> {
        for _ in 0..200 {
            if self.bench.statuses(DESTINATION).await.iter().all(|status| !status.ends_with("SYNCING")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let names = self.bench.space().names();
        names.first().and_then(|name| self.bench.value(name))
    }
}

fn login(title: &str, password: &str) -> String {
    json!({"title": title, "type": "login", "fields": [{"type": "password", "value": [password]}]})
        .to_string()
}

#[tokio::test]
async fn records_are_secrets_under_their_folders_and_titles() {
    let setting = Setting::mounted().await;
    let bench = &setting.bench;
    assert_eq!(bench.list("k/metadata").await.data()["keys"], json!(["API", "Production/"]));
    assert_eq!(bench.list("k/metadata/Production").await.data()["keys"], json!(["A_B/", "Main DB"]));
    let read = setting.read("Production/Main%20DB").await;
    assert_eq!(read["data"], json!({"password": "Main DB"}));
    assert_eq!(read["metadata"]["version"], 1);
    assert_eq!(read["metadata"]["custom_metadata"]["keeper_revision"], "1");
    assert_eq!(setting.read("Production/A_B/%E6%9C%AC%E7%95%AA").await["data"], json!({"password": "本番"}));
    let mount = bench.get("sys/mounts/k").await.data();
    assert_eq!(mount["type"], "keeper");
    assert_eq!(mount["options"], setting.shown());
    assert!(mount["accessor"].as_str().unwrap().starts_with("keeper_"));
    for path in ["sys/mounts", "sys/mounts/k/tune", "k/config"] {
        bench.get(path).await.ok();
    }
    assert!(!bench.everything_said().contains(&setting.config[..40]), "the configuration is not shown");
    let config = bench.get("k/config").await.data();
    assert_eq!((&config["records"], &config["last_error"]), (&json!(3), &Value::Null));
}

#[tokio::test]
async fn one_call_per_interval_and_only_changes_are_written() {
    let setting = Setting::mounted().await;
    let uid = setting.record("New", "1");
    setting.poll().await;
    assert_eq!((setting.keeper.calls("get_secret"), setting.keeper.calls("get_folders")), (2, 1));
    setting.bench.app.do_polls().await;
    assert_eq!(setting.keeper.calls("get_secret"), 2, "not before its time");
    setting.keeper.set_record(&uid, &login("Renamed", "2")).unwrap();
    setting.poll().await;
    let read = setting.read("New").await;
    assert_eq!(read["data"], json!({"password": "2"}), "the path stays when the title changes");
    assert_eq!(read["metadata"]["version"], 2);
    assert_eq!(read["metadata"]["custom_metadata"]["keeper_title"], "Renamed");
    assert_eq!(setting.read("API").await["metadata"]["version"], 1);
    // A second record of a title goes by its UID.
    let twin = setting.record("API", "twin");
    setting.poll().await;
    assert_eq!(setting.read(&twin).await["data"], json!({"password": "twin"}));
    assert_eq!(setting.read("API").await["data"], json!({"password": "first"}));
}

#[tokio::test]
async fn it_is_read_only_and_says_so() {
    let setting = Setting::mounted().await;
    for (method, path, body) in [
        ("POST", "k/data/API", SECRET),
        ("PUT", "k/data/other", SECRET),
        ("PATCH", "k/data/API", SECRET),
        ("DELETE", "k/data/API", ""),
        ("POST", "k/delete/API", r#"{"versions":[1]}"#),
        ("POST", "k/destroy/API", r#"{"versions":[1]}"#),
        ("POST", "k/undelete/API", r#"{"versions":[1]}"#),
        ("DELETE", "k/metadata/API", ""),
        ("POST", "k/metadata/API", "{}"),
        ("POST", "k/config", r#"{"max_versions":1}"#),
    ] {
        let reply = setting.bench.raw(method, path, body).await;
        assert_eq!(reply.status, 400, "{method} {path}");
        assert!(reply.text().contains("read-only"), "{method} {path}: {reply:?}");
    }
    assert_eq!(setting.read("API").await["metadata"]["version"], 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_mount_is_said() {
    let setting = Setting::new().await;
    for (options, said) in [
        (json!({}), "options.ksm_config"),
        (json!({"ksm_config": "rubbish"}), "options.ksm_config"),
        (json!({"ksm_config": setting.config, "interval": "1s"}), "options.interval"),
        (json!({"ksm_config": setting.config, "allowed_ports": "all"}), "options.allowed_ports"),
    ] {
        let reply = setting.bench.post("sys/mounts/k", json!({"type": "keeper", "options": options})).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(said), "{said}: {reply:?}");
    }
    setting.mount().await.ok();
    assert_eq!(setting.mount().await.status, 400, "the path is taken");
    setting.poll().await;
    assert_eq!(setting.keeper.calls("get_secret"), 1);
}

#[tokio::test]
async fn keeper_is_connected_to_where_the_guard_of_addresses_allows_it_and_nowhere_else() {
    let setting = Setting::new().await;
    let bench = &setting.bench;
    setting.record("API", "first");
    let failed = async || bench.get("k/config").await.data()["last_error"].as_str().unwrap_or("").to_owned();
    let options = json!({"ksm_config": setting.config, "interval": "10s"});
    bench.post("sys/mounts/k", json!({"type": "keeper", "options": options})).await.ok();
    // One after the other what is missing; what is opened holds at once.
    for (options, said) in [
        (json!({}), "allowed_ports"),
        (json!({"allowed_ports": setting.port()}), "allowed_ipv4_addresses"),
        (json!({"allowed_ports": setting.port(), "allowed_ipv4_addresses": "10.0.0.0/8"}), "is not public"),
    ] {
        bench.post("sys/mounts/k/tune", json!({ "options": options })).await.ok();
        setting.poll().await;
        let error = failed().await;
        assert!(error.contains("is not connected to") && error.contains(said), "{error}");
    }
    assert_eq!(setting.keeper.calls("get_secret"), 0);
    let options = json!({"allowed_ports": setting.port(), "allowed_ipv4_addresses": "127.0.0.0/8"});
    bench.post("sys/mounts/k/tune", json!({ "options": options })).await.ok();
    setting.poll().await;
    assert_eq!((failed().await, setting.keeper.calls("get_secret")), (String::new(), 1));
    assert_eq!(setting.read("API").await["data"], json!({"password": "first"}));

    // The machine's metadata service is no Keeper, however wide the range.
    let config = setting.keeper.add_bound_device(setting.app).unwrap();
    let host = keeper::config::Host::parse("169.254.169.254").unwrap();
    let config = config.with_host(host).to_base64().expose_text().unwrap().to_owned();
    let options = json!({"ksm_config": config, "allowed_ipv4_addresses": "169.254.0.0/16"});
    bench.post("sys/mounts/k/tune", json!({ "options": options })).await.ok();
    setting.poll().await;
    let error = failed().await;
    assert!(error.contains("169.254.169.254 is not connected to"), "{error}");
    assert!(error.contains("a range does not open it"), "{error}");
    assert_eq!(setting.read("API").await["data"], json!({"password": "first"}), "what is there stays");
}

/// Unknown is never absent: whatever a poll meets, what was delivered stays.
#[tokio::test]
async fn it_is_delivered_from_and_nothing_goes_without_proof() {
    let setting = Setting::mounted().await;
    let bench = &setting.bench;
    let uid = setting.record("Delivered", "one");
    setting.poll().await;
    bench.post(DESTINATION, json!({})).await.ok();
    let source = json!({"mount": "k", "secret_name": "Delivered"});
    bench.post(&format!("{DESTINATION}/associations/set"), source).await.ok();
    assert_eq!(setting.delivered().await.as_deref(), Some(r#"{"password":"one"}"#));
    setting.keeper.set_record(&uid, &login("Delivered", "two")).unwrap();
    setting.poll().await;
    assert_eq!(setting.delivered().await.as_deref(), Some(r#"{"password":"two"}"#));
    for fault in
        [Fault::Refuse(403, "access_denied"), Fault::Garbage, Fault::Sealed("{}"), Fault::Sealed("[]")]
    {
        setting.keeper.fail("get_secret", fault.clone(), 1);
        setting.poll().await;
        let config = bench.get("k/config").await.data();
        assert!(config["last_error"].is_string(), "{fault:?}: {config}");
        assert_eq!(setting.delivered().await.as_deref(), Some(r#"{"password":"two"}"#), "{fault:?}");
        assert_eq!(setting.status("Delivered").await, 200, "{fault:?}");
        // The next poll is put off further each time; a good one makes up for it.
        for _ in 0..10 {
            setting.poll().await;
        }
        assert_eq!(bench.get("k/config").await.data()["last_error"], Value::Null);
    }
    setting.keeper.break_record(&uid);
    setting.poll().await;
    assert_eq!(bench.get("k/config").await.data()["unreadable_records"], 1);
    assert_eq!(setting.delivered().await.as_deref(), Some(r#"{"password":"two"}"#));
    // Now it is gone for certain, and comes back.
    setting.keeper.set_record(&uid, &login("Delivered", "three")).unwrap();
    setting.poll().await;
    setting.keeper.unshare(setting.app, &uid);
    setting.poll().await;
    assert_eq!(setting.status("Delivered").await, 404);
    assert_eq!(setting.delivered().await, None);
    setting.keeper.share_record(setting.app, &uid, false);
    setting.poll().await;
    assert_eq!(setting.delivered().await.as_deref(), Some(r#"{"password":"three"}"#));
}

#[tokio::test]
async fn tuning_takes_another_configuration_and_disabling_forgets_it() {
    let setting = Setting::mounted().await;
    let bench = &setting.bench;
    let other = setting.keeper.add_app("Other").unwrap();
    let uid = setting.keeper.add_record(&login("Theirs", "x")).unwrap();
    setting.keeper.share_record(other, &uid, false);
    let config = setting.keeper.add_bound_device(other).unwrap();
    let config = config.to_base64().expose_text().unwrap().to_owned();
    bench.post("sys/mounts/k/tune", json!({"options": {"ksm_config": config}})).await.ok();
    // At once, without waiting for the interval.
    bench.app.do_polls().await;
    assert_eq!(setting.read("Theirs").await["data"], json!({"password": "x"}));
    assert_eq!(setting.status("API").await, 404, "another application does not share it");
    assert_eq!(bench.get("sys/mounts/k").await.data()["options"], setting.shown());
    bench.raw("DELETE", "sys/mounts/k", "").await.ok();
    bench.app.do_chores().await.unwrap();
    let before = setting.keeper.calls("get_secret");
    setting.poll().await;
    assert_eq!(setting.keeper.calls("get_secret"), before);
}
