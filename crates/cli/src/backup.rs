//! `keyferry backup`, `restore`, `verify` and `doctor`: the whole store as a file, and a look at all of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, Write as _},
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use destinations::net::{Environment as _, Snapshot};
use model::SecretBytes;
use serde_json::json;
use server::app::core::Unsealing;
use store::{
    Backend, Guard, Memory, OpenError, RootKey, ShareKey, Store, data_dir, doctor, root_key_file,
    snapshot::{self, Checked, Guarding, Reader, Writer},
};

use crate::{
    args::{BackupArgs, DoctorArgs, KeyArgs, RestoreArgs, VerifyArgs},
    client::Client,
    config::Config,
    failure::Failure,
    house::World,
    printer,
    storage::Storage,
};

/// Writes a snapshot: of a store that is named, or of a running server.
pub(crate) fn backup(args: &BackupArgs, environment: &Snapshot) -> Result<(), Failure> {
    run(async {
        let mut out = Fresh::make(&args.out)?;
        let root = match storage(args.data.as_deref(), &args.key, environment)? {
            Some(storage) => {
                let world = World::real();
                let backend = existing(&storage, &world).await?;
                let guard = guard_of(&backend).await?;
                let root = root_key(&args.key, environment, guard.as_ref(), storage.key_dir().ok()).await?;
                let store =
                    Store::open(backend, &root, Arc::clone(&world.entropy)).await.map_err(Failure::failed)?;
                let store = store.ok_or_else(|| Failure::failed("there is no store in it yet"))?;
                let mut writer = Writer::new(&store, world.clock.now(), world.entropy.as_ref())
                    .await
                    .map_err(Failure::failed)?;
                while let Some(piece) = writer.piece().await.map_err(Failure::failed)? {
                    out.file.write_all(&piece).map_err(|error| out.failed(&error))?;
                }
                Some(root)
            }
            None => {
                let (address, token) = server_of(environment)?;
                Client::new(address, token).save("sys/storage/raft/snapshot", &mut out.file).await?;
                None
            }
        };
        // What was written is read, as whoever needs it will.
        let checked =
            snapshot::check(&out.file, root.as_ref()).map_err(|error| unusable(&args.out, &error))?;
        out.finish()?;
        tell(&args.out, &checked, args.json);
        Ok(())
    })
}

/// Puts a snapshot in the place of a store that is named, or of a running server's.
pub(crate) fn restore(args: &RestoreArgs, environment: &Snapshot) -> Result<(), Failure> {
    run(async {
        let file = opened(&args.file)?;
        let Some(storage) = storage(args.data.as_deref(), &args.key, environment)? else {
            let (address, token) = server_of(environment)?;
            let checked = snapshot::check(&file, None).map_err(|error| unusable(&args.file, &error))?;
            let bytes = fs::read(&args.file).map_err(|error| io(&args.file, &error))?;
            Client::new(address, token).send("sys/storage/raft/snapshot", bytes).await?;
            tell(&args.file, &checked, args.json);
            printer::talk(WAITS);
            return Ok(());
        };
        let world = World::real();
        let (now, entropy) = (world.clock.now(), Arc::clone(&world.entropy));
        let guard = guard_in(&args.file, &file)?;
        let root = root_key(&args.key, environment, guard.as_ref(), storage.key_dir().ok()).await?;
        let arriving = match &storage {
            Storage::Directory { dir, .. } if !dir.join(data_dir::STORE_FILE).exists() => {
                Some(data_dir::arrive(dir).map_err(Failure::failed)?)
            }
            _ => None,
        };
        let restored = if let Some((arriving, backend)) = arriving {
            let backend: Arc<dyn Backend> = Arc::new(backend);
            let restored = snapshot::restore(file, &root, &backend, Guarding::AsSaved, now, entropy).await;
            // Closed before it gets its name.
            drop(backend);
            if restored.is_ok() {
                arriving.finish(guard.is_none().then_some(&root)).map_err(Failure::failed)?;
            }
            restored
        } else {
            let backend = existing(&storage, &world).await?;
            if Store::is_in(backend.as_ref()).await.map_err(Failure::failed)? && !args.replace {
                return Err(Failure::wrong(format!(
                    "{} holds a store; name another place, or give --replace to put the snapshot in its place",
                    storage.place()
                )));
            }
            // The same store again: how its key is kept now is how it is to be kept.
            let same = Store::open(Arc::clone(&backend), &root, Arc::clone(&entropy)).await;
            let guarding =
                if same.is_ok_and(|store| store.is_some()) { Guarding::AsNow } else { Guarding::AsSaved };
            let restored = snapshot::restore(file, &root, &backend, guarding, now, entropy).await;
            if let (Ok(_), Storage::Database { keys: Some(dir), .. }, None) = (&restored, &storage, &guard) {
                keep_key(dir, &root)?;
            }
            restored
        };
        let (checked, _) =
            restored.map_err(|error| Failure::failed(format!("{}: {error}", args.file.display())))?;
        tell(&args.file, &checked, args.json);
        printer::talk(WAITS);
        Ok(())
    })
}

/// Puts the root key where servers of a database look for it, unless it is there.
fn keep_key(dir: &Path, root: &RootKey) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| io(dir, &error))?;
    match root_key_file::create(&dir.join(data_dir::KEY_FILE), root) {
        Ok(()) | Err(OpenError::AlreadyThere { .. }) => Ok(()),
        Err(error) => Err(Failure::failed(error)),
    }
}

const WAITS: &str = "restored; syncing waits until somebody confirms it: see sys/sync/restore-plan, then write to \
                     sys/sync/restore-plan/confirm";

/// Reads a snapshot to its end.
pub(crate) fn verify(args: &VerifyArgs, environment: &Snapshot) -> Result<(), Failure> {
    run(async {
        let file = opened(&args.file)?;
        let guard = guard_in(&args.file, &file)?;
        let root = if args.key.given() {
            Some(root_key(&args.key, environment, guard.as_ref(), None).await?)
        } else {
            None
        };
        let checked = snapshot::check(&file, root.as_ref()).map_err(|error| unusable(&args.file, &error))?;
        tell(&args.file, &checked, args.json);
        if root.is_none() {
            printer::talk(
                "only its structure was checked, which finds damage and no forgery; with the root key \
                 (--key-file, --shares or --config) everything is",
            );
        }
        Ok(())
    })
}

/// Looks at every record. Findings are exit code 1.
pub(crate) fn doctor(args: &DoctorArgs, environment: &Snapshot) -> Result<(), Failure> {
    run(async {
        let world = World::real();
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let storage = match &args.snapshot {
            Some(_) => None,
            None => Some(storage(args.data.as_deref(), &args.key, environment)?.ok_or_else(|| {
                Failure::wrong(
                    "name a store with --data DIR or --config FILE, or a snapshot with --snapshot FILE",
                )
            })?),
        };
        let (backend, guard, what) = match (&storage, &args.snapshot) {
            (Some(storage), _) => {
                let backend = existing(storage, &world).await?;
                let guard = guard_of(&backend).await?;
                (backend, guard, storage.place())
            }
            (None, path) => {
                let path = path.as_deref().unwrap_or(Path::new(""));
                let backend: Arc<dyn Backend> = Arc::new(Memory::new());
                (backend, guard_in(path, &opened(path)?)?, path.display().to_string())
            }
        };
        let dir = storage.as_ref().and_then(|storage| storage.key_dir().ok());
        let keyed = args.key.given() || dir.is_some_and(|dir| dir.join(data_dir::KEY_FILE).exists());
        let root = if keyed && !args.no_key {
            Some(root_key(&args.key, environment, guard.as_ref(), dir).await?)
        } else {
            None
        };
        if let Some(path) = &args.snapshot {
            let root = root.as_ref().ok_or_else(|| {
                Failure::wrong(
                    "what is in a snapshot can only be looked at with its root key (--key-file, --shares or --config)",
                )
            })?;
            let guarding = Guarding::AsSaved;
            snapshot::restore(opened(path)?, root, &backend, guarding, clock.now(), Arc::clone(&entropy))
                .await
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        }
        let report = doctor::examine(&backend, root.as_ref(), entropy).await.map_err(Failure::failed)?;
        if args.json {
            printer::data(serde_json::to_string_pretty(&report).map_err(Failure::failed)?);
        } else {
            for finding in &report.findings {
                let name = finding.name.as_deref().map(|name| format!(" {name}:")).unwrap_or_default();
                printer::data(format_args!(
                    "{} {} ({:#04x} {}):{name} {}",
                    finding.fault, finding.record, finding.tag, finding.key, finding.what
                ));
            }
        }
        let looked: u64 = report.records.values().sum();
        if !report.opened {
            printer::talk(
                "records were not opened: without the root key only their structure can be looked at",
            );
        }
        match report.findings.len() {
            0 => {
                printer::talk(format_args!("{what}: {looked} records, nothing wrong"));
                Ok(())
            }
            wrong => Err(Failure::failed(format!(
                "{what}: {looked} records, {wrong} findings; the others are served all the same: restore a snapshot, \
                 or write what is damaged anew"
            ))),
        }
    })
}

fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?
        .block_on(work)
}

/// The store that is named, if one is.
fn storage(data: Option<&Path>, key: &KeyArgs, environment: &Snapshot) -> Result<Option<Storage>, Failure> {
    if data.is_none() && key.config.is_none() {
        return Ok(None);
    }
    let config = Config::load(key.config.as_deref(), environment).map_err(Failure::wrong)?;
    Storage::configured(&config, data).map(Some).map_err(Failure::wrong)
}

/// What the store is in: a directory that nobody has open, or a database. A directory is not made.
async fn existing(storage: &Storage, world: &World) -> Result<Arc<dyn Backend>, Failure> {
    match storage {
        Storage::Directory { dir, options } => {
            let backend = data_dir::existing(dir, options.clone()).map_err(Failure::failed)?;
            Ok(Arc::new(backend))
        }
        Storage::Database { .. } => storage.backend(world).await.map_err(Failure::failed),
    }
}

async fn guard_of(backend: &Arc<dyn Backend>) -> Result<Option<Guard>, Failure> {
    Ok(Guard::read(backend.as_ref()).await.map_err(Failure::failed)?.map(|(guard, _)| guard))
}

/// The guard that a snapshot was saved with.
fn guard_in(path: &Path, file: &File) -> Result<Option<Guard>, Failure> {
    let file = file.try_clone().map_err(|error| io(path, &error))?;
    let reader = Reader::new(std::io::BufReader::new(file)).map_err(|error| unusable(path, &error))?;
    reader.meta().guard().map_err(|error| unusable(path, &error))
}

/// The root key: as asked for, or from the file in the directory.
async fn root_key(
    args: &KeyArgs,
    environment: &Snapshot,
    guard: Option<&Guard>,
    dir: Option<&Path>,
) -> Result<RootKey, Failure> {
    let no_guard =
        || Failure::wrong("this store has no key shares: a key file keeps its root key; give --key-file");
    if let Some(path) = &args.key_file {
        return root_key_file::read(path).map_err(Failure::failed);
    }
    if args.shares {
        let guard = guard.filter(|guard| guard.kind == "shamir").ok_or_else(no_guard)?;
        return by_shares(guard);
    }
    if let Some(path) = &args.config {
        let config = Config::load(Some(path), environment).map_err(Failure::wrong)?;
        if let Unsealing::Auto(service) =
            config.unsealing(&World::real(), environment).map_err(Failure::wrong)?
        {
            let guard = guard.filter(|guard| guard.kind == service.kind()).ok_or_else(|| {
                Failure::wrong(format!(
                    "this store's root key is not kept by {}: correct seal.type",
                    service.kind()
                ))
            })?;
            return service.unwrap(&guard.root).await.map_err(Failure::failed);
        }
    }
    if let Some(dir) = dir
        && let Some(root) = data_dir::root_key(dir).map_err(Failure::failed)?
    {
        return Ok(root);
    }
    Err(Failure::wrong(match guard {
        Some(guard) if guard.kind == "shamir" => {
            "the root key is needed: give --shares and type the key shares, one on a line"
        }
        Some(_) => "the root key is needed: give --config FILE of the server, whose seal opens it",
        None => "the root key is needed: give --key-file FILE",
    }))
}

/// From shares on standard input, one on a line.
fn by_shares(guard: &Guard) -> Result<RootKey, Failure> {
    printer::talk(format_args!("type {} key shares, one on a line:", guard.threshold));
    let mut shares = Vec::new();
    for line in std::io::stdin().lock().lines().take(usize::from(guard.threshold)) {
        let line = SecretBytes::from(line.map_err(Failure::failed)?);
        // EXPOSE: decoded into bytes that wipe themselves.
        let typed = line.expose().trim_ascii();
        let share = hex::decode(typed).or_else(|_| {
            let typed = typed.strip_suffix(b"=").unwrap_or(typed);
            BASE64_STANDARD_NO_PAD.decode(typed.strip_suffix(b"=").unwrap_or(typed))
        });
        shares.push(SecretBytes::new(
            share.map_err(|_| Failure::wrong("a key share is hexadecimal or base64"))?,
        ));
    }
    let root = ShareKey::combine(&shares).and_then(|key| guard.root_by(&key));
    root.ok_or_else(|| Failure::failed("the shares given do not make the key"))
}

fn server_of(environment: &Snapshot) -> Result<(String, SecretBytes), Failure> {
    let var =
        |name: &str| ["VAULT_", "BAO_"].iter().find_map(|prefix| environment.var(&format!("{prefix}{name}")));
    let address = var("ADDR").ok_or_else(|| {
        Failure::wrong("name a store with --data DIR or --config FILE, or a running server with VAULT_ADDR and VAULT_TOKEN")
    })?;
    let token = var("TOKEN").ok_or_else(|| Failure::wrong("VAULT_TOKEN is not set"))?;
    let host = address.trim_end_matches('/').strip_prefix("http://").ok_or_else(|| {
        Failure::wrong(
            "VAULT_ADDR must be an http:// address here; over TLS use `bao operator raft snapshot save` and \
             `… restore`, which write and read the same file",
        )
    })?;
    Ok((host.to_owned(), SecretBytes::from(token)))
}

fn opened(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| io(path, &error))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn unusable(path: &Path, error: &snapshot::SnapshotError) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn tell(path: &Path, checked: &Checked, as_json: bool) {
    let Checked { meta, ended } = checked;
    let entries = ended.entries.map(|(entries, _)| entries);
    if as_json {
        printer::data(json!({
            "file": path.display().to_string(), "store_id": meta.store_id, "epoch": meta.epoch,
            "created": meta.created, "made_by": meta.made_by, "chunks": ended.chunks, "entries": entries,
            "revision": ended.entries.map(|(_, revision)| revision), "authenticated": entries.is_some(),
        }));
        return;
    }
    let counted =
        entries.map_or_else(|| "entries not counted".to_owned(), |entries| format!("{entries} entries"));
    printer::data(format_args!(
        "{}: store {} of {}, epoch {}, {} parts, {counted}, complete",
        path.display(),
        meta.store_id,
        meta.created,
        meta.epoch,
        ended.chunks
    ));
}

/// A file that gets its name once it is complete.
struct Fresh<'a> {
    file: File,
    path: &'a Path,
    part: std::path::PathBuf,
    finished: bool,
}

impl<'a> Fresh<'a> {
    fn make(path: &'a Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::wrong(format!("{} exists already and was left as it is", path.display())));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = std::path::PathBuf::from(part);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&part).map_err(|error| io(&part, &error))?;
        Ok(Self { file, path, part, finished: false })
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        io(&self.part, error)
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        fs::rename(&self.part, self.path).map_err(|error| self.failed(&error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Half a snapshot is of no use.
            let _ = fs::remove_file(&self.part);
        }
    }
}
