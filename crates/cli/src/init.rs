//! `keyferry init`

use std::io::Write as _;

use server::app::tokens;
use store::data_dir;

use crate::{
    args::{Format, InitArgs},
    failure::Failure,
    house::World,
    printer,
};

/// Makes a store and prints its root token, which is kept nowhere.
pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Failure::failed)?;
    runtime.block_on(make(args))
}

async fn make(args: &InitArgs) -> Result<(), Failure> {
    let World { clock, entropy } = World::real();
    let prepared =
        data_dir::prepare(&args.data, clock.as_ref(), entropy.clone()).await.map_err(Failure::failed)?;
    let token = tokens::create_root(prepared.store(), clock.as_ref(), entropy.as_ref(), None)
        .await
        .map_err(Failure::failed)?;
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
    prepared.finish().map_err(Failure::failed)?;
    let dir = args.data.display();
    printer::talk(format_args!(
        "The store is in {dir}, its root key in {dir}/{}: keep a copy of the key elsewhere, apart from the\n\
         store's backups. The root token above is shown only now.\n\
         Serve it with: keyferry server --data {dir}",
        data_dir::KEY_FILE
    ));
    Ok(())
}
