//! Where a configuration is looked for (keeper.md 3.4).

use std::path::{Path, PathBuf};

use model::SecretBytes;

/// The surroundings a configuration is looked for in. `cli` fills them from the process; tests from a
/// table.
pub trait Lookup {
    /// An environment variable that is set, also to the empty text.
    fn variable(&self, name: &str) -> Option<String>;
    /// Whether this is a file.
    fn is_file(&self, path: &Path) -> bool;
    /// The directory the program was started in.
    fn working_directory(&self) -> PathBuf;
}

/// Where the configuration is.
#[derive(Debug)]
pub enum Located {
    /// In a `keeper.ini`.
    Ini(PathBuf),
    /// In `KSM_CONFIG`: JSON or base64 of it.
    Variable(SecretBytes),
    /// In `KSM_CONFIG_BASE64_1` and following, each under its name; the first is the active one.
    Numbered(Vec<(String, SecretBytes)>),
    /// Nowhere yet: `KSM_TOKEN` is to be bound and kept in this file.
    Token {
        /// The one-time token.
        token: SecretBytes,
        /// The file that is to be written.
        keep_in: PathBuf,
    },
    /// Nowhere. A new one belongs here.
    Nowhere(PathBuf),
}

/// Looks in the order of the official CLI: the file that was named, `KSM_CONFIG`,
/// `KSM_CONFIG_BASE64_1`…, `KSM_TOKEN`, then `keeper.ini` (`KSM_INI_FILE`) in the working directory,
/// `KSM_INI_DIR`, the home directory and its `.config/ksm` and `.keeper`, `/etc` and below it `ksm`
/// and `keeper`, and the usual places of Windows. (Operating system keyrings are not looked at.)
pub fn locate(named: Option<&Path>, around: &dyn Lookup) -> Located {
    if let Some(path) = named {
        return Located::Ini(path.to_owned());
    }
    if let Some(config) = around.variable("KSM_CONFIG") {
        return Located::Variable(SecretBytes::from(config));
    }
    let numbered: Vec<_> = (1..)
        .map_while(|n| {
            let config = around.variable(&format!("KSM_CONFIG_BASE64_{n}"))?;
            let name = around.variable(&format!("KSM_CONFIG_BASE64_DESC_{n}"));
            Some((name.unwrap_or_else(|| format!("App{n}")), SecretBytes::from(config)))
        })
        .collect();
    if !numbered.is_empty() {
        return Located::Numbered(numbered);
    }
    let keep_in = default_ini(around);
    if let Some(token) = around.variable("KSM_TOKEN") {
        return Located::Token { token: SecretBytes::from(token), keep_in };
    }
    match candidates(around).into_iter().find(|path| around.is_file(path)) {
        Some(path) => Located::Ini(path),
        None => Located::Nowhere(keep_in),
    }
}

fn file_name(around: &dyn Lookup) -> String {
    around.variable("KSM_INI_FILE").unwrap_or_else(|| "keeper.ini".to_owned())
}

/// Where a new file goes: `KSM_INI_DIR`, else the working directory.
pub fn default_ini(around: &dyn Lookup) -> PathBuf {
    let directory = around.variable("KSM_INI_DIR").map_or_else(|| around.working_directory(), PathBuf::from);
    directory.join(file_name(around))
}

fn candidates(around: &dyn Lookup) -> Vec<PathBuf> {
    let under = |variable: &str, below: &str| Some(Path::new(&around.variable(variable)?).join(below));
    let directories = [
        under("KSM_INI_DIR", ""),
        Some(around.working_directory()),
        under("HOME", ""),
        under("HOME", ".config/ksm"),
        under("HOME", ".keeper"),
        Some(PathBuf::from("/etc")),
        Some(PathBuf::from("/etc/ksm")),
        Some(PathBuf::from("/etc/keeper")),
        under("USERPROFILE", ""),
        under("APPDATA", "Keeper"),
        under("PROGRAMDATA", "Keeper"),
        under("PROGRAMFILES", "Keeper"),
    ];
    let name = file_name(around);
    std::iter::once(around.working_directory().join("keeper.ini"))
        .chain(directories.into_iter().flatten().map(|directory| directory.join(&name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(Default)]
    struct Table {
        variables: HashMap<&'static str, &'static str>,
        files: Vec<&'static str>,
    }

    impl Lookup for Table {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).map(|v| (*v).to_owned())
        }
        fn is_file(&self, path: &Path) -> bool {
            self.files.iter().any(|f| Path::new(f) == path)
        }
        fn working_directory(&self) -> PathBuf {
            PathBuf::from("/start here")
        }
    }

    fn ini(table: &Table) -> String {
        match locate(None, table) {
            Located::Ini(path) => path.display().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_looked_for_in_order() {
        let order = [
            "/start here/keeper.ini",
            "/ini/other.ini",
            "/start here/other.ini",
            "/home/a/other.ini",
            "/home/a/.config/ksm/other.ini",
            "/home/a/.keeper/other.ini",
            "/etc/other.ini",
            "/etc/ksm/other.ini",
            "/etc/keeper/other.ini",
        ];
        let variables =
            HashMap::from([("KSM_INI_FILE", "other.ini"), ("KSM_INI_DIR", "/ini"), ("HOME", "/home/a")]);
        for from in 0..order.len() {
            let table = Table { variables: variables.clone(), files: order[from..].to_vec() };
            assert_eq!(ini(&table), order[from]);
        }
        let none = Table { variables, files: Vec::new() };
        assert!(matches!(locate(None, &none), Located::Nowhere(p) if p == Path::new("/ini/other.ini")));
    }

    #[test]
    fn variables_beat_files_and_a_named_file_beats_all() {
        let mut table = Table { files: vec!["/start here/keeper.ini"], ..Table::default() };
        table.variables.insert("KSM_TOKEN", "t");
        assert!(
            matches!(locate(None, &table), Located::Token { keep_in, .. } if keep_in == Path::new("/start here/keeper.ini"))
        );
        table.variables.insert("KSM_CONFIG_BASE64_1", "c1");
        table.variables.insert("KSM_CONFIG_BASE64_2", "c2");
        table.variables.insert("KSM_CONFIG_BASE64_DESC_2", "prod");
        table.variables.insert("KSM_CONFIG_BASE64_4", "not reached");
        let Located::Numbered(found) = locate(None, &table) else { panic!() };
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["App1", "prod"]);
        table.variables.insert("KSM_CONFIG", "c");
        assert!(matches!(locate(None, &table), Located::Variable(_)));
        assert!(
            matches!(locate(Some(Path::new("x.ini")), &table), Located::Ini(p) if p == Path::new("x.ini"))
        );
    }
}
