//! `keyferry init`

use std::io::Write as _;

use destinations::net::Snapshot;
use server::app::tokens;
use store::data_dir;

use crate::{
    args::{Format, InitArgs},
    config::{Config, SealType},
    failure::Failure,
    house::World,
    printer,
    storage::Storage,
};

/// Makes a store and prints its root token, which is kept nowhere.
pub(crate) fn run(args: &InitArgs, environment: &Snapshot) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref(), environment).map_err(Failure::wrong)?;
    if config.seal.r#type != SealType::KeyFile {
        return Err(Failure::wrong(
            "seal.type: `keyferry init` makes stores whose root key a file keeps; start the server and make this one \
             by `sys/init` (`bao operator init`)",
        ));
    }
    let storage = Storage::configured(&config, args.data.as_deref()).map_err(Failure::wrong)?;
    storage.key_dir().map_err(Failure::wrong)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(make(args, &storage))
}

async fn make(args: &InitArgs, storage: &Storage) -> Result<(), Failure> {
    let world = World::real();
    let prepared = storage.prepare(&world).await.map_err(Failure::failed)?;
    let (clock, entropy) = (world.clock.as_ref(), world.entropy.as_ref());
    let token = tokens::create_root(prepared.store(), clock, entropy, None).await.map_err(Failure::failed)?;
    // EXPOSE: this is the one time that the root token is shown.
    let token = token.expose_text().map_err(Failure::failed)?;
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Text => writeln!(stdout, "{token}"),
        Format::Json => writeln!(stdout, "{{\"root_token\": \"{token}\"}}"),
    }
    .and_then(|()| stdout.flush())
    // Nobody has the token then, so there shall be no store: dropping what was prepared removes it.
    .map_err(|fault| Failure::failed(format!("the root token could not be printed: {fault}")))?;
    prepared.finish().await.map_err(Failure::failed)?;
    let (place, dir) = (storage.place(), storage.key_dir().map_err(Failure::wrong)?.display());
    let (key, serve) = match storage {
        Storage::Directory { .. } => ("", format!("--data {dir}")),
        Storage::Database { .. } => {
            (" Every server of this store needs a copy of the key too.", "--config FILE".to_owned())
        }
    };
    printer::talk(format_args!(
        "The store is in {place}, its root key in {dir}/{}: keep a copy of the key elsewhere, apart from the\n\
         store's backups.{key} The root token above is shown only now.\n\
         Serve it with: keyferry server {serve}",
        data_dir::KEY_FILE
    ));
    Ok(())
}
