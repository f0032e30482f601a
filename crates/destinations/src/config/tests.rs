use std::sync::Arc;

use model::json::SecretJson;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Abilities, Case, Destination, FieldFault, NameRule, Net, Shape, TagRule};

struct Sample;

const FIELDS: &[Field] = &[
    Field::new("key", Shape::Text, "").secret(),
    Field::new("region", Shape::Text, "").required().immutable(),
    Field::new("home", Shape::Url, ""),
    Field::new("days", Shape::Int { min: 0, max: 30 }, ""),
    Field::new("wait", Shape::Seconds { min: 1, max: 90 }, ""),
    Field::new("shout", Shape::Bool, ""),
    Field::new("mode", Shape::OneOf(&["one", "two"]), ""),
    Field::new("replicas", Shape::Map, "").per_secret(),
];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: "path",
    key_template: "key",
    names: NameRule {
        allows: |_| true,
        allowed: "anything",
        replacement: '_',
        max_len: 9,
        case: Case::Sensitive,
        also: |_| None,
    },
    max_value_bytes: 10,
    empty_values: true,
    marks: true,
    create_notices: true,
    custom_tags: Some(TagRule {
        max_tags: 3,
        max_key: 5,
        max_value: 5,
        key_allows: |c| c.is_ascii_alphanumeric(),
        value_allows: |c| c.is_ascii_alphanumeric(),
        allowed: "letters and digits",
        key_also: |key| key.starts_with("aws").then_some("must not begin with aws"),
    }),
    binary: true,
    batch: 1,
};

impl Kind for Sample {
    fn slug(&self) -> &'static str {
        "sample"
    }
    fn title(&self) -> &'static str {
        "Sample"
    }
    fn fields(&self) -> &'static [Field] {
        FIELDS
    }
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }
    fn open(&self, _: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Err(FieldFault::new("kind", "cannot be opened"))
    }
}

fn read(body: &Value, mode: Mode, previous: Option<&Config>) -> Result<Config, FieldFault> {
    Config::read(&Sample, &SecretJson::new(body.clone()), mode, previous).map(|(config, _)| config)
}

/// What a POST of these members, and of the required one, makes of them.
fn post(mut body: Value) -> Result<Value, FieldFault> {
    body["region"] = json!("here");
    let mut shown = read(&body, Mode::Replace, None)?.shown(&Sample);
    shown.remove("region");
    Ok(Value::Object(shown))
}

#[test]
fn every_shape_is_read_weakly_and_shown_in_its_own_type() {
    for (given, shown) in [
        (json!({"key": "s3cret"}), json!({"key": "*****"})),
        (json!({"key": 12}), json!({"key": "*****"})),
        (json!({"key": ""}), json!({})),
        (json!({"home": "https://a.example/x"}), json!({"home": "https://a.example/x"})),
        (json!({"home": ""}), json!({})),
        (json!({"days": "7"}), json!({"days": 7})),
        (json!({"days": 0}), json!({"days": 0})),
        (json!({"days": ""}), json!({})),
        (json!({"wait": "1m30s"}), json!({"wait": 90})),
        (json!({"wait": "60"}), json!({"wait": 60})),
        (json!({"wait": 60}), json!({"wait": 60})),
        (json!({"wait": " "}), json!({})),
        (json!({"shout": "true"}), json!({"shout": true})),
        (json!({"shout": 1}), json!({"shout": true})),
        (json!({"shout": false}), json!({})),
        (json!({"mode": "two"}), json!({"mode": "two"})),
        (json!({"replicas": {"a": "b", "c": 1}}), json!({"replicas": {"a": "b", "c": "1"}})),
        (json!({"replicas": ["a=b", "c=d=e"]}), json!({"replicas": {"a": "b", "c": "d=e"}})),
        (json!({"replicas": [{"a": "b"}, {"c": ""}]}), json!({"replicas": {"a": "b", "c": ""}})),
        (json!({"replicas": "a=b"}), json!({"replicas": {"a": "b"}})),
        (json!({"replicas": {}}), json!({})),
        (json!({"allowed_ports": "8080, 8443"}), json!({"allowed_ports": [8080, 8443]})),
        (json!({"allowed_ports": [8080, "8080"]}), json!({"allowed_ports": [8080, 8080]})),
        (json!({"allowed_ports": 1}), json!({"allowed_ports": [1]})),
        (json!({"allowed_ports": []}), json!({})),
        (
            json!({"allowed_ipv4_addresses": "10.0.0.0/8,127.0.0.1/32"}),
            json!({"allowed_ipv4_addresses": ["10.0.0.0/8", "127.0.0.1/32"]}),
        ),
        (
            json!({"allowed_ipv6_addresses": ["fd00::/8", ""]}),
            json!({"allowed_ipv6_addresses": ["fd00::/8"]}),
        ),
        (json!({"custom_tags": {"team": "a1"}}), json!({"custom_tags": {"team": "a1"}})),
        (json!({"home": null, "days": null}), json!({})),
        (json!({"tags_to_remove": ["x"], "purge": true}), json!({})),
    ] {
        assert_eq!(post(given.clone()), Ok(shown), "{given}");
    }
}

const SECONDS: &str = "must be 1 to 90 whole seconds, as a number or as text such as \"1h\"";

#[test]
fn what_cannot_be_accepted_is_named_with_the_rule_and_without_the_value() {
    for (given, field, problem) in [
        (json!({"key": {"a": "hunter2"}}), "key", "must be a text"),
        (json!({"home": "ftp://hunter2"}), "home", "must be an http or https URL with a host"),
        (json!({"home": "hunter2"}), "home", "must be an absolute URL such as https://service.example"),
        (json!({"home": "https://hunter2@a.b"}), "home", "must not hold a user name or password"),
        (json!({"home": "https://a.b/?hunter2"}), "home", "must not have a query (?) or fragment (#)"),
        (json!({"home": ["hunter2"]}), "home", "must be a text"),
        (json!({"days": 31}), "days", "must be a whole number in the range 0 to 30"),
        (json!({"days": 1.5}), "days", "must be a whole number in the range 0 to 30"),
        (json!({"days": true}), "days", "must be a whole number in the range 0 to 30"),
        (json!({"wait": "hunter2"}), "wait", SECONDS),
        (json!({"wait": "1500ms"}), "wait", SECONDS),
        (json!({"wait": 0}), "wait", SECONDS),
        (json!({"wait": i64::MAX}), "wait", SECONDS),
        (json!({"shout": "hunter2"}), "shout", "must be true or false"),
        (json!({"shout": 2}), "shout", "must be true or false"),
        (json!({"mode": "hunter2"}), "mode", "must be one of: one, two"),
        (json!({"replicas": "hunter2"}), "replicas", "must have the form key=value"),
        (json!({"replicas": ["a=b", "hunter2"]}), "replicas[1]", "must have the form key=value"),
        (json!({"replicas": {"a": ["hunter2"]}}), "replicas", "must map texts to texts"),
        (
            json!({"allowed_ports": [80, 0]}),
            "allowed_ports[1]",
            "must be a whole number in the range 1 to 65535",
        ),
        (
            json!({"allowed_ports": "80,65536"}),
            "allowed_ports[1]",
            "must be a whole number in the range 1 to 65535",
        ),
        (
            json!({"allowed_ipv4_addresses": ["10.0.0.0/8", "203.0.113.5"]}),
            "allowed_ipv4_addresses[1]",
            "must be an IPv4 range in CIDR notation such as 10.0.0.0/8",
        ),
        (
            json!({"allowed_ipv4_addresses": "fd00::/8"}),
            "allowed_ipv4_addresses[0]",
            "must be an IPv4 range in CIDR notation such as 10.0.0.0/8",
        ),
        (
            json!({"allowed_ipv6_addresses": "10.0.0.0/8"}),
            "allowed_ipv6_addresses[0]",
            "must be an IPv6 range in CIDR notation such as fd00::/8",
        ),
        (
            json!({"custom_tags": {"a b": "x"}}),
            "custom_tags[0]",
            "the key has a character that is not allowed; use letters and digits (tags sorted by key)",
        ),
        (
            json!({"custom_tags": {"a": "toolong"}}),
            "custom_tags[0]",
            "the value has 7 characters; allowed are 0 to 5 (tags sorted by key)",
        ),
        (
            json!({"custom_tags": {"a": "b", "aws1": "b"}}),
            "custom_tags[1]",
            "the key must not begin with aws (tags sorted by key)",
        ),
        (
            json!({"custom_tags": {"a": "", "b": "", "c": "", "d": ""}}),
            "custom_tags",
            "has 4 tags; the destination takes at most 3",
        ),
        (json!({"granularity": "key"}), "granularity", "must be one of: secret-path, secret-key"),
    ] {
        let fault = post(given.clone()).unwrap_err();
        assert_eq!((&*fault.field, &*fault.problem), (field, problem), "{given}");
        assert!(!fault.to_string().contains("hunter2"));
    }
    let fault = read(&json!({}), Mode::Replace, None).unwrap_err();
    assert_eq!(fault.to_string(), "region: is required");
    let fault = read(&json!([]), Mode::Replace, None).unwrap_err();
    assert_eq!(fault.to_string(), "body: must be a JSON object");
}

#[test]
fn a_post_replaces_everything_but_the_secrets_it_leaves_out() {
    let before = json!({"key": "s3cret", "region": "here", "days": 9, "custom_tags": {"a": "b"}});
    let before = read(&before, Mode::Replace, None).unwrap();
    let after = read(&json!({"region": "there"}), Mode::Replace, Some(&before)).unwrap();
    assert_eq!(Value::Object(after.shown(&Sample)), json!({"key": "*****", "region": "there"}));
    assert_eq!(after.secret("key").unwrap().expose(), b"s3cret");
    assert_eq!(before.changed_fields(&after), ["custom_tags", "days", "region"]);

    for kept in [json!("*****"), json!(null)] {
        let after = read(&json!({"region": "here", "key": kept}), Mode::Replace, Some(&before)).unwrap();
        assert_eq!(after.secret("key").unwrap().expose(), b"s3cret");
    }
    let cleared = read(&json!({"region": "here", "key": ""}), Mode::Replace, Some(&before)).unwrap();
    assert!(cleared.get("key").is_none());
    assert!(before.changed_fields(&cleared).contains(&"key"));
}

/// Whoever may change settings but not read them must not have a secret sent to themselves.
#[test]
fn a_kept_secret_does_not_follow_to_another_address() {
    let before = json!({"key": "s3cret", "region": "here", "home": "https://a.example"});
    let before = read(&before, Mode::Replace, None).unwrap();
    for (body, mode) in [
        (json!({"region": "here", "home": "https://b.example"}), Mode::Replace),
        (json!({"region": "here", "home": "https://b.example", "key": "*****"}), Mode::Replace),
        (json!({"region": "here"}), Mode::Replace),
        (json!({"home": "https://b.example"}), Mode::Merge),
        (json!({"home": null}), Mode::Merge),
    ] {
        let fault = read(&body, mode, Some(&before)).unwrap_err();
        assert_eq!(fault.field, "key", "{body}");
        assert!(fault.problem.contains("home"), "{fault}");
    }
    for (body, mode) in [
        (json!({"region": "there", "home": "https://a.example"}), Mode::Replace),
        (json!({"home": "https://b.example", "key": "again"}), Mode::Merge),
        (json!({"home": "https://b.example", "key": ""}), Mode::Merge),
    ] {
        assert!(read(&body, mode, Some(&before)).is_ok(), "{body}");
    }
}

#[test]
fn the_mask_is_never_stored() {
    let config = read(&json!({"region": "here", "key": "*****"}), Mode::Replace, None).unwrap();
    assert!(config.get("key").is_none());
    let before = read(&json!({"region": "here", "key": "s3cret"}), Mode::Replace, None).unwrap();
    let after = read(&json!({"key": "*****"}), Mode::Merge, Some(&before)).unwrap();
    assert!(before.changed_fields(&after).is_empty());
}

#[test]
fn a_patch_merges_and_takes_tags_away() {
    let before = json!({"key": "s3cret", "region": "here", "days": 9, "custom_tags": {"a": "1", "b": "2"}});
    let before = read(&before, Mode::Replace, None).unwrap();
    let patch = json!({"days": null, "custom_tags": {"b": "3", "c": "4"}, "tags_to_remove": ["a", "zz"]});
    let after = read(&patch, Mode::Merge, Some(&before)).unwrap();
    assert_eq!(
        Value::Object(after.shown(&Sample)),
        json!({"key": "*****", "region": "here", "custom_tags": {"b": "3", "c": "4"}})
    );
    let after = read(&json!({"custom_tags": {"a": null}, "tags_to_remove": "b"}), Mode::Merge, Some(&before));
    assert!(after.unwrap().get("custom_tags").is_none());
    let after = read(&json!({"custom_tags": {}}), Mode::Merge, Some(&before)).unwrap();
    assert!(before.changed_fields(&after).is_empty());
    let after = read(&json!({"key": ""}), Mode::Merge, Some(&before)).unwrap();
    assert!(after.get("key").is_none());
    assert_eq!(
        read(&json!({"region": ""}), Mode::Merge, Some(&before)).unwrap_err().to_string(),
        "region: is required"
    );
}

#[test]
fn members_no_field_is_called_by_are_told() {
    let body = json!({"region": "here", "subscription_id": "x", "custom_tags": {}, "tags_to_remove": []});
    let (_, unknown) = Config::read(&Sample, &SecretJson::new(body), Mode::Replace, None).unwrap();
    assert_eq!(unknown, ["subscription_id"]);
}

#[test]
fn only_per_secret_fields_move_the_digest() {
    let digest = |body: Value| read(&body, Mode::Replace, None).unwrap().per_secret_digest(&Sample);
    let plain = digest(json!({"region": "here"}));
    assert_eq!(plain, digest(json!({"region": "there", "key": "x", "days": 1})));
    assert_ne!(plain, digest(json!({"region": "here", "replicas": {"a": ""}})));
    assert_ne!(plain, digest(json!({"region": "here", "custom_tags": {"a": ""}})));
    assert_ne!(
        digest(json!({"region": "here", "custom_tags": {"a": "b"}})),
        digest(json!({"region": "here", "replicas": {"a": "b"}})),
    );
}

/// The stored format is pinned: a change of these bytes makes existing stores unreadable.
#[test]
fn the_stored_format_is_what_it_was() {
    let body = json!({"region": "r", "key": "k", "days": 3, "shout": true, "allowed_ports": [1],
        "allowed_ipv4_addresses": ["1.0.0.0/8"], "custom_tags": {"a": "b"}});
    let bytes = read(&body, Mode::Replace, None).unwrap().to_bytes();
    assert_eq!(
        hex::encode(bytes.expose()),
        concat!(
            "01",
            "07",
            "16616c6c6f7765645f697076345f616464726573736573",
            "0401",
            "09312e302e302e302f38",
            "0d616c6c6f7765645f706f727473",
            "050102",
            "0b637573746f6d5f74616773",
            "0601",
            "0161",
            "0162",
            "0464617973",
            "0206",
            "036b6579",
            "01016b",
            "06726567696f6e",
            "000172",
            "0573686f7574",
            "0301",
        )
    );
    for (at, bad) in [(0, 2), (1, 0xff), (25, 9)] {
        let mut broken = bytes.expose().to_vec();
        broken[at] = bad;
        assert_eq!(Config::from_bytes(&SecretBytes::new(broken)).err(), Some(CorruptConfig), "byte {at}");
    }
    let longer = [bytes.expose(), b"x"].concat();
    assert!(Config::from_bytes(&SecretBytes::new(longer)).is_err());
}

#[test]
fn debug_shows_no_secret() {
    let config = read(&json!({"region": "here", "key": "hunter2"}), Mode::Replace, None).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

fn values() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        ".*".prop_map(FieldValue::Text),
        ".*".prop_map(|s| FieldValue::Secret(s.into())),
        any::<i64>().prop_map(FieldValue::Int),
        any::<bool>().prop_map(FieldValue::Bool),
        proptest::collection::vec(".*", 0..4).prop_map(FieldValue::List),
        proptest::collection::vec(any::<i64>(), 0..4).prop_map(FieldValue::IntList),
        proptest::collection::btree_map(".*", ".*", 0..4).prop_map(FieldValue::Map),
    ]
}

/// JSON of any sort, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9=,./:*]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{0,3}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let names: Vec<&'static str> = fields_of(&Sample).map(|f| f.name).chain(["tags_to_remove"]).collect();
    proptest::collection::btree_map(proptest::sample::select(names), any_json(), 0..5)
        .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
}

proptest! {
    #[test]
    fn what_is_stored_is_read_back(fields in proptest::collection::btree_map(".{0,8}", values(), 0..6)) {
        let config = Config(fields);
        let bytes = config.to_bytes();
        let back = Config::from_bytes(&bytes).unwrap();
        prop_assert!(config.changed_fields(&back).is_empty());
        let again = back.to_bytes();
        prop_assert_eq!(bytes.expose(), again.expose());
    }

    #[test]
    fn no_stored_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Config::from_bytes(&SecretBytes::new([&[1], &bytes[..]].concat()));
    }

    /// Whatever is accepted is in shape: showing it and posting that again changes nothing.
    #[test]
    fn what_is_shown_can_be_posted_again(body in any_body()) {
        if let Ok(config) = read(&body, Mode::Replace, None) {
            let again = read(&Value::Object(config.shown(&Sample)), Mode::Replace, Some(&config)).unwrap();
            prop_assert!(config.changed_fields(&again).is_empty(), "{:?}", config.changed_fields(&again));
        }
    }

    #[test]
    fn no_patch_makes_the_reader_panic(body in any_body()) {
        let before = read(&json!({"region": "x", "custom_tags": {"a": "b"}}), Mode::Replace, None).unwrap();
        let _ = read(&body, Mode::Merge, Some(&before));
    }
}
