//! `baton keygen`.

use baton_client::Seed;

use crate::args::KeygenArgs;
use crate::error::CliError;
use crate::identity;

pub(crate) fn main(args: KeygenArgs) -> Result<i32, CliError> {
    let path = identity::path(args.file, identity::CLIENT_KEY)?;
    let seed = Seed::generate()?;
    seed.write(&path)?;
    eprintln!(
        "baton: wrote {}; its public line, for an exec-server's allow-list, is:",
        path.display()
    );
    println!("{}", identity::public_line(seed.client_key()?.public()));
    Ok(0)
}
