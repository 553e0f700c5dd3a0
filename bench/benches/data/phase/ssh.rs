//! Download and upload beside ssh through a jump host, over warm connections.

use baton_bench::network::congestion_control;
use baton_bench::ssh::{Master, Route, Ssh};
use baton_bench::stats::Statistic;
use baton_bench::{Failure, Row, Unit, start_in_turns};

use super::{BenchContext, Compared, Direction, one, per_megabyte};
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
        Err(why) => {
            return Ok(vec![
                Row::absent(id, what, Unit::Times, why.to_string()).bar(Some(bar)),
            ]);
        }
    };
    let bytes = bench.plan.bulk_bytes;
    let start = |set| {
        let mut baton = None;
        // The second master is for A against A.
        let routes = [Route::Jump, Route::Jump, Route::Direct];
        let masters = start_in_turns(set, 1 + routes.len(), |process| match process.checked_sub(1) {
            None => {
                baton = Some(Baton::start()?);
                Ok(None)
            }
            // A master that has just ended may still remove its socket.
            Some(route) => Ok(Some(ssh.master(&format!("{set}-{route}"), routes[route])?)),
        })?;
        let masters: Vec<_> = masters.into_iter().flatten().collect();
        Ok((baton.ok_or("no process set of Baton")?, masters))
    };
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
    let visit = |(baton, masters): &(Baton, Vec<Master>), visited: usize| {
        let seconds = match visited {
            0 => over(exec(&baton.stack, None, &argv)?)?,
            1 => one(baton.client.ask(format!("{direction} {bytes}"))?)?,
            master => over(masters[master - 2].command(&quoted(&argv)))?,
        };
        Ok(per_megabyte(seconds, bytes))
    };
    let measured = bench.in_sets(bench.plan.ssh, 5, start, visit)?;
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
