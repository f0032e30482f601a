//! Narrow entries for `fuzz/`.

use model::SeededEntropy;

use crate::{
    client::fuzzed,
    crypto::{Key, to_base64},
};

/// Reads any bytes as an answer of the service.
pub fn answer(bytes: &[u8]) {
    fuzzed(bytes, &Key::random(&SeededEntropy::new(1)));
}

/// Reads an answer in which everything opens, and these bytes are what is behind the seals: the body of a
/// record, the description of its file, and of the application.
pub fn sealed(bytes: &[u8]) {
    let entropy = SeededEntropy::new(1);
    let (app, record, file) = (Key::random(&entropy), Key::random(&entropy), Key::random(&entropy));
    let seal = |key: &Key, plain: &[u8]| {
        key.seal(plain, &entropy).map(|sealed| to_base64(&sealed)).unwrap_or_default()
    };
    let answer = format!(
        r#"{{"appData":"{0}","records":[{{"recordUid":"u","recordKey":"{1}","data":"{2}","files":[{{"fileUid":"f","fileKey":"{3}","data":"{4}"}}]}}]}}"#,
        seal(&app, br#"{"title":"t"}"#),
        seal(&app, record.expose()),
        seal(&record, bytes),
        seal(&record, file.expose()),
        seal(&file, bytes),
    );
    fuzzed(answer.as_bytes(), &app);
}
