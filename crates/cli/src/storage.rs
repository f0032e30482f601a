//! Where the store is, as configured: a directory of this machine, or a database.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use store::{Backend, EmbeddedOptions, OpenError, Postgres, PostgresOptions, Store, data_dir, key_dir};

use crate::{
    config::{Config, ConfigError},
    house::World,
};

/// What is needed to make or open the store.
pub(crate) enum Storage {
    /// In a directory, with its root key unless people or a service keep that.
    Directory { dir: PathBuf, options: EmbeddedOptions },
    /// In a PostgreSQL database. The root key's file, where one keeps it, is in the directory.
    Database { options: Box<PostgresOptions>, keys: Option<PathBuf> },
}

/// A store that is made but can still be taken back.
pub(crate) enum Prepared {
    Directory(data_dir::Prepared),
    Database(key_dir::Prepared),
}

impl Storage {
    /// What the configuration says; `flag` wins over its `storage.path`.
    pub(crate) fn configured(config: &Config, flag: Option<&Path>) -> Result<Self, ConfigError> {
        let path = flag.or(config.storage.path.as_deref()).map(Path::to_owned);
        if let Some(options) = config.postgresql()? {
            return Ok(Self::Database { options: Box::new(options), keys: path });
        }
        let dir = path.ok_or_else(|| {
            ConfigError::new(
                "storage.path is not set: name the directory made by `keyferry init --data DIR`, there or with --data",
            )
        })?;
        Ok(Self::Directory { dir, options: config.embedded() })
    }

    /// In words, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Directory { dir, .. } => dir.display().to_string(),
            Self::Database { options, .. } => format!("schema {} of {}", options.schema, options.place()),
        }
    }

    /// The store's file, where it is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Directory { dir, .. } => Some(dir.join(data_dir::STORE_FILE)),
            Self::Database { .. } => None,
        }
    }

    /// The directory that holds the root key's file.
    pub(crate) fn key_dir(&self) -> Result<&Path, ConfigError> {
        match self {
            Self::Directory { dir, .. } | Self::Database { keys: Some(dir), .. } => Ok(dir),
            Self::Database { keys: None, .. } => Err(ConfigError::new(
                "storage.path is not set: with seal.type = \"key-file\" it names the directory of the root key's file, \
                 also when the store is in a database",
            )),
        }
    }

    /// Makes a store whose root key a file keeps.
    pub(crate) async fn prepare(&self, world: &World) -> Result<Prepared, OpenError> {
        let (clock, entropy) = (world.clock.as_ref(), Arc::clone(&world.entropy));
        match self {
            Self::Directory { dir, .. } => {
                data_dir::prepare(dir, clock, entropy).await.map(Prepared::Directory)
            }
            Self::Database { keys, .. } => {
                let dir = keys.as_deref().unwrap_or(Path::new("."));
                let backend = self.backend(world).await?;
                key_dir::prepare(dir, backend, &self.place(), clock, entropy).await.map(Prepared::Database)
            }
        }
    }

    /// Opens the store by the root key's file.
    pub(crate) async fn open(&self, world: &World) -> Result<Store, OpenError> {
        let entropy = Arc::clone(&world.entropy);
        match self {
            Self::Directory { dir, options } => data_dir::open(dir, entropy, options.clone()).await,
            Self::Database { keys, .. } => {
                let dir = keys.as_deref().unwrap_or(Path::new("."));
                key_dir::open(dir, self.backend(world).await?, &self.place(), entropy).await
            }
        }
    }

    /// What the store is or will be in, when no file keeps its root key.
    pub(crate) async fn backend(&self, world: &World) -> Result<Arc<dyn Backend>, OpenError> {
        Ok(match self {
            Self::Directory { dir, options } => Arc::new(data_dir::backend(dir, options.clone())?),
            Self::Database { options, .. } => {
                Arc::new(Postgres::open(options.as_ref().clone(), world.entropy.as_ref()).await?)
            }
        })
    }
}

impl Prepared {
    /// The store, which can be used.
    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Directory(prepared) => prepared.store(),
            Self::Database(prepared) => prepared.store(),
        }
    }

    /// Makes it a store that opens.
    pub(crate) async fn finish(self) -> Result<(), OpenError> {
        match self {
            Self::Directory(prepared) => prepared.finish().map(|_| ()),
            Self::Database(prepared) => prepared.finish().await,
        }
    }
}
