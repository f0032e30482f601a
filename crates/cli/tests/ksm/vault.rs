//! What is in the vault.

use keeper::server::NewFile;

use super::bench::Side;

const TWITTER: &str = r#"{"title":"Twitter Login [Marketing]","type":"login","notes":"first line\nsecond line","fields":[
    {"type":"login","value":["alice"]},
    {"type":"password","value":["hunter2-Twitter"]},
    {"type":"url","value":["https://a.example","https://b.example"]},
    {"type":"oneTimeCode","value":["otpauth://totp/x?secret=JBSWY3DPEHPK3PXP&digits=8&period=4000000000"]},
    {"type":"fileRef","value":[]}],
 "custom":[
    {"type":"phone","value":[{"number":"555-5555555","ext":"55"},{"number":"777-7777777","ext":"77"},{"number":"888-8888888","ext":"","type":"Home"},{"number":"999-9999999","type":"Work"}]},
    {"type":"name","value":[{"first":"John","last":"Doe"}]},
    {"type":"text","label":"env","value":["prod"]},
    {"type":"secret","label":"api_key","value":["hunter2-key"]},
    {"type":"note","label":"環境","value":["本番"]},
    {"type":"checkbox","label":"flag","value":[true]},
    {"type":"text","label":"nothing","value":[]}]}"#;

const DB: &str = r#"{"title":"DB One","type":"databaseCredentials","fields":[
    {"type":"text","label":"type","value":["postgres"]},
    {"type":"host","value":[{"hostName":"db.example","port":"5432"}]},
    {"type":"login","value":["dba"]},
    {"type":"password","value":["hunter2-DB"]},
    {"type":"fileRef","value":[]}],"custom":[]}"#;

/// Fills a vault. The same calls in the same order, so that UIDs are the same each time.
pub(crate) fn fill(side: &mut Side) {
    let root = side.folder("root", None, "Shared", true);
    let databases = side.folder("databases", Some(&root), "Databases", true);
    let prod = side.folder("prod", Some(&databases), "Prod", true);
    side.folder("empty", Some(&root), "Empty", true);
    let locked = side.folder("locked", None, "Read Only", false);
    let twitter = side.record("twitter", None, TWITTER);
    side.record("db", Some(&databases), DB);
    side.record(
        "ja",
        Some(&prod),
        r#"{"title":"本番DB","type":"login","fields":[{"type":"login","value":["運用"]},{"type":"password","value":["hunter2-ja"]}],"custom":[]}"#,
    );
    side.record(
        "ro",
        Some(&locked),
        r#"{"title":"Read Me","type":"login","fields":[{"type":"login","value":["bob"]}],"custom":[]}"#,
    );
    let address = side.record(
        "address",
        None,
        r#"{"title":"Home","type":"address","fields":[{"type":"address","value":[{"street1":"Main 1","city":"Kyoto"}]}],"custom":[]}"#,
    );
    let card = format!(
        r#"{{"title":"Card","type":"bankCard","fields":[
            {{"type":"paymentCard","value":[{{"cardNumber":"5555555555555555","cardExpirationDate":"12/2030"}}]}},
            {{"type":"text","label":"Cardholder Name","value":["Holder"]}},
            {{"type":"pinCode","value":["1234"]}},
            {{"type":"addressRef","value":["{address}"]}}],"custom":[]}}"#
    );
    let card = side.record("card", None, &card);
    let payer = format!(
        r#"{{"title":"Payer","type":"bankAccount","fields":[{{"type":"cardRef","value":["{card}"]}}],"custom":[]}}"#
    );
    side.record("payer", None, &payer);
    for (name, file, title, content) in
        [("cert", "creds[2].crt", "cert two", "FILE-A\n"), ("text", "証明書.txt", "ja", "本文")]
    {
        let content = content.as_bytes();
        side.attach(name, &twitter, &NewFile { uid: None, name: file, title, content });
    }
}
