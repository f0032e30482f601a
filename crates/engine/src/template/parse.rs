//! Reading templates: from text to what is rendered, with the place of every mistake.

use super::{Call, FIELDS, Node, Operand, Pipeline, Template, TemplateError};

/// Reads a whole template.
pub(super) fn template(text: &str) -> Result<Template, TemplateError> {
    let mut parser = Parser { text, at: 0, variables: Vec::new(), seen: 0, depth: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Text => Ok(Template { nodes, variables: parser.seen }),
        End::Else(at) | End::ElseIf(at) | End::Closed(at) => {
            Err(TemplateError { at, problem: "there is no open if here".into() })
        }
    }
}

/// What ended a run of nodes, and where.
enum End {
    Text,
    Else(usize),
    ElseIf(usize),
    Closed(usize),
}

/// Deepest nesting of `if`.
const MAX_DEPTH: usize = 16;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Variables in scope: name and slot.
    variables: Vec<(String, usize)>,
    seen: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, problem: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError { at: self.at, problem: problem.into() })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        let length =
            self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
        let word = &self.rest()[..length];
        self.at += length;
        word
    }

    /// Text and actions up to the end of the template or of the enclosing `if`.
    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes: Vec<Node> = Vec::new();
        let in_scope = self.variables.len();
        loop {
            let open = self.rest().find("{{").unwrap_or(self.rest().len());
            let mut text = &self.rest()[..open];
            self.at += open;
            let action = self.at;
            let in_action = self.eat("{{");
            if in_action && self.rest().starts_with("- ") {
                self.at += 1;
                text = text.trim_end();
            }
            if !text.is_empty() {
                nodes.push(Node::Text(text.to_owned()));
            }
            if !in_action {
                self.variables.truncate(in_scope);
                return Ok((nodes, End::Text));
            }
            self.skip_space();
            if self.rest().starts_with("/*") {
                let Some(end) = self.rest().find("*/") else { return self.fail("the comment is not closed") };
                self.at += end + 2;
                self.close()?;
                continue;
            }
            let start = self.at;
            let keyword = self.word();
            match keyword {
                "end" => {
                    self.close()?;
                    self.variables.truncate(in_scope);
                    return Ok((nodes, End::Closed(action)));
                }
                "else" => {
                    self.skip_space();
                    let end = if self.rest().starts_with("if ") {
                        self.at += 2;
                        End::ElseIf(action)
                    } else {
                        self.close()?;
                        End::Else(action)
                    };
                    self.variables.truncate(in_scope);
                    return Ok((nodes, end));
                }
                "if" => nodes.push(self.conditional(action)?),
                "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                    self.at = start;
                    return self.fail(format!(
                        "`{keyword}` is not supported; use fields, functions, if and variables"
                    ));
                }
                _ => {
                    self.at = start;
                    nodes.push(self.action()?);
                    self.close()?;
                }
            }
        }
    }

    /// From after `if` to after its `end`.
    fn conditional(&mut self, opened: usize) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!("if is nested deeper than {MAX_DEPTH}"));
        }
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        let mut condition = Some(self.condition()?);
        loop {
            let (body, end) = self.nodes()?;
            let closes_else = condition.is_none();
            match condition.take() {
                Some(condition) => branches.push((condition, body)),
                None => otherwise = body,
            }
            match end {
                End::Closed(_) => break,
                End::ElseIf(_) if !closes_else => condition = Some(self.condition()?),
                End::Else(_) if !closes_else => {}
                End::Else(at) | End::ElseIf(at) => {
                    return Err(TemplateError { at, problem: "this if already has an else".into() });
                }
                End::Text => {
                    return Err(TemplateError { at: opened, problem: "this if has no {{ end }}".into() });
                }
            }
        }
        self.depth -= 1;
        Ok(Node::If(branches, otherwise))
    }

    fn condition(&mut self) -> Result<Pipeline, TemplateError> {
        let pipeline = self.pipeline()?;
        self.close()?;
        Ok(pipeline)
    }

    fn action(&mut self) -> Result<Node, TemplateError> {
        let start = self.at;
        if self.eat("$") {
            let name = self.word().to_owned();
            self.skip_space();
            let declares = self.eat(":=");
            if declares || self.eat("=") {
                let pipeline = self.pipeline()?;
                let known = self.variables.iter().rev().find(|(n, _)| *n == name).map(|(_, slot)| *slot);
                let slot = match (declares, known) {
                    (false, Some(slot)) => slot,
                    (false, None) => return Err(unknown_variable(start, &name)),
                    (true, _) => {
                        self.seen += 1;
                        self.variables.push((name, self.seen - 1));
                        self.seen - 1
                    }
                };
                return Ok(Node::Assign(slot, pipeline));
            }
            self.at = start;
        }
        Ok(Node::Output(self.pipeline()?))
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        self.skip_space();
        let mut calls = Vec::new();
        let first = if self.at_operand() {
            self.operand()?
        } else {
            // A function written in front of its last argument: `uppercase .SecretPath`.
            let call = self.call()?;
            self.skip_space();
            let last = self.operand()?;
            calls.push(call);
            last
        };
        loop {
            self.skip_space();
            if !self.eat("|") {
                return Ok(Pipeline { first, calls });
            }
            self.skip_space();
            calls.push(self.call()?);
        }
    }

    fn call(&mut self) -> Result<Call, TemplateError> {
        let start = self.at;
        match self.word() {
            "uppercase" => Ok(Call::Uppercase),
            "lowercase" => Ok(Call::Lowercase),
            "replace" => {
                self.skip_space();
                let old = self.operand()?;
                self.skip_space();
                Ok(Call::Replace(old, self.operand()?))
            }
            name => {
                let problem = if name.is_empty() {
                    "a field, a string, a variable or a function is expected".to_owned()
                } else {
                    format!("function `{name}` is not known; there are uppercase, lowercase and replace")
                };
                Err(TemplateError { at: start, problem })
            }
        }
    }

    fn at_operand(&self) -> bool {
        matches!(self.rest().as_bytes().first(), Some(b'.' | b'$' | b'"' | b'`'))
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let start = self.at;
        match self.rest().as_bytes().first() {
            Some(b'.') => {
                self.at += 1;
                let name = self.word();
                if self.rest().starts_with('.') {
                    return self.fail("fields have no fields of their own");
                }
                match FIELDS.iter().find(|(known, _)| *known == name) {
                    Some((_, field)) => Ok(Operand::Field(*field)),
                    None => {
                        let known: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
                        Err(TemplateError {
                            at: start,
                            problem: format!("field `.{name}` is not known; there are {}", known.join(", ")),
                        })
                    }
                }
            }
            Some(b'$') => {
                self.at += 1;
                let name = self.word();
                let slot = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, slot)| *slot);
                slot.map(Operand::Variable).ok_or_else(|| unknown_variable(start, name))
            }
            Some(b'"') => self.quoted(),
            Some(b'`') => {
                let Some(length) = self.rest()[1..].find('`') else {
                    return self.fail("the string is not closed");
                };
                let text = self.rest()[1..=length].to_owned();
                self.at += length + 2;
                Ok(Operand::Text(text))
            }
            _ => self.fail("a field, a string or a variable is expected"),
        }
    }

    fn quoted(&mut self) -> Result<Operand, TemplateError> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Operand::Text(text));
                }
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    _ => return self.fail("the string has an escape other than \\\\, \\\", \\n and \\t"),
                },
                _ => text.push(c),
            }
        }
        self.fail("the string is not closed")
    }

    /// The end of an action, with its trim marker.
    fn close(&mut self) -> Result<(), TemplateError> {
        self.skip_space();
        if self.eat("-}}") {
            self.skip_space();
            return Ok(());
        }
        if self.eat("}}") { Ok(()) } else { self.fail("`}}` is expected") }
    }
}

fn unknown_variable(at: usize, name: &str) -> TemplateError {
    TemplateError { at, problem: format!("variable `${name}` is not defined") }
}
