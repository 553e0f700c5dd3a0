//! Download and upload beside ssh through a jump host, over warm connections.

use baton_bench::network::congestion_control;
use baton_bench::ssh::{Route, Ssh};
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit};

use super::{BenchContext, Compared, Direction, Visit, one, stream};
use crate::bars;
use crate::peers::{Baton, download_cli, exec, quoted, upload_cli};
use crate::role::program::{consumer, producer};

pub(super) fn measure(bench: &BenchContext, direction: Direction) -> Result<Vec<Row>, Failure> {
    let control = congestion_control()?;
    let is_download = direction == Direction::Download;
    let (direction, bar) = if is_download {
        ("download", bars::SSH_DOWNLOAD)
    } else {
        ("upload", bars::SSH_UPLOAD)
    };
    let id = format!("{direction}_over_ssh");
    let what = format!("{direction} over `ssh -J`, aes128-gcm, {control}");
    let ssh = match Ssh::start() {
        Ok(ssh) => ssh,
        Err(why) => return Ok(vec![Row::absent(id, what, Unit::Times, why.to_string())]),
    };
    let bytes = bench.plan.bulk_bytes;
    let baton = Baton::start()?;
    // The second master is for A against A.
    let (first, second) = (
        ssh.master("first", Route::Jump)?,
        ssh.master("second", Route::Jump)?,
    );
    let straight = ssh.master("straight", Route::Direct)?;
    let argv = if is_download {
        producer(bytes, None)?
    } else {
        consumer()?
    };
    let over = |command| {
        if is_download {
            download_cli(command, bytes)
        } else {
            upload_cli(command, bytes)
        }
    };
    let participants: [Visit<'_>; 5] = [
        stream(bytes, || over(exec(&baton.stack, None, &argv)?)),
        stream(bytes, || one(baton.client.ask(format!("{direction} {bytes}"))?)),
        stream(bytes, || over(first.command(&quoted(&argv)))),
        stream(bytes, || over(second.command(&quoted(&argv)))),
        stream(bytes, || over(straight.command(&quoted(&argv)))),
    ];
    let measured = bench.interleave(bench.plan.ssh_rounds, &participants)?;
    let [cli, library, peer, peer_again, straight] = &measured[..] else {
        return Err("not five participants".into());
    };
    let compared = Compared {
        own: cli,
        peer,
        peer_again: Some(peer_again),
        bar: Some(bar),
    };
    let mut rows = vec![bench.ratio(id, what, compared, Statistic::Rate)];
    let compared = Compared {
        own: library,
        bar: None,
        ..compared
    };
    let id = format!("{direction}_library_over_ssh");
    let what = format!("{direction}, Baton's library over the same");
    rows.push(bench.ratio(id, what, compared, Statistic::Rate));
    for (id, what, of) in [
        ("cli", "`baton exec`", cli),
        ("library", "Baton's library", library),
        ("ssh_jump", "`ssh -J`", peer),
        ("ssh_direct", "`ssh`, direct", straight),
    ] {
        let id = format!("{direction}_beside_ssh_{id}");
        rows.push(bench.throughput(id, format!("{direction}, {what}, {control}"), of));
    }
    Ok(rows)
}
