//! `baton keygen`: creates a key, or prints the public line of an existing one.

use baton_core_client::Seed;

use crate::args::KeygenArgs;
use crate::error::CliError;
use crate::identity;
use crate::stdio::page;

pub(crate) fn main(args: KeygenArgs) -> Result<i32, CliError> {
    let path = identity::path(args.file, identity::CLIENT_KEY)?;
    let seed = if args.public {
        Seed::read(&path)?
    } else {
        let seed = Seed::generate()?;
        seed.write(&path)?;
        stderr_line!(
            "baton: wrote {}; its public line, for an exec-server's allow-list, is:",
            path.display()
        );
        seed
    };
    let line = identity::public_line(seed.client_key()?.public());
    page(&format!("{line}\n"))?;
    Ok(0)
}
