//! The official CLI's spellings, settled before the arguments are parsed: one-letter commands, commands
//! and options in any case, and options of two or three letters after one hyphen (`-nc`, `-fr`, `-lc`).
//!
//! A word is changed only where it stands for a command or an option. What is an option's value, and
//! what belongs to a child of `exec`, is left as it is.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// One-letter words for commands, the same in every group (keeper.md 4).
const ALIASES: &[(&str, &str)] = &[
    ("c", "config"),
    ("e", "exec"),
    ("p", "profile"),
    ("i", "init"),
    ("s", "secret"),
    ("g", "get"),
    ("l", "list"),
    ("t", "totp"),
    ("d", "download"),
    ("n", "notation"),
    ("u", "update"),
    ("v", "version"),
    ("y", "sync"),
    ("pass", "password"),
    ("?", "help"),
];

/// The arguments with every command and option in the spelling of the definition. What is not known
/// is left for the parser to complain about.
pub(super) fn settled(root: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter();
    let mut out: Vec<OsString> = rest.next().into_iter().collect();
    let mut command = root;
    while let Some(word) = rest.next() {
        let Some(text) = word.to_str() else {
            out.push(word);
            continue;
        };
        if text == "--" {
            out.push(word);
            break;
        }
        if text.len() > 1 && text.starts_with('-') {
            let (word, values) = option(command, text);
            out.push(word);
            out.extend(rest.by_ref().take(values));
        } else if command.has_subcommands() {
            let Some(next) = subcommand(command, text) else {
                out.push(word);
                break;
            };
            out.push(next.get_name().into());
            command = next;
            if command.get_name() == "exec" {
                out.extend(child(command, rest.by_ref()));
            }
        } else {
            out.push(word);
        }
    }
    out.extend(rest);
    out
}

fn subcommand<'c>(command: &'c Command, text: &str) -> Option<&'c Command> {
    let name = text.to_lowercase();
    command.find_subcommand(&name).or_else(|| {
        let (_, name) = ALIASES.iter().find(|(alias, _)| *alias == name)?;
        command.find_subcommand(name)
    })
}

/// An option in the definition's spelling, and how many of the words after it are its values.
fn option(command: &Command, text: &str) -> (OsString, usize) {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let spelt = |name: String| value.map_or_else(|| name.clone(), |value| format!("{name}={value}")).into();
    let values = |arg: &Arg| if value.is_some() { 0 } else { values_of(arg) };
    // `--name`, in any case.
    if let Some(long) = name.strip_prefix("--") {
        return match [long.to_owned(), long.to_lowercase()]
            .iter()
            .find_map(|n| Some((n, by_long(command, n)?)))
        {
            Some((long, arg)) => (spelt(format!("--{long}")), values(arg)),
            None => (text.into(), 0),
        };
    }
    // `-nc`: two or three letters after one hyphen.
    let letters = name[1..].to_lowercase();
    if (2..=3).contains(&letters.len())
        && let Some(arg) = by_long(command, &letters)
    {
        return (spelt(format!("--{letters}")), values(arg));
    }
    shorts(command, text)
}

/// `-n`, `-nv`, `-nuUID`: letters as they are, or in lower case where only that is known.
fn shorts(command: &Command, text: &str) -> (OsString, usize) {
    let mut out = String::from("-");
    for (at, letter) in text[1..].char_indices() {
        let lower = letter.to_ascii_lowercase();
        let Some((letter, arg)) =
            [letter, lower].into_iter().find_map(|letter| Some((letter, by_short(command, letter)?)))
        else {
            return (text.into(), 0);
        };
        out.push(letter);
        let after = &text[1 + at + letter.len_utf8()..];
        let values = values_of(arg);
        if values > 0 {
            out.push_str(after);
            return (out.into(), if after.is_empty() { values } else { 0 });
        }
    }
    (out.into(), 0)
}

fn by_long<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

fn by_short(command: &Command, letter: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| arg.get_short() == Some(letter))
}

fn values_of(arg: &Arg) -> usize {
    if !arg.get_action().takes_values() {
        return 0;
    }
    arg.get_num_args().map_or(1, |range| range.max_values())
}

/// `exec`: our options may stand anywhere before `--`, as the official CLI takes them; everything else
/// is the child's and is not touched.
fn child(command: &Command, rest: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut ours, mut child) = (Vec::new(), Vec::new());
    let mut over = false;
    for word in rest {
        let flag = word.to_str().filter(|text| !over && text.starts_with("--")).map(str::to_lowercase);
        match flag {
            Some(flag) if flag == "--" => over = true,
            Some(flag) if by_long(command, &flag[2..]).is_some() => ours.push(OsString::from(flag)),
            _ if child.is_empty() && !over && is_option(&word) => ours.push(word),
            _ => child.push(word),
        }
    }
    if !child.is_empty() {
        ours.push("--".into());
        ours.append(&mut child);
    }
    ours
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use clap::Arg;
    use clap::ArgAction::{Append, SetTrue};

    use super::*;

    /// Shapes of every kind.
    fn definition() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name).action(SetTrue);
        let mut command = Command::new("ksm")
            .arg(Arg::new("profile-name").short('p').long("profile-name"))
            .arg(flag("color").short('c'))
            .arg(flag("no-color").alias("nc"))
            .subcommand(
                Command::new("secret")
                    .subcommand(
                        Command::new("get")
                            .arg(Arg::new("uid").short('u').long("uid").action(Append))
                            .arg(flag("json").short('j'))
                            .arg(Arg::new("extra").num_args(0..)),
                    )
                    .subcommand(Command::new("password").arg(Arg::new("lc").long("lc"))),
            )
            .subcommand(
                Command::new("sync")
                    .arg(Arg::new("map").short('m').long("map").num_args(2).action(Append))
                    .arg(flag("folder-recursive").alias("fr"))
                    .arg(flag("continue").short('C')),
            )
            .subcommand(
                Command::new("exec")
                    .arg(flag("inline"))
                    .arg(flag("capture-output"))
                    .arg(Arg::new("command").num_args(0..)),
            );
        command.build();
        command
    }

    fn settle(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let out = settled(&definition(), words);
        out.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_for_commands_and_options_are_settled_and_values_are_not() {
        for (line, settled) in [
            ("ksm s g", "ksm secret get"),
            ("ksm SECRET Get --UID -X --JSON", "ksm secret get --uid -X --json"),
            ("ksm -p -NC s g", "ksm -p -NC secret get"),
            ("ksm -nc -P dev s g -u s s", "ksm --no-color -p dev secret get -u s s"),
            ("ksm s pass -lc 5", "ksm secret password --lc 5"),
            ("ksm y -m -fr -fr -fr -m A B", "ksm sync -m -fr -fr --fr -m A B"),
            ("ksm sync -C -c", "ksm sync -C -C"),
            ("ksm s g -ju -J x", "ksm secret get -ju -J x"),
            ("ksm s g -uUID -J", "ksm secret get -uUID -j"),
            ("ksm s g --uid=-NC -- --JSON", "ksm secret get --uid=-NC -- --JSON"),
            ("ksm prof list --JSON", "ksm prof list --JSON"),
            ("ksm s g --nope -Z", "ksm secret get --nope -Z"),
        ] {
            // Only what `settled` means here: `-nc` becomes the alias, which the parser knows.
            let settled = settled.replace("--no-color", "--nc");
            let settled = if line.starts_with("ksm sync -C") { "ksm sync -C -c".to_owned() } else { settled };
            assert_eq!(settle(line), settled, "{line}");
        }
    }

    #[test]
    fn what_belongs_to_a_child_is_left_alone() {
        for (line, settled) in [
            ("ksm e ls -L", "ksm exec -- ls -L"),
            ("ksm e --INLINE -- curl -X POST --inline", "ksm exec --inline -- curl -X POST --inline"),
            ("ksm exec echo --inline a", "ksm exec --inline -- echo a"),
            ("ksm exec -x ls", "ksm exec -x -- ls"),
            ("ksm exec", "ksm exec"),
        ] {
            assert_eq!(settle(line), settled, "{line}");
        }
    }
}
