//! A PostgreSQL database for a test: a schema of its own, in the server that `./test` starts.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    process::Command,
};

use super::parts::part;

/// One schema of a database.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) schema: String,
    bin: PathBuf,
}

/// A new one; none when the part is not there.
pub(crate) fn postgres() -> Option<Database> {
    let url = part("KEYFERRY_TEST_POSTGRES")?;
    let bin = part("KEYFERRY_TEST_POSTGRES_BIN")?.into();
    // No test has it twice, in whatever process.
    let schema = format!("t_{:016x}", RandomState::new().hash_one(0));
    Some(Database { url, schema, bin })
}

impl Database {
    /// Another server's, with its own programs.
    pub(crate) fn at(url: String, bin: &Path) -> Self {
        Self { url, schema: "keyferry".into(), bin: bin.to_owned() }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        let place = self.url.rsplit_once('@').unwrap().1;
        place.split_once('/').unwrap().0
    }

    /// Writes a configuration for a server whose files are in `dir`; `more` goes into its `[storage]`.
    pub(crate) fn config(&self, dir: &Path, more: &str) -> PathBuf {
        let file = dir.join("keyferry.toml");
        let text = format!(
            "[storage]\ntype = \"postgresql\"\nconnection_url = \"{}\"\nschema = \"{}\"\npath = \"{}/keys\"\n{more}\n\
             [listener]\naddress = \"127.0.0.1:0\"\n",
            self.url,
            self.schema,
            dir.display()
        );
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// What a statement prints, rows and columns without decoration. `{s}` stands for the schema.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c"])
            .arg(statement.replace("{s}", &self.schema))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{statement}: {}", text(output.stderr));
        text(output.stdout).trim().to_owned()
    }
}
