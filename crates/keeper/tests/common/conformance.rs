//! The conformance table of notation (keeper.md 1.6): a vault, notations, and what the official
//! SDK's value dialect and we make of each.

use keeper::server::{NewFile, PretendKeeper};

/// Records by their numbers in the table; [0] is unused.
pub(crate) struct Fixture {
    pub(crate) uids: Vec<String>,
}

const CONF_LOGIN: &str = r#"{"title":"Conf Login","type":"login","notes":"first line\nsecond line","fields":[
  {"type":"login","value":["alice"]},
  {"type":"password","value":["p@ss/w[0]\\rd"]},
  {"type":"url","value":["https://a.example","https://b.example"]},
  {"type":"text","label":"empty","value":[]},
  {"type":"host","label":"box","value":[{"hostName":"db.example","port":"5432"}]},
  {"type":"oneTimeCode","value":["otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"]}],
 "custom":[
  {"type":"phone","value":[PH0,PH1,PH2,PH3]},
  {"type":"name","value":[{"first":"John","last":"Doe"},{"first":"Jane","middle":"Q","last":"Roe"}]},
  {"type":"text","label":"env","value":["prod"]},
  {"type":"text","label":"dup","value":["one"]},
  {"type":"secret","label":"dup","value":["two"]},
  {"type":"url","label":"/. links","value":["l0","l1"]},
  {"type":"secret","label":"a\\b[c]","value":["esc"]},
  {"type":"note","label":"環境","value":["本番"]},
  {"type":"number","label":"num","value":[12345]},
  {"type":"checkbox","label":"flag","value":[true]},
  {"type":"text","label":"nul","value":[null]},
  {"type":"text","label":"intstr","value":["123456"]},
  {"type":"text","label":"zerostr","value":["00123"]},
  {"type":"text","label":"jsonstr","value":["{\"a\": 1}"]},
  {"type":"date","value":[1700000000000]},
  {"type":"multiline","label":"cert","value":["PEM"]},
  {"type":"text","label":"scalar","value":"bare string"},
  {"type":"text","label":"novalue"},
  {"type":"keyPair","value":[{"publicKey":"PUB","privateKey":"PRIV"}]},
  {"type":"text","label":"0","value":["zero label"]},
  {"type":"text","label":"emptystr","value":[""]},
  {"type":"text","label":"oddprop","value":[{"0":"num key","a b":"spaced","x]y":"br"}]}]}"#;

const PHONES: [&str; 4] = [
    r#"{"number":"555-5555555","ext":"55"}"#,
    r#"{"number":"777-7777777","ext":"77"}"#,
    r#"{"number":"888-8888888","ext":"","type":"Home"}"#,
    r#"{"number":"999-9999999","type":"Work"}"#,
];

const CARD: &str = r#"{"cardNumber":"5555555555555555","cardExpirationDate":"12/2030","Cardholder Name":"Holder","pinCode":"1234","street1":"Main 1","city":"Kyoto"}"#;

impl Fixture {
    pub(crate) fn put(server: &PretendKeeper, app: usize) -> Self {
        let with_password = |title: &str, pw: &str| {
            format!(
                r#"{{"title":"{title}","type":"login","fields":[{{"type":"password","value":["{pw}"]}}]}}"#
            )
        };
        let mut uids = vec![String::new()];
        let mut add = |body: &str| {
            let uid = server.add_record(body).unwrap();
            server.share_record(app, &uid, true);
            uids.push(uid.clone());
            uid
        };
        let mut login = CONF_LOGIN.to_owned();
        for (at, phone) in PHONES.iter().enumerate() {
            login = login.replace(&format!("PH{at}"), phone);
        }
        let first = add(&login);
        add(&with_password("Twitter Login [Marketing]", "tw"));
        add(&with_password(r"A/B\\C", "slash"));
        add(&with_password("Same Title", "s1"));
        add(&with_password("Same Title", "s2"));
        add(&with_password("abcdefghijklmnopqrstuv", "uidlike"));
        add(&with_password("本番DB", "ja-pw"));
        let twice = add(&with_password("In Folder Twice", "twice"));
        add(&with_password(&first, "titled like the first"));
        add(&with_password("", "empty title"));
        let has_card = add(r#"{"title":"Has Card","type":"login","fields":[]}"#);
        let bank_card = add("{}");
        let address = add(
            r#"{"title":"Addr","type":"address","fields":[{"type":"address","value":[{"street1":"Main 1","city":"Kyoto"}]}]}"#,
        );
        add(r#"{"title":"Bare","type":"login"}"#);
        let bad = add(&with_password("Only Bad", "bad"));
        server
            .set_record(&has_card, &format!(r#"{{"title":"Has Card","type":"login","fields":[{{"type":"cardRef","value":["{bank_card}"]}}]}}"#))
            .unwrap();
        server
            .set_record(&bank_card, &format!(r#"{{"title":"Card","type":"bankCard","fields":[
                {{"type":"paymentCard","value":[{{"cardNumber":"5555555555555555","cardExpirationDate":"12/2030"}}]}},
                {{"type":"text","label":"Cardholder Name","value":["Holder"]}},
                {{"type":"pinCode","value":["1234"]}},
                {{"type":"addressRef","value":["{address}"]}}]}}"#))
            .unwrap();
        server.break_record(&bad);
        let folder = server.add_folder(None, "Shared").unwrap();
        server.share_folder(app, &folder, false);
        server.put_into(&twice, &folder);
        for (uid, name, title, content) in [
            (Some("FileConf00000000000001"), "creds[2].crt", "cert two", "FILE-A\n"),
            (None, "dup.txt", "dup one", "D1"),
            (None, "dup.txt", "dup two", "D2"),
            (None, "証明書.pem", "ja", "JA"),
        ] {
            server.attach(&first, &NewFile { uid, name, title, content: content.as_bytes() }).unwrap();
        }
        Self { uids }
    }

    /// A notation of the table, with its abbreviations written out.
    pub(crate) fn notation(&self, row: &str) -> String {
        let mut text = row.replacen('~', "keeper://Conf Login", 1);
        for (n, uid) in self.uids.iter().enumerate().skip(1) {
            text = text.replace(&format!("{{{n}}}"), uid);
        }
        let unpadded = |text: &str| base64(text).trim_end_matches('=').to_owned();
        if let Some(inner) = text.strip_prefix("b64=") {
            return base64(inner);
        }
        text.strip_prefix("b64:").map_or(text.clone(), unpadded)
    }
}

/// Url-safe base64 with padding.
fn base64(text: &str) -> String {
    use std::fmt::Write as _;
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let sign = if at <= chunk.len() { SIGNS[(bits >> (18 - 6 * at)) as usize & 63] } else { b'=' };
            write!(out, "{}", char::from(sign)).unwrap();
        }
    }
    out
}

/// What a notation comes to.
pub(crate) enum Want {
    /// This JSON.
    Json(String),
    /// These bytes.
    Bytes(&'static str),
    /// An error; its class, for us.
    Error(&'static str),
}

/// A cell of the table: `!class` is an error, `b:` bytes, everything else JSON.
pub(crate) fn want(cell: &'static str) -> Want {
    if let Some(class) = cell.strip_prefix('!') {
        return Want::Error(class);
    }
    if let Some(bytes) = cell.strip_prefix("b:") {
        return Want::Bytes(bytes);
    }
    let mut json = cell.replace("CARD", CARD);
    for (at, phone) in PHONES.iter().enumerate() {
        json = json.replace(&format!("PH{at}"), phone);
    }
    Want::Json(json)
}

/// Notation, the official SDK's answer, and ours where it differs on purpose (keeper.md 1.7,
/// decisions 17). Classes of errors are ours.
pub(crate) const TABLE: &[(&str, &str, Option<&str>)] = &[
    ("keeper://{1}/field/login", r#""alice""#, None),
    ("{1}/field/login", r#""alice""#, None),
    ("KEEPER://{1}/field/login", r#""alice""#, None),
    ("~/field/login", r#""alice""#, None),
    ("Conf Login/field/login", r#""alice""#, None),
    ("b64=keeper://{1}/field/login", r#""alice""#, None),
    ("b64:keeper://{1}/field/login", "!base64", Some(r#""alice""#)),
    ("~/type", r#""login""#, None),
    ("~/title", r#""Conf Login""#, None),
    ("~/notes", r#""first line\nsecond line""#, None),
    ("~/TYPE", r#""login""#, None),
    ("~/Field/login", "!selector-case", Some(r#""alice""#)),
    ("~/type/", r#""login""#, None),
    ("~/type/x", "!trailing", None),
    ("~/notes[0]", "!selector", None),
    ("keeper://Bare/notes", "null", None),
    ("keeper://Bare/field/login", "!no_field", None),
    ("keeper://Bare/custom_field/x", "!no_field", None),
    ("~/field/password", r#""p@ss/w[0]\\rd""#, None),
    ("~/field/PASSWORD", r#""p@ss/w[0]\\rd""#, None),
    ("~/field/password[0]", r#""p@ss/w[0]\\rd""#, None),
    ("~/field/password[]", r#"["p@ss/w[0]\\rd"]"#, None),
    ("~/field/password[0][x]", "!no_property", None),
    ("~/field/url", r#""https://a.example""#, None),
    ("~/field/url[]", r#"["https://a.example","https://b.example"]"#, None),
    ("~/field/url[0]", r#""https://a.example""#, None),
    ("~/field/url[1]", r#""https://b.example""#, None),
    ("~/field/url[2]", "!index_range", None),
    ("~/field/url[-1]", "!no_property", None),
    ("~/field/url[01]", r#""https://b.example""#, None),
    ("~/field/url[ 1]", "!no_property", None),
    ("~/field/empty", "null", None),
    ("~/field/empty[]", "[]", None),
    ("~/field/empty[0]", "null", None),
    ("~/field/text", "null", None),
    ("~/field/box", r#"{"hostName":"db.example","port":"5432"}"#, None),
    ("~/field/host[hostName]", r#""db.example""#, None),
    ("~/field/box[0][port]", r#""5432""#, None),
    ("~/field/host[][port]", r#""5432""#, None),
    ("~/custom_field/phone", "PH0", None),
    ("~/custom_field/phone[]", "[PH0,PH1,PH2,PH3]", None),
    ("~/custom_field/phone[0]", "PH0", None),
    ("~/custom_field/phone[0][number]", r#""555-5555555""#, None),
    ("~/custom_field/phone[1][number]", r#""777-7777777""#, None),
    (
        "~/custom_field/phone[][number]",
        r#""555-5555555""#,
        Some(r#""555-5555555,777-7777777,888-8888888,999-9999999""#),
    ),
    ("~/custom_field/phone[number]", r#""555-5555555""#, None),
    ("~/custom_field/phone[][ext]", r#""55""#, Some(r#""55,77,""#)),
    ("~/custom_field/phone[][type]", "!no_property", Some(r#""Home,Work""#)),
    ("~/custom_field/phone[3][ext]", "!no_property", None),
    ("~/custom_field/phone[0][]", "!index2", None),
    ("~/custom_field/phone[][]", "!index2", None),
    ("~/custom_field/phone[0][1]", "!index2", None),
    ("~/custom_field/phone[0][number][x]", "!trailing", None),
    ("~/custom_field/name[first]", r#""John""#, None),
    ("~/custom_field/name[][middle]", "!no_property", Some(r#""Q""#)),
    ("~/custom_field/name[1][middle]", r#""Q""#, None),
    ("~/custom_field/name[middle]", "!no_property", None),
    ("~/custom_field/env", r#""prod""#, None),
    ("~/custom_field/dup", r#""one""#, None),
    ("~/custom_field/dup[0]", r#""one""#, None),
    ("~/field/env", "!no_field", None),
    (r"~/custom_field/\/. links", r#""l0""#, None),
    (r"~/custom_field/\/. links[]", r#"["l0","l1"]"#, None),
    (r"~/custom_field/\/. links[1]", r#""l1""#, None),
    ("~/custom_field//. links", r#""l0""#, None),
    (r"~/custom_field/a\\b\[c\]", r#""esc""#, None),
    (r"~/custom_field/a\b", "!escape", None),
    ("~/custom_field/環境", r#""本番""#, None),
    ("~/custom_field/num", "12345", None),
    ("~/custom_field/flag", "true", None),
    ("~/custom_field/nul", "null", None),
    ("~/custom_field/intstr", r#""123456""#, None),
    ("~/custom_field/zerostr", r#""00123""#, None),
    ("~/custom_field/jsonstr", r#""{\"a\": 1}""#, None),
    ("~/custom_field/jsonstr[a]", "!no_property", None),
    ("~/custom_field/date", "1700000000000", None),
    ("~/custom_field/cert", r#""PEM""#, None),
    ("~/custom_field/scalar", r#""bare string""#, None),
    ("~/custom_field/scalar[0]", r#""bare string""#, None),
    ("~/custom_field/novalue", "null", None),
    ("~/custom_field/keyPair[privateKey]", r#""PRIV""#, None),
    ("~/custom_field/0", r#""zero label""#, None),
    ("~/custom_field/emptystr", r#""""#, None),
    ("~/custom_field/oddprop[0][a b]", r#""spaced""#, None),
    ("~/custom_field/oddprop[a b]", r#""spaced""#, None),
    ("~/custom_field/oddprop[0][0]", "!index2", None),
    (r"~/custom_field/oddprop[0][x\]y]", r#""br""#, None),
    (r"~/file/creds\[2\].crt", "b:FILE-A\n", None),
    ("~/file/creds[2].crt", "!bracket", None),
    ("~/file/cert two", "b:FILE-A\n", None),
    ("~/file/FileConf00000000000001", "b:FILE-A\n", None),
    ("~/file/dup.txt", "!ambiguous_file", None),
    ("~/file/dup one", "b:D1", None),
    ("~/file/証明書.pem", "b:JA", None),
    ("~/file/nosuch", "!no_file", None),
    ("~/file", "!no-parameter", None),
    ("keeper://Bare/file/x", "!no_file", None),
    ("~/file/dup one[0]", "!file-index", None),
    (r"keeper://Twitter Login \[Marketing\]/field/password", r#""tw""#, None),
    ("keeper://Twitter Login [Marketing]/field/password", r#""tw""#, None),
    (r"keeper://A\/B\\C/field/password", r#""slash""#, None),
    ("keeper://A/B/field/password", "!trailing", None),
    ("keeper://Same Title/field/password", "!ambiguous_record", None),
    ("keeper://{4}/field/password", r#""s1""#, None),
    ("keeper://abcdefghijklmnopqrstuv/field/password", r#""uidlike""#, None),
    ("keeper://本番DB/field/password", r#""ja-pw""#, None),
    ("keeper://{8}/field/password", r#""twice""#, None),
    ("keeper://In Folder Twice/field/password", "!ambiguous_record", Some(r#""twice""#)),
    ("keeper:///field/password", r#""empty title""#, None),
    ("/field/password", r#""empty title""#, None),
    ("keeper://Has Card/field/cardRef", "CARD", None),
    ("keeper://Has Card/field/cardRef[cardNumber]", r#""5555555555555555""#, None),
    ("keeper://Has Card/field/cardRef[Cardholder Name]", r#""Holder""#, None),
    ("keeper://nosuch/field/password", "!no_record", None),
    ("keeper://conf login/field/login", "!no_record", None),
    ("keeper://Only Bad/field/password", "!no_record", None),
    ("", "!empty", None),
    ("keeper://", "!incomplete", None),
    ("keeper://x/", "!incomplete", None),
    ("~/bogus/x", "!trailing", None),
    ("~/fields/login", "!trailing", Some(r#""alice""#)),
    ("~/field", "!no-parameter", None),
    ("~/field/", "!no-parameter", None),
    ("~/field/login[", "!bracket", None),
    ("~/field/login]", "!no_field", None),
    ("~/field/login[0", "!bracket", None),
    ("~/field/login[[0]]", "!bracket", None),
    ("~/field/login[0]x", "!bracket", None),
    ("~/field/login[0]/", "!bracket", None),
    (r"~/field/log\in", "!escape", None),
    (r"~/field/login\", "!escape", None),
    ("not-base64!", "!base64", None),
    ("keeper://Conf%20Login/field/login", "!no_record", None),
    (" ~/field/login", "!trailing", None),
    ("keeper://Conf Login /field/login", "!no_record", None),
    ("~/field/login ", "!no_field", None),
    ("https://Conf Login/field/login", "!trailing", None),
];
