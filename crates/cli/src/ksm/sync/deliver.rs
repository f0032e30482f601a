//! From entries to what is at the destination: which names they make, what may be removed, and what came
//! of each.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use destinations::{Destination, Encoding, Fault, Kind};
use engine::once::{Action, Decision, Item, Once, Seen, Wish};
use keeper::{
    Client, MarkKey,
    json::{Json, Style},
    sync_source::{
        Content, Desired, Entry,
        merge::{self, Change, NotText},
    },
    text::Form,
};
use model::{RemoteName, SecretBytes, StoreId};

use super::{SyncArgs, Type, progress::Progress};
use crate::house::World;

/// More removals than this at once …
const MANY_REMOVALS: usize = 25;
/// … and more than this share of a run wait for a person (decisions 8).
const MANY_PERCENT: usize = 30;

/// What came of one entry, or would.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Why it is not as it should be.
    pub(super) error: Option<String>,
    /// Something is there.
    pub(super) exists: Option<bool>,
    /// It is not what it should be.
    pub(super) differs: Option<bool>,
    /// What was to be done: `create`, `update`, `delete`, `none`.
    pub(super) action: &'static str,
    /// What is there, where that was asked for.
    pub(super) there: Option<Json>,
    /// Worth knowing beside it.
    pub(super) note: Option<String>,
}

/// One run's delivery to one destination.
pub(super) struct Delivery<'a> {
    world: &'a World,
    args: &'a SyncArgs,
    form: Form,
    marks: MarkKey,
    kind: &'static dyn Kind,
    destination: Arc<dyn Destination>,
}

/// The entries of one name: one for a whole value, any number for members of an object.
struct Group {
    name: RemoteName,
    members: Vec<usize>,
}

/// A group with what is known and decided about it.
struct Work {
    group: Group,
    seen: Seen,
    /// What would be done if nothing were held back.
    first: Action,
    decision: Decision,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        world: &'a World,
        args: &'a SyncArgs,
        client: &Client,
        kind: &'static dyn Kind,
        destination: Arc<dyn Destination>,
    ) -> Self {
        let marks = client.config().mark_key();
        let form = if args.python_values { Form::Python } else { Form::Json };
        Self { world, args, form, marks, kind, destination }
    }

    /// Looks, decides and, unless this is a dry run, carries out. One outcome per entry, in order.
    pub(super) async fn run(&self, entries: &[Entry], progress: &Progress) -> Vec<Outcome> {
        let digest = |purpose: &str, parts: &[&[u8]]| self.marks.digest(purpose, parts);
        let mut store = [0; 16];
        store.copy_from_slice(&digest("store", &[])[..16]);
        let once = Once {
            destination: Arc::clone(&self.destination),
            kind: self.kind,
            store: StoreId::from_bytes(store),
            digest: &digest,
            overwrite: self.args.overwrite,
            clock: &*self.world.clock,
            entropy: &*self.world.entropy,
        };
        let mut outcomes: Vec<Outcome> = entries.iter().map(|entry| self.before(entry)).collect();
        let groups = self.groups(entries, &mut outcomes);
        progress.say(&format!("looking at {}", self.kind.title()));
        let mut works = self.decide(&once, entries, groups).await;
        self.hold_removals(&once, entries, &mut works, &mut outcomes);
        for work in &works {
            for &at in &work.group.members {
                self.describe(&entries[at], work, &mut outcomes[at]);
            }
        }
        let (groups, decisions): (Vec<Group>, Vec<Decision>) =
            works.into_iter().map(|work| (work.group, work.decision)).unzip();
        let actions: Vec<Action> = if self.args.writes() {
            let total = decisions.len();
            once.carry_out(decisions, &mut || progress.step(total)).await
        } else {
            decisions.into_iter().map(|decision| decision.action).collect()
        };
        for (group, action) in groups.iter().zip(&actions) {
            let Action::Refuse(fault) = action else { continue };
            for &at in &group.members {
                outcomes[at].error.get_or_insert_with(|| words(fault));
            }
        }
        outcomes
    }

    /// What is known of an entry before anything is looked at.
    fn before(&self, entry: &Entry) -> Outcome {
        let mut outcome = Outcome { action: "none", ..Outcome::default() };
        match &entry.desired {
            Desired::Fail(trouble) => outcome.error = Some(trouble.message.clone()),
            Desired::Write(Content::Binary(_))
                if entry.json_key.is_some() || !self.kind.abilities().binary =>
            {
                outcome.note = Some(format!("{}: the file is written as base64 text", entry.key()));
            }
            Desired::Write(_) | Desired::Remove(_) => {}
        }
        outcome
    }

    /// The entries by name, those that failed left out.
    fn groups(&self, entries: &[Entry], outcomes: &mut [Outcome]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            match &entry.desired {
                Desired::Fail(_) => continue,
                // A dry run shows what would be kept, too.
                Desired::Remove(_) if self.args.preserve_missing && self.args.writes() => continue,
                Desired::Write(_) | Desired::Remove(_) => {}
            }
            if let Some(&group) = by_name.get(entry.name.as_str()) {
                groups[group].members.push(at);
                continue;
            }
            match self.kind.remote_name(&entry.name) {
                // A name that would become another one is not the name that was asked for.
                Ok(name) if name.as_str() == entry.name => {
                    by_name.insert(&entry.name, groups.len());
                    groups.push(Group { name, members: vec![at] });
                }
                _ => {
                    let title = self.kind.title();
                    outcomes[at].error = Some(format!("the name is not one that {title} takes"));
                }
            }
        }
        groups
    }

    async fn decide(&self, once: &Once<'_>, entries: &[Entry], groups: Vec<Group>) -> Vec<Work> {
        let items: Vec<Item<'_>> =
            groups.iter().filter_map(|group| self.item(entries, group, true)).collect();
        let seen = once.look(&items, self.args.kind == Type::Json).await;
        let mut works = Vec::with_capacity(groups.len());
        for ((group, item), seen) in groups.into_iter().zip(items).zip(seen) {
            let decision = once.decide(item, &seen);
            works.push(Work { group, seen, first: decision.action.clone(), decision });
        }
        works
    }

    /// What is wanted of a name; none where nothing is left to be wanted.
    fn item<'e>(&self, entries: &'e [Entry], group: &Group, removals: bool) -> Option<Item<'e>> {
        let first = entries.get(*group.members.first()?)?;
        let form = self.form;
        let wish = match &first.desired {
            _ if first.json_key.is_some() => self.changes(entries, group, removals)?,
            Desired::Write(Content::Text(text)) => Wish::Hold(text.clone(), Encoding::Text),
            Desired::Write(Content::Binary(bytes)) => Wish::Hold(bytes.clone(), Encoding::Binary),
            Desired::Write(Content::Record(json)) => Wish::Change {
                wanted: json.write(Style::Compact),
                onto: Box::new(move |there| merge::record(there, json, form).map_err(not_text)),
            },
            Desired::Remove(_) if removals => Wish::Gone,
            Desired::Remove(_) | Desired::Fail(_) => return None,
        };
        Some(Item { name: group.name.clone(), wish, named: !first.derived })
    }

    /// Changes to members of the object of that name.
    fn changes<'e>(&self, entries: &'e [Entry], group: &Group, removals: bool) -> Option<Wish<'e>> {
        let form = self.form;
        let mut changes: Vec<(&'e str, Change)> = Vec::new();
        let mut wanted = Json::object([]);
        for &at in &group.members {
            let entry = &entries[at];
            let key = entry.json_key.as_deref().unwrap_or_default();
            match &entry.desired {
                Desired::Write(content) => {
                    let text = as_text(content);
                    // Opened to go into the object.
                    wanted.set(key, Json::text(text.expose_text().unwrap_or_default()));
                    changes.push((key, Change::Set(text)));
                }
                Desired::Remove(_) if removals => {
                    wanted.set(key, Json::Null);
                    changes.push((key, Change::Remove));
                }
                Desired::Remove(_) | Desired::Fail(_) => {}
            }
        }
        if changes.is_empty() {
            return None;
        }
        Some(Wish::Change {
            wanted: wanted.write(Style::Compact),
            onto: Box::new(move |there| merge::members(there, &changes, form).map_err(not_text)),
        })
    }

    /// Takes removals back that must not happen in this run (decisions 8, 19, 20).
    fn hold_removals(
        &self,
        once: &Once<'_>,
        entries: &[Entry],
        works: &mut [Work],
        outcomes: &mut [Outcome],
    ) {
        let removed: Vec<Vec<usize>> = works.iter().map(|work| removed_by(entries, work)).collect();
        let count: usize = removed.iter().map(Vec::len).sum();
        let unread = entries.iter().any(|entry| matches!(entry.desired, Desired::Fail(_)));
        let many = count > MANY_REMOVALS && count * 100 > entries.len() * MANY_PERCENT && !self.args.yes;
        let why = if self.args.preserve_missing {
            None
        } else if unread {
            Some("it is not removed, because other sources of this run could not be read".to_owned())
        } else if many {
            Some(format!(
                "it is not removed, because {count} of {} would go at once: confirm with --yes",
                entries.len()
            ))
        } else {
            return;
        };
        for (work, removed) in works.iter_mut().zip(removed).filter(|(_, removed)| !removed.is_empty()) {
            for at in removed {
                outcomes[at].error.clone_from(&why);
            }
            work.decision = match self.item(entries, &work.group, false) {
                Some(item) => once.decide(item, &work.seen),
                None => Decision::leave(),
            };
        }
    }

    /// What is there, in the terms of one entry.
    fn describe(&self, entry: &Entry, work: &Work, outcome: &mut Outcome) {
        let writes = matches!(entry.desired, Desired::Write(_));
        if entry.json_key.is_some() {
            let (exists, differs, there) = member(entry, work, writes);
            (outcome.exists, outcome.differs, outcome.there) = (exists, differs, there);
        } else {
            outcome.exists = work.seen.exists();
            outcome.differs = (outcome.exists == Some(true)).then_some(!matches!(work.first, Action::Keep));
            let record = matches!(&entry.desired, Desired::Write(Content::Record(_)));
            outcome.there = work.seen.value().map(|(value, encoding)| shown(value, encoding, record));
        }
        if self.args.kind != Type::Json {
            outcome.there = None;
        }
        outcome.action = match (outcome.exists, outcome.differs, writes) {
            (Some(false), _, true) => "create",
            (Some(true), Some(true), true) => "update",
            (Some(true), _, false) if !self.args.preserve_missing => "delete",
            _ => "none",
        };
    }
}

/// A member of the object that is there: whether it is, whether it differs, and its value.
fn member(entry: &Entry, work: &Work, writes: bool) -> (Option<bool>, Option<bool>, Option<Json>) {
    let Some((value, _)) = work.seen.value() else {
        return match work.seen.exists() {
            // Proven without reading.
            Some(true) if work.first == Action::Keep => (Some(writes), writes.then_some(false), None),
            Some(false) => (Some(false), None, None),
            _ => (None, None, None),
        };
    };
    let there = object(value).and_then(|object| object.get(entry.json_key.as_deref()?).cloned());
    let Some(there) = there.filter(|there| !there.is_null()) else { return (Some(false), None, None) };
    let same = match &entry.desired {
        Desired::Write(content) => {
            // Opened to be compared.
            as_text(content).expose_text().ok() == there.as_text()
        }
        Desired::Remove(_) | Desired::Fail(_) => false,
    };
    (Some(true), Some(!same), Some(there))
}

/// The entries that a decision takes something away for.
fn removed_by(entries: &[Entry], work: &Work) -> Vec<usize> {
    let removes = |at: &usize| matches!(entries[*at].desired, Desired::Remove(_));
    let candidates = work.group.members.iter().copied().filter(removes);
    match work.decision.action {
        Action::Remove => candidates.collect(),
        Action::Update => {
            let there = work.seen.value().and_then(|(value, _)| object(value));
            let has = |at: &usize| {
                let key = entries[*at].json_key.as_deref();
                key.is_some_and(|key| there.as_ref().is_some_and(|object| object.get(key).is_some()))
            };
            candidates.filter(has).collect()
        }
        _ => Vec::new(),
    }
}

fn object(value: &SecretBytes) -> Option<Json> {
    // Opened to be read as an object.
    let json = Json::parse(value.expose_text().ok()?).ok()?;
    json.as_object().is_some().then_some(json)
}

/// The text a member of an object gets.
fn as_text(content: &Content) -> SecretBytes {
    match content {
        Content::Text(text) => text.clone(),
        // Opened to be encoded; the text is as secret as the bytes.
        Content::Binary(bytes) => SecretBytes::from(BASE64_STANDARD.encode(bytes.expose())),
        Content::Record(json) => json.write(Style::Compact),
    }
}

/// A value for the output: as an object where an object is expected, else as text, else as base64.
fn shown(value: &SecretBytes, encoding: Encoding, record: bool) -> Json {
    if record && let Some(object) = object(value) {
        return object;
    }
    match (encoding, value.expose_text()) {
        // Opened because the user asked for it to be printed.
        (Encoding::Text, Ok(text)) => Json::text(text),
        _ => Json::text(BASE64_STANDARD.encode(value.expose())),
    }
}

fn not_text(_: NotText) -> Fault {
    Fault::client(
        "not_text",
        "what is there is not text, so that nothing can be set in it; remove it by hand, or use another name",
    )
}

/// A fault in the words of this command: the engine's speak of a server's settings.
fn words(fault: &Fault) -> String {
    match fault.code {
        "name_taken" => "a secret of this name is there that this application has not written, and it is left \
                         alone; --overwrite takes it over"
            .to_owned(),
        "ownership_lost" | "later_restore" => {
            "the secret of this name belongs to something else (another application, keyferry or Vault) and is \
             left alone; --overwrite takes it over"
                .to_owned()
        }
        "cannot_look" => "the credentials do not allow looking whether the secret of this name is ours, and it \
                          is left alone; allow that, or use --overwrite"
            .to_owned(),
        _ => match fault.http_status {
            Some(status) => format!("{} (HTTP {status})", fault.message),
            None => fault.message.clone().into_owned(),
        },
    }
}
