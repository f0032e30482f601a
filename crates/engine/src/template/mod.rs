//! Name templates: the subset of Go's `text/template` that Vault's secret names use
//! (vault-sync-api.md 6): fields, strings, pipelines of `uppercase`, `lowercase` and `replace`,
//! variables, `if`/`else if`/`else`, and trim markers. It is pure: a template can reach the eleven
//! fields below and nothing else, and rendering cannot fail.

mod parse;

use std::fmt;

/// What a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `aws-sm`
    DestinationType,
    /// The destination's name.
    DestinationName,
    /// Empty in the root namespace.
    NamespacePath,
    /// The last segment of the namespace path.
    NamespaceBaseName,
    /// `root` in the root namespace.
    NamespaceId,
    /// Without its trailing slash.
    MountPath,
    /// The last segment of the mount path.
    MountBaseName,
    /// `kv_eb4acbae`
    MountAccessor,
    /// Below the mount.
    SecretPath,
    /// The last segment of the secret path.
    SecretBaseName,
    /// The top-level key; with `secret-key` granularity only.
    SecretKey,
}

const FIELDS: [(&str, Field); 11] = [
    ("DestinationType", Field::DestinationType),
    ("DestinationName", Field::DestinationName),
    ("NamespacePath", Field::NamespacePath),
    ("NamespaceBaseName", Field::NamespaceBaseName),
    ("NamespaceID", Field::NamespaceId),
    ("MountPath", Field::MountPath),
    ("MountBaseName", Field::MountBaseName),
    ("MountAccessor", Field::MountAccessor),
    ("SecretPath", Field::SecretPath),
    ("SecretBaseName", Field::SecretBaseName),
    ("SecretKey", Field::SecretKey),
];

/// The values behind the fields for one secret, or one key of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// See [`Field`]; the other members likewise.
    pub destination_type: &'a str,
    /// The destination's name.
    pub destination_name: &'a str,
    /// Without its trailing slash.
    pub mount_path: &'a str,
    /// The mount's accessor.
    pub mount_accessor: &'a str,
    /// Below the mount.
    pub secret_path: &'a str,
    /// The top-level key, with `secret-key` granularity.
    pub secret_key: &'a str,
}

impl<'a> Values<'a> {
    fn get(&self, field: Field) -> &'a str {
        match field {
            Field::DestinationType => self.destination_type,
            Field::DestinationName => self.destination_name,
            Field::NamespacePath | Field::NamespaceBaseName => "",
            Field::NamespaceId => "root",
            Field::MountPath => self.mount_path,
            Field::MountBaseName => base_name(self.mount_path),
            Field::MountAccessor => self.mount_accessor,
            Field::SecretPath => self.secret_path,
            Field::SecretBaseName => base_name(self.secret_path),
            Field::SecretKey => self.secret_key,
        }
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    nodes: Vec<Node>,
    variables: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Output(Pipeline),
    Assign(usize, Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pipeline {
    first: Operand,
    calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Field(Field),
    Variable(usize),
    Text(String),
}

/// A function with all but its last argument, which the pipeline supplies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Uppercase,
    Lowercase,
    Replace(Operand, Operand),
}

/// A template that cannot be used: where and why. Templates hold no secrets, so the offending word
/// is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Byte offset in the template.
    pub at: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.problem)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads and checks a template. Unknown fields and functions are refused here, so that
    /// [`Template::render`] cannot fail.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::template(text)
    }

    /// Whether the field is named anywhere, be it in a branch that is never taken or in a variable
    /// that is never used (vault-sync-api.md 6.4).
    pub fn mentions(&self, field: Field) -> bool {
        fn operand(operand: &Operand, field: Field) -> bool {
            *operand == Operand::Field(field)
        }
        fn pipeline(p: &Pipeline, field: Field) -> bool {
            operand(&p.first, field)
                || p.calls.iter().any(|call| match call {
                    Call::Replace(old, new) => operand(old, field) || operand(new, field),
                    Call::Uppercase | Call::Lowercase => false,
                })
        }
        fn nodes(list: &[Node], field: Field) -> bool {
            list.iter().any(|node| match node {
                Node::Text(_) => false,
                Node::Output(p) | Node::Assign(_, p) => pipeline(p, field),
                Node::If(branches, otherwise) => {
                    branches.iter().any(|(p, body)| pipeline(p, field) || nodes(body, field))
                        || nodes(otherwise, field)
                }
            })
        }
        nodes(&self.nodes, field)
    }

    /// The name for these values, before the destination adapts it.
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        let mut variables = vec![String::new(); self.variables];
        render(&self.nodes, values, &mut variables, &mut out);
        out
    }
}

fn render(nodes: &[Node], values: &Values<'_>, variables: &mut Vec<String>, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Output(pipeline) => out.push_str(&evaluate(pipeline, values, variables)),
            Node::Assign(slot, pipeline) => {
                let value = evaluate(pipeline, values, variables);
                if let Some(variable) = variables.get_mut(*slot) {
                    *variable = value;
                }
            }
            Node::If(branches, otherwise) => {
                let taken = branches
                    .iter()
                    .find(|(condition, _)| !evaluate(condition, values, variables).is_empty())
                    .map_or(otherwise, |(_, body)| body);
                render(taken, values, variables, out);
            }
        }
    }
}

fn evaluate(pipeline: &Pipeline, values: &Values<'_>, variables: &[String]) -> String {
    let value = |operand: &Operand| match operand {
        Operand::Field(field) => values.get(*field).to_owned(),
        Operand::Variable(slot) => variables.get(*slot).cloned().unwrap_or_default(),
        Operand::Text(text) => text.clone(),
    };
    pipeline.calls.iter().fold(value(&pipeline.first), |piped, call| match call {
        Call::Uppercase => piped.to_uppercase(),
        Call::Lowercase => piped.to_lowercase(),
        Call::Replace(old, new) => piped.replace(&value(old), &value(new)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUES: Values<'_> = Values {
        destination_type: "aws-sm",
        destination_name: "my-store-1",
        mount_path: "team/my-kv",
        mount_accessor: "kv_eb4acbae",
        secret_path: "app/db",
        secret_key: "pass-word",
    };

    fn rendered(template: &str) -> String {
        Template::parse(template).unwrap().render(&VALUES)
    }

    #[test]
    fn the_defaults_of_vault_render() {
        for (template, name) in [
            ("vault/{{ .MountAccessor }}/{{ .SecretPath }}", "vault/kv_eb4acbae/app/db"),
            (r#"vault-{{ .MountAccessor | replace "_" "-" }}-{{ .SecretPath }}"#, "vault-kv-eb4acbae-app/db"),
            (
                "VAULT_{{ .MountAccessor | uppercase }}_{{ .SecretPath | uppercase }}_{{ .SecretKey | uppercase }}",
                "VAULT_KV_EB4ACBAE_APP/DB_PASS-WORD",
            ),
        ] {
            assert_eq!(rendered(template), name);
        }
    }

    #[test]
    fn templates_seen_in_public_render() {
        for (template, name) in [
            ("{{ if .NamespacePath }}{{ .NamespacePath }}/{{ end }}{{ .SecretBaseName }}", "db"),
            ("{{ $unused := .SecretKey }}{{ .SecretBaseName }}", "db"),
            (r#"{{ .SecretKey | replace "-" "_" | uppercase }}"#, "PASS_WORD"),
            ("{{ uppercase .DestinationName }}", "MY-STORE-1"),
            ("{{ .DestinationType }}.{{ .MountBaseName }}.{{ .NamespaceID }}", "aws-sm.my-kv.root"),
            ("{{if .NamespacePath}}a{{else if .SecretKey}}b{{else}}c{{end}}", "b"),
            ("a {{- .SecretKey -}}  b", "apass-wordb"),
            ("{{ $x := .SecretKey }}{{ if .SecretPath }}{{ $x = `y` }}{{ end }}{{ $x }}", "y"),
            ("{{/* why */}}x", "x"),
            ("no actions", "no actions"),
            ("", ""),
        ] {
            assert_eq!(rendered(template), name, "{template}");
        }
    }

    #[test]
    fn mistakes_are_placed_and_named() {
        for (template, at, part) in [
            ("{{ .Nope }}", 3, "`.Nope` is not known"),
            ("{{ .SecretKey | sha256 }}", 16, "function `sha256` is not known"),
            ("{{ env \"HOME\" }}", 3, "function `env` is not known"),
            ("x{{ .SecretKey", 14, "`}}` is expected"),
            ("{{ if .SecretKey }}x", 0, "no {{ end }}"),
            ("{{ end }}", 0, "no open if"),
            ("{{ if .SecretKey }}{{ else }}{{ else }}{{ end }}", 29, "already has an else"),
            ("{{ $y }}", 3, "`$y` is not defined"),
            ("{{ if .SecretKey }}{{ $z := `a` }}{{ end }}{{ $z }}", 46, "`$z` is not defined"),
            ("{{ range .SecretKey }}{{ end }}", 3, "`range` is not supported"),
            ("{{ .SecretKey.Inner }}", 13, "no fields of their own"),
            ("{{ \"open }}", 3, "not closed"),
            ("{{ }}", 3, "is expected"),
        ] {
            let fault = Template::parse(template).unwrap_err();
            assert!(fault.problem.contains(part), "{template}: {fault}");
            assert_eq!(fault.at, at, "{template}: {fault}");
        }
    }

    #[test]
    fn any_mention_of_the_key_counts() {
        for (template, mentions) in [
            ("{{ .SecretKey }}", true),
            ("{{ $unused := .SecretKey }}x", true),
            ("{{ if .NamespacePath }}{{ .SecretKey }}{{ end }}", true),
            (r#"{{ .SecretPath | replace "a" .SecretKey }}"#, true),
            (".SecretKey", false),
            ("{{ .SecretPath }}", false),
        ] {
            assert_eq!(Template::parse(template).unwrap().mentions(Field::SecretKey), mentions, "{template}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}{}", "{{ if .SecretKey }}".repeat(500), "{{ end }}".repeat(500));
        assert!(Template::parse(&deep).unwrap_err().problem.contains("nested deeper"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"([{}. $|"`:=a-zA-Z/*é-]|\{\{|\}\}|if|end|else|\.SecretKey|replace){0,40}"#) {
            if let Ok(template) = Template::parse(&text) {
                template.render(&VALUES);
            }
        }

        #[test]
        fn text_without_actions_is_itself(text in "[^{}]{0,30}") {
            prop_assert_eq!(rendered(&text), text);
        }
    }
}
