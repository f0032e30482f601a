//! `file`: one JSON object in a file on the server's machine, name to value. Limits, rights and quirks
//! are in notes.md.

mod disk;
mod pair;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use model::{Granularity, RemoteName, SecretBytes};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    Abilities, Case, Config, Destination, Encoding, Expect, Fault, Field, FieldFault, Kind, Mark, NameRule,
    Net, Put, PutOutcome, Remote, Remove, Shape,
};
use pair::Pair;

/// The kind.
pub(crate) struct FileKind;

const FIELDS: &[Field] = &[Field::new(
    "path",
    Shape::Text,
    "Absolute path of the JSON file on the server. Its directory must exist; the file is made when it \
     is first written. A hidden file beside it, .<name>.keyferry, says which entries are whose.",
)
.required()
.immutable()
.checked(|path| {
    if !path.starts_with('/') {
        Some("must be an absolute path")
    } else if path.len() > 4000 || path.contains('\0') {
        Some("must be a path of at most 4000 bytes without NUL")
    } else if path[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("must name a file, without empty, . or .. parts")
    } else {
        None
    }
})];

static ABILITIES: Abilities = Abilities {
    granularity: Granularity::SecretPath,
    path_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}",
    key_template: "vault/{{ .MountAccessor }}/{{ .SecretPath }}/{{ .SecretKey }}",
    names: NameRule {
        allows: |c| !c.is_control(),
        allowed: "anything but control characters",
        replacement: '_',
        max_len: 1024,
        case: Case::Sensitive,
        also: |_| None,
    },
    max_value_bytes: 1 << 20,
    empty_values: true,
    marks: true,
    create_notices: true,
    custom_tags: None,
    binary: false,
    batch: 1000,
};

impl Kind for FileKind {
    fn slug(&self) -> &'static str {
        "file"
    }

    fn title(&self) -> &'static str {
        "JSON file"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        let path = config.text("path").ok_or_else(|| FieldFault::new("path", "is required"))?;
        let path = PathBuf::from(path);
        let root = net.file_root().map(Path::to_owned);
        if let Some(root) = root.as_deref().filter(|root| !disk::is_below(root, &path)) {
            return Err(FieldFault::new(
                "path",
                format!("must be below {}, the server's sync.file_root", root.display()),
            ));
        }
        let lock = lock_of(&path);
        Ok(Arc::new(File { path, root, lock }))
    }
}

/// One queue per file for the whole process, however often the file is opened as a destination.
fn lock_of(path: &Path) -> Arc<AsyncMutex<()>> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Weak<AsyncMutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = locks.get(path).and_then(Weak::upgrade) {
        return lock;
    }
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(AsyncMutex::new(()));
    locks.insert(path.to_owned(), Arc::downgrade(&lock));
    lock
}

struct File {
    path: PathBuf,
    /// What the file must be below, wherever links among its parents lead.
    root: Option<PathBuf>,
    lock: Arc<AsyncMutex<()>>,
}

/// A put that owns what it needs, to go to another thread.
struct Job {
    name: RemoteName,
    value: SecretBytes,
    encoding: Encoding,
    mark: Mark,
    expect: Expect<'static>,
}

impl Job {
    fn of(put: &Put<'_>) -> Self {
        Self {
            name: put.name.clone(),
            value: put.value.clone(),
            encoding: put.encoding,
            mark: put.mark.clone(),
            expect: match put.expect {
                Expect::Anything => Expect::Anything,
                Expect::Absent => Expect::Absent,
                Expect::Ours(_) => Expect::Ours(None),
            },
        }
    }
}

impl File {
    /// Does something to both files while nobody else does, and saves them. The work goes on to its
    /// end, and keeps its locks that long, when the caller stops waiting.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Pair) -> Vec<Result<T, Fault>> + Send + 'static,
    ) -> Result<Vec<Result<T, Fault>>, Fault> {
        let turn = Arc::clone(&self.lock).lock_owned().await;
        let (path, root) = (self.path.clone(), self.root.clone());
        let path = match root {
            None => path,
            // From here on under its real path, in which there are no links to be turned elsewhere.
            Some(root) => blocking(move || disk::real_path(&root, &path)).await?,
        };
        let directory = disk::lock_directory(&path).await?;
        blocking(move || {
            let _turn = turn;
            let mut pair = Pair::read(&path)?;
            let outcomes = work(&mut pair);
            let saved = pair.save(&directory);
            Ok(match saved {
                Ok(()) => outcomes,
                // What was decided did not happen, or nobody knows.
                Err(fault) => {
                    outcomes.into_iter().map(|outcome| outcome.and_then(|_| Err(fault.clone()))).collect()
                }
            })
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Fault::internal("file_task", "work on the file was cut short").ambiguous()))
}

/// A fault of the whole file as the answer for each entry.
fn for_each<T>(outcomes: Result<Vec<Result<T, Fault>>, Fault>, count: usize) -> Vec<Result<T, Fault>> {
    outcomes.unwrap_or_else(|fault| (0..count).map(|_| Err(fault.clone())).collect())
}

fn only<T>(mut outcomes: Vec<Result<T, Fault>>) -> Result<T, Fault> {
    outcomes.pop().unwrap_or_else(|| Err(Fault::internal("file_task", "no answer for an entry")))
}

#[async_trait]
impl Destination for File {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        only(self.look_many(std::slice::from_ref(name)).await)
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        only(self.put_many(std::slice::from_ref(put)).await)
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        only(self.remove_many(std::slice::from_ref(remove)).await)
    }

    async fn look_many(&self, names: &[RemoteName]) -> Vec<Result<Remote, Fault>> {
        // Under the lock: between the two replacements of a writer the files are not in step.
        let wanted = names.to_vec();
        let looked = self.change(move |pair| wanted.iter().map(|name| Ok(pair.look(name))).collect()).await;
        for_each(looked, names.len())
    }

    async fn put_many(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, Fault>> {
        let jobs: Vec<Result<Job, Fault>> = puts
            .iter()
            .map(|put| match put.value.len() {
                len if len > ABILITIES.max_value_bytes => {
                    Err(Fault::too_large(len, ABILITIES.max_value_bytes))
                }
                _ => Ok(Job::of(put)),
            })
            .collect();
        let outcomes = self
            .change(move |pair| jobs.into_iter().map(|job| job.and_then(|job| pair.put(&job))).collect())
            .await;
        for_each(outcomes, puts.len())
    }

    async fn remove_many(&self, removes: &[Remove<'_>]) -> Vec<Result<(), Fault>> {
        let jobs: Vec<(RemoteName, Option<Mark>)> =
            removes.iter().map(|remove| (remove.name.clone(), remove.owner.cloned())).collect();
        let outcomes = self
            .change(move |pair| jobs.iter().map(|(name, owner)| pair.remove(name, owner.as_ref())).collect())
            .await;
        for_each(outcomes, removes.len())
    }
}
