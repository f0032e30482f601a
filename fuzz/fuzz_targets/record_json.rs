//! Any text is refused as JSON or read and written to the same value in every style.
#![no_main]

use keeper::json::{Json, Style};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(json) = Json::parse(text) else { return };
    let compact = json.write(Style::Compact);
    for style in [Style::Compact, Style::Python, Style::PythonIndented(4)] {
        let written = json.write(style);
        let again = Json::parse(written.expose_text().expect("JSON is text")).expect("what is written parses");
        assert_eq!(again.write(Style::Compact).expose(), compact.expose());
    }
});
