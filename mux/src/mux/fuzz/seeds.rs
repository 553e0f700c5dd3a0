//! Seeds of the multiplexer's targets: scripts of steps of the peer and the application. Their numbers are those of
//! [`Simulation::act`](super::Simulation::act).

use baton_fuzz::Script;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let new = Script::default;
    let head = |script: Script, id| script.u8(1).u8(0).u16(0).u8(0).u8(0).u8(id);
    let data = |script: Script, len, end, id| script.u8(2).u16(len).u8(end).u8(id);
    let deliver = |script: Script| script.u8(10);
    let take = |script: Script, id| script.u8(17).u8(id).u8(2).u8(16).u8(id).u8(9);
    let open = |script: Script, id| script.u8(13).u8(id).u16(0).u8(1).u8(12);
    let answer = |script: Script| {
        let script = script.u8(13).u8(1).u16(0).u8(0).u8(14).u8(1).u16(300).u8(0);
        script.u8(15).u8(1).u8(1).u8(12).u8(12).u8(17).u8(1).u8(1)
    };
    let trailers = |script: Script, id| script.u8(3).u8(9).u32(7).u8(0).u8(1).u8(2).u8(id);
    let ones = (0..60).fold(head(new(), 1), |script, _| data(script, 1, 0, 1));
    let pinned = (2..=40).fold(deliver(head(new(), 1)), |script, id| {
        // One byte of a stream, in a message of 7 KiB.
        deliver(data(script, 1, 0, 1).u8(1).u8(0).u16(0).u8(0).u8(254).u8(id))
    });
    let flood = (0..20).fold(new(), |script, id| script.u8(6).u8(id));
    let streams = (1..=200).fold(new(), |script, id| deliver(head(script, id)));
    // More than may be in flight at once: only answered pings free room for it.
    let bulk = (1..=20).fold(new(), |script, id| {
        deliver(head(open(script, id), id))
            .u8(14)
            .u8(id)
            .u16(60_000)
            .u8(0)
    });
    let message = |frames: &[u8]| new().u8(0).chunk(frames).u8(10).done();
    vec![
        (
            "request",
            answer(take(deliver(data(data(head(new(), 1), 100, 0, 1), 20, 1, 1)), 1)).done(),
        ),
        (
            "response",
            take(deliver(trailers(data(head(open(new(), 1), 1), 500, 0, 1), 1)), 1).done(),
        ),
        (
            "deadline",
            deliver(new().u8(1).u8(0).u16(50).u8(20).u8(0).u8(1))
                .u8(18)
                .u16(2_000)
                .u8(12)
                .done(),
        ),
        (
            "credit",
            answer(deliver(head(new(), 1)))
                .u8(5)
                .u32(1_000)
                .u8(1)
                .u8(10)
                .u8(12)
                .done(),
        ),
        (
            "credit-beyond",
            deliver(open(head(new(), 1), 1).u8(5).u32(u32::MAX).u8(1)).done(),
        ),
        (
            "window",
            deliver(data(
                deliver(data(
                    deliver(data(open(head(new(), 1), 1), 65_000, 0, 1)),
                    65_000,
                    0,
                    1,
                )),
                65_000,
                0,
                1,
            ))
            .done(),
        ),
        ("reset", answer(deliver(head(new(), 1).u8(4).u8(1).u8(1))).done()),
        (
            "ping-pong",
            deliver(
                new()
                    .u8(18)
                    .u16(0)
                    .u8(12)
                    .u8(6)
                    .u8(1)
                    .u8(7)
                    .u8(1)
                    .u64(1_000_000_000)
                    .u64(5)
                    .u64(6),
            )
            .done(),
        ),
        ("ping-flood", deliver(flood).done()),
        (
            "go-away",
            deliver(new().u8(8).u8(1).u32(3).chunk("bye\x1b[2J".as_bytes()))
                .u8(13)
                .done(),
        ),
        (
            "metadata",
            deliver(new().u8(1).u8(1).u16(1).u8(1).u8(255).u8(1)).done(),
        ),
        ("bulk", bulk.done()),
        ("single-bytes", take(deliver(ones), 1).done()),
        ("pinned", pinned.done()),
        ("streams", streams.done()),
        ("twice", deliver(head(head(new(), 5), 5)).done()),
        (
            "after-the-end",
            deliver(data(data(head(new(), 1), 5, 1, 1), 5, 0, 1)).done(),
        ),
        ("unopened", deliver(data(new(), 5, 0, 200)).done()),
        ("unknown-type", message(&[12, 0, 0, 0, 0, 0, 0, 1])),
        ("optional", message(&[200, 9, 0, 1, 0, 0, 0, 1, 7])),
        ("optional-flood", message(&[128, 0, 0, 0, 0, 0, 0, 0].repeat(17))),
        ("hello-twice", message(&[11, 0, 0, 2, 0, 0, 0, 0, 8, 2])),
        (
            "keys-among-others",
            message(&[6, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("truncated", message(&[2, 0, 0, 9, 0, 0, 0, 1, 1])),
        ("bad-body", message(&[1, 0, 0, 2, 0, 0, 0, 1, 0x0a, 0x7f])),
    ]
}
