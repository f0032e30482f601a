//! Any text either parses, and then prints to a text that parses to the same, or is refused with a
//! message that points into it.
#![no_main]

use keeper::notation::parse;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(parsed) => {
            let printed = parsed.notation.to_string();
            let again = parse(&printed).expect("what is printed parses");
            assert_eq!(again.notation, parsed.notation);
        }
        Err(error) => {
            assert!(error.text.get(error.at.clone()).is_some());
            assert!(error.to_string().contains('^'));
        }
    }
});
