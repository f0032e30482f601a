use engine::template::{Field, Template, Values};
use keeper::{
    json::{Json, Style},
    notation,
};
use model::SeededEntropy;
use server::app::{Capability, PolicyCheck};
use store::{Record, RootKey, records as r, snapshot::Reader};

type Target = (&'static str, fn(&[u8]));

/// By name.
pub const TARGETS: &[Target] = &[
    ("notation", notation_text),
    ("keeper_json", keeper_json),
    ("keeper_envelope", keeper_envelope),
    ("policy", policy),
    ("template", template),
    ("record", record),
    ("json_limits", json_limits),
    ("snapshot", snapshot),
];

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Any text either parses, and then prints to a text that parses to the same, or is refused with a message
/// that points into it.
fn notation_text(input: &[u8]) {
    let Some(text) = text(input) else { return };
    match notation::parse(text) {
        Ok(parsed) => {
            let printed = parsed.notation.to_string();
            let again = notation::parse(&printed).expect("what is printed parses");
            assert_eq!(again.notation, parsed.notation);
        }
        Err(error) => {
            assert!(error.text.get(error.at.clone()).is_some());
            assert!(error.to_string().contains('^'));
        }
    }
}

/// Any text is refused as JSON or read and written to the same value in every style.
fn keeper_json(input: &[u8]) {
    let Some(Ok(json)) = text(input).map(Json::parse) else { return };
    let compact = json.write(Style::Compact);
    for style in [Style::Compact, Style::Python, Style::PythonIndented(4)] {
        let written = json.write(style);
        let again =
            Json::parse(written.expose_text().expect("JSON is text")).expect("what is written parses");
        assert_eq!(again.write(Style::Compact).expose(), compact.expose());
    }
}

/// Any answer, and any contents behind seals that do open, are refused or read.
fn keeper_envelope(input: &[u8]) {
    keeper::fuzzing::answer(input);
    keeper::fuzzing::sealed(input);
}

/// Any text is a policy or none; one that is decides every question, and the same way twice.
fn policy(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(policy) = PolicyCheck::parse(text) else { return };
    for path in ["secret/data/app/db", "sys/mounts", "a", "", "secret/+/x", "secret/data/*"] {
        for capability in [Capability::Read, Capability::Create, Capability::Sudo, Capability::List] {
            assert_eq!(policy.allows(capability, path), policy.allows(capability, path));
        }
    }
}

/// Any text is a template or is refused with a message; one that is gives a name or says why not.
fn template(input: &[u8]) {
    let Some(text) = text(input) else { return };
    match Template::parse(text) {
        Ok(template) => {
            template.mentions(Field::SecretKey);
            let values = Values {
                destination_type: "aws-sm",
                destination_name: "prod",
                mount_path: "secret",
                mount_accessor: "kv_eb4acbae",
                secret_path: "app/Ünï/db",
                secret_key: "K-1",
            };
            let (first, second) = (template.render(&values), template.render(&values));
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// Any bytes behind a tag and a format are a record, which encodes to what decodes to the same, or are refused.
fn record(input: &[u8]) {
    let Some((&[tag, format], fields)) = input.split_first_chunk::<2>() else { return };
    macro_rules! try_each {
        ($($record:ty),* $(,)?) => {
            match tag {
                $(<$record>::TAG => again::<$record>(format, fields),)*
                _ => {}
            }
        };
    }
    try_each!(
        r::StoreHeader,
        r::MountTable,
        r::SyncConfig,
        r::IdentityKeys,
        r::Restored,
        r::SecretMeta,
        r::Folder,
        r::SecretVersion,
        r::Token,
        r::TokenByAccessor,
        r::Policy,
        r::PolicyIndex,
        r::Entry,
        r::AuthTable,
        r::Destination,
        r::Association,
        r::Links,
        r::Outbox,
        r::NameClaim,
        r::SharedCredential,
        r::Rules,
        r::Floor,
        r::ServerNode,
        r::Shard,
    );
}

fn again<R: Record + PartialEq + std::fmt::Debug>(format: u8, fields: &[u8]) {
    let Ok(record) = R::decode(format, fields) else { return };
    let written = postcard::to_stdvec(&record).expect("a record can be encoded");
    assert_eq!(R::decode(R::FORMAT, &written).as_ref(), Ok(&record));
}

/// Whatever passes the limits parses within them, and does not overflow the stack.
fn json_limits(input: &[u8]) {
    let limits = model::json::Limits { depth: 50, string: 200, members: 100 };
    if model::json::check_limits(input, &limits).is_err() {
        return;
    }
    let Ok(value) = serde_json(input) else { return };
    assert!(depth(&value) <= 51, "deeper than the limit");
}

fn serde_json(input: &[u8]) -> Result<model::json::SecretJson, ()> {
    model::json::SecretJson::parse(input).map_err(drop)
}

fn depth(value: &model::json::SecretJson) -> usize {
    fn of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            serde_json::Value::Object(members) => 1 + members.values().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    of(value.expose())
}

/// Any bytes are a snapshot or are refused, as they are, and as the contents of a well-formed archive.
fn snapshot(input: &[u8]) {
    let root = RootKey::random(&SeededEntropy::new(1));
    let read = |bytes: &[u8], key: bool| {
        let mut reader = Reader::new(bytes).ok()?;
        if key {
            reader.unlock(&root).ok()?;
        }
        while reader.page().ok()?.is_some() {}
        let _ = reader.meta().guard();
        reader.end()
    };
    for key in [false, true] {
        read(input, key);
        // Compressed and with digests that fit, so that mutations get past both.
        let packed = store::fuzzing::archive(input);
        read(&packed, key);
    }
}
