//! A row of the table: command lines, and in what the two sides may differ.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};

use crate::{
    bench::{Ran, Side, Tool},
    cloud,
};

/// One comparison. Made with [`row`] and the methods that add to it.
pub(crate) struct Row {
    /// Unique.
    pub(crate) name: &'static str,
    /// Run one after the other on each side. `{name}` stands for a UID of the vault.
    lines: Vec<Vec<&'static str>>,
    variables: Vec<(&'static str, &'static str)>,
    input: &'static str,
    files: Vec<(&'static str, &'static str)>,
    outputs: Vec<&'static str>,
    prepare: Option<fn(&mut Side)>,
    state: fn(&Side) -> Value,
    /// What stands at AWS before, for rows that need one.
    aws: Option<Vec<(&'static str, &'static str)>>,
    masked: bool,
    differs: Vec<Difference>,
}

/// Something of one row that differs, and why.
pub(crate) struct Difference {
    /// Its heading in docs/ksm-differences.md.
    pub(crate) why: &'static str,
    of: Of,
}

/// What may differ, and what ours is then.
enum Of {
    /// What a line prints. Placeholders are filled in.
    Stdout(usize, &'static str),
    /// What a line ends with.
    Code(usize, i32),
    /// What is left behind, looked at by a test of its own.
    State(fn(&Value)),
}

/// A row of one command line, its words parted by spaces.
pub(crate) fn row(name: &'static str, line: &'static str) -> Row {
    row_of(name, &line.split(' ').collect::<Vec<_>>())
}

/// A row of one command line whose words hold spaces.
pub(crate) fn row_of(name: &'static str, words: &[&'static str]) -> Row {
    Row {
        name,
        lines: vec![words.to_vec()],
        variables: Vec::new(),
        input: "",
        files: Vec::new(),
        outputs: Vec::new(),
        prepare: None,
        state: Side::state,
        aws: None,
        masked: false,
        differs: Vec::new(),
    }
}

impl Row {
    /// Another command line after the ones before.
    #[must_use]
    pub(crate) fn then(self, line: &'static str) -> Self {
        self.then_of(&line.split(' ').collect::<Vec<_>>())
    }

    /// The same, its words holding spaces.
    #[must_use]
    pub(crate) fn then_of(mut self, words: &[&'static str]) -> Self {
        self.lines.push(words.to_vec());
        self
    }

    /// An environment variable.
    #[must_use]
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// What is on stdin.
    #[must_use]
    pub(crate) const fn input(mut self, text: &'static str) -> Self {
        self.input = text;
        self
    }

    /// A file in the working directory.
    #[must_use]
    pub(crate) fn file(mut self, name: &'static str, content: &'static str) -> Self {
        self.files.push((name, content));
        self
    }

    /// A file that the command line writes, which must be the same.
    #[must_use]
    pub(crate) fn output(mut self, name: &'static str) -> Self {
        self.outputs.push(name);
        self
    }

    /// Something done to each side before.
    #[must_use]
    pub(crate) fn prepare(mut self, prepare: fn(&mut Side)) -> Self {
        self.prepare = Some(prepare);
        self
    }

    /// A destination at AWS that is compared afterwards, in place of the vault. These secrets stand there
    /// before. `{aws}` is the record of its credentials; every name there begins with `{run}`.
    #[must_use]
    pub(crate) fn aws(mut self, planted: &[(&'static str, &'static str)]) -> Self {
        self.aws = Some(planted.to_vec());
        self.state = cloud::state;
        self.env("AWS_ENDPOINT_URL", "{moto}")
    }

    /// Whether it needs the stand-in of AWS.
    pub(crate) const fn needs_aws(&self) -> bool {
        self.aws.is_some()
    }

    /// Long runs of base64 are taken for equal: keys and UIDs that a client draws.
    #[must_use]
    pub(crate) const fn masked(mut self) -> Self {
        self.masked = true;
        self
    }

    /// Stdout of the last line differs; this is ours.
    #[must_use]
    pub(crate) fn prints(mut self, why: &'static str, ours: &'static str) -> Self {
        let line = self.lines.len() - 1;
        self.differs.push(Difference { why, of: Of::Stdout(line, ours) });
        self
    }

    /// The exit code of the last line differs; this is ours.
    #[must_use]
    pub(crate) fn exits(mut self, why: &'static str, ours: i32) -> Self {
        let line = self.lines.len() - 1;
        self.differs.push(Difference { why, of: Of::Code(line, ours) });
        self
    }

    /// What is left behind differs; this looks at ours.
    #[must_use]
    pub(crate) fn leaves(mut self, why: &'static str, look: fn(&Value)) -> Self {
        self.differs.push(Difference { why, of: Of::State(look) });
        self
    }

    /// The reasons why it differs.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.differs.iter().map(|difference| difference.why)
    }

    /// Runs both sides and compares.
    pub(crate) fn check(&self, python: &str) -> Result<(), String> {
        let (theirs, their_runs) = self.run(Tool::Official(python.into()));
        let (ours, our_runs) = self.run(Tool::Ours);
        for (at, (their, our)) in their_runs.iter().zip(&our_runs).enumerate() {
            let told = format!(
                "line {at}, official ({:?}):\n{}\n{}\nours ({:?}):\n{}\n{}",
                their.code,
                their.text(),
                their.stderr,
                our.code,
                our.text(),
                our.stderr
            );
            self.check_stdout(at, (&theirs, &ours), their, our).map_err(|why| format!("{why}, {told}"))?;
            self.check_code(at, their, our).map_err(|why| format!("{why}, {told}"))?;
        }
        for name in &self.outputs {
            let read = |side: &Side| std::fs::read(side.path(name)).map_err(|e| format!("{name}: {e}"));
            let (their, our) = (read(&theirs)?, read(&ours)?);
            if self.shown(&theirs, &their) != self.shown(&ours, &our) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                return Err(format!("{name} differs\nofficial:\n{}\nours:\n{}", text(&their), text(&our)));
            }
        }
        self.check_state(&(self.state)(&theirs), &(self.state)(&ours))
    }

    fn run(&self, tool: Tool) -> (Side, Vec<Ran>) {
        let mut side = Side::new(tool);
        if let Some(prepare) = self.prepare {
            prepare(&mut side);
        }
        if let Some(planted) = &self.aws {
            cloud::prepare(&mut side, self.name, planted);
        }
        for (name, content) in &self.files {
            std::fs::write(side.path(name), side.filled(content)).unwrap();
        }
        let variables: Vec<_> =
            self.variables.iter().map(|(name, value)| (*name, side.filled(value))).collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let runs = self
            .lines
            .iter()
            .map(|line| {
                let words: Vec<String> = line.iter().map(|word| side.filled(word)).collect();
                side.run_with(&words, &variables, side.filled(self.input).as_bytes())
            })
            .collect();
        (side, runs)
    }

    fn check_stdout(
        &self,
        at: usize,
        (theirs, side): (&Side, &Side),
        their: &Ran,
        our: &Ran,
    ) -> Result<(), String> {
        let same = self.shown(theirs, &their.stdout) == self.shown(side, &our.stdout);
        let expected = self.differs.iter().find_map(|difference| match difference.of {
            Of::Stdout(line, ours) if line == at => Some((difference.why, ours)),
            _ => None,
        });
        match expected {
            None if same => Ok(()),
            None => Err("stdout differs".to_owned()),
            Some((why, _)) if same => Err(format!("stdout is the same, so {why} is no reason here")),
            Some((_, ours))
                if self.shown(side, side.filled(ours).as_bytes()) == self.shown(side, &our.stdout) =>
            {
                Ok(())
            }
            Some((why, ours)) => Err(format!("stdout differs because of {why}, and should be {ours:?}")),
        }
    }

    fn check_code(&self, at: usize, their: &Ran, our: &Ran) -> Result<(), String> {
        let expected = self.differs.iter().find_map(|difference| match difference.of {
            Of::Code(line, ours) if line == at => Some((difference.why, ours)),
            _ => None,
        });
        match expected {
            None if their.code == our.code => Ok(()),
            None => Err("the exit code differs".to_owned()),
            Some((why, _)) if their.code == our.code => {
                Err(format!("the exit code is the same, so {why} is no reason here"))
            }
            Some((_, ours)) if our.code == Some(ours) => Ok(()),
            Some((why, ours)) => Err(format!("the exit code differs because of {why}, and should be {ours}")),
        }
    }

    fn check_state(&self, theirs: &Value, ours: &Value) -> Result<(), String> {
        let expected = self.differs.iter().find_map(|difference| match difference.of {
            Of::State(look) => Some((difference.why, look)),
            _ => None,
        });
        match expected {
            None if theirs == ours => Ok(()),
            None => Err(format!("what is left differs\nofficial:\n{theirs:#}\nours:\n{ours:#}")),
            Some((why, _)) if theirs == ours => {
                Err(format!("what is left is the same, so {why} is no reason here"))
            }
            Some((_, look)) => {
                look(ours);
                Ok(())
            }
        }
    }

    /// Output in the form in which it is compared: base64 of JSON as that JSON, the server's address
    /// without its port, JSON as a value.
    fn shown(&self, side: &Side, bytes: &[u8]) -> Value {
        let decoded = URL_SAFE.decode(bytes).ok().filter(|decoded| decoded.starts_with(b"{"));
        let text = String::from_utf8_lossy(decoded.as_deref().unwrap_or(bytes));
        let text = text.replace(&side.server.host().to_string(), "{host}");
        let text = if self.masked { masked(&text) } else { text };
        serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
    }
}

/// Runs of twenty and more signs of base64, as one mark.
fn masked(text: &str) -> String {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let mut out = String::new();
    for run in text.split_inclusive(|c: char| !is_sign(c)) {
        let body = run.trim_end_matches(|c: char| !is_sign(c));
        if body.len() >= 20 {
            out.push('#');
            out.push_str(&run[body.len()..]);
        } else {
            out.push_str(run);
        }
    }
    out
}
