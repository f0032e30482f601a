//! `docs/configuration.md` is printed from [`super::KEYS`] and the defaults; the test below keeps
//! the page and the code together. `KEYFERRY_BLESS=1 cargo test -p cli configuration_page` rewrites it.

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use crate::config::{AUDIT_KEYS, Config, KEYS};

    const HEAD: &str = "\
# Configuration

`keyferry server --config FILE` reads one TOML file. Every key has a default, so an empty file is a
valid one as long as the store is named (`storage.path`, or `--data DIR` on the command line). The
file is checked whole before a port is opened; an unknown key is an error, and a message names the
file, the line, the key and what would be right.

Each key can be overridden by the environment variable named beside it. The variable wins over the
file, and a flag on the command line wins over both.

Lengths of time are written `\"90s\"`, `\"10m\"`, `\"1h30m\"` or as whole seconds.

<!-- Printed from the code: KEYFERRY_BLESS=1 cargo test -p cli configuration_page -->
";

    const AUDIT: &str = "
## [[audit]]

Each such table declares one audit device. There are none without one, and none can be made through the API. A
request of which no device could take a line is not carried out. Texts in a request's and an answer's data are written
as HMAC-SHA256 under a salt that is sealed in the store (`sys/audit-hash` tells what a text looks like), and so are
numbers below a secret's `data`; names of members are in clear.

| Key | Default | Meaning |
|---|---|---|
";

    fn page() -> String {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let mut page = HEAD.to_owned();
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                let _ = writeln!(
                    page,
                    "\n## [{section}]\n\n| Key | Default | Variable | Meaning |\n|---|---|---|---|"
                );
            }
            let default = &defaults[key.section][key.name];
            let default = if default.is_null() { "–".to_owned() } else { format!("`{default}`") };
            let _ = writeln!(page, "| `{}` | {default} | `{}` | {} |", key.name, key.variable(), key.help);
        }
        page.push_str(AUDIT);
        for (name, default, help) in AUDIT_KEYS {
            let _ = writeln!(page, "| `{name}` | {default} | {help} |");
        }
        page
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a developer's switch, read by a test only")]
    fn the_configuration_page_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("KEYFERRY_BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            written,
            page(),
            "docs/configuration.md is out of date: KEYFERRY_BLESS=1 cargo test -p cli configuration_page"
        );
    }
}
