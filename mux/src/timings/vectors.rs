//! `docs/vectors/timings.json`: the bytes of `Trailers.timings`.

use baton_vectors::{Case, Json, Vector, check, list};

use super::*;

fn read(encoded: &[u8]) -> Result<(u64, Vec<Row>), MalformedTimings> {
    let timings = Timings::new(encoded)?;
    let rows = timings.collect::<Result<_, _>>()?;
    Ok((timings.received_unix_ns, rows))
}

fn json(row: &Row) -> Json {
    Json::Object(vec![
        ("stage", row.stage.0.into()),
        ("start_ns", row.start_ns.into()),
        ("duration_ns", row.duration_ns.into()),
        ("attempt", row.attempt.into()),
    ])
}

fn row(stage: u8, start_ns: u64, duration_ns: u64, attempt: u8) -> Row {
    Row {
        stage: StageId(stage),
        start_ns,
        duration_ns,
        attempt,
    }
}

fn case(kind: &'static str, name: &str, received_unix_ns: u64, rows: &[Row], bytes: &[u8]) -> Case {
    Case::new(kind, name)
        .with("received_unix_ns", received_unix_ns)
        .with("rows", list(rows.iter().map(json)))
        .bytes("bytes", bytes)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let call = [
        row(11, 0, 12_000, 0),
        row(12, 12_000, 3_000, 0),
        row(32, 40_000, 1_905_000, 0),
        row(33, 40_000, 410_000, 0),
        row(37, 450_000, 1_400_000, 0),
        row(38, 1_850_000, 95_000, 0),
        row(13, 0, 2_000_000, 0),
        row(14, 1_950_000, 20_000, 0),
        row(15, 1_970_000, 30_000, 0),
        row(9, 0, 4_000, 0),
        row(10, 0, 6_000, 0),
    ];
    for (name, received_unix_ns, rows) in [
        ("a call that ran a process", 1_700_000_000_000_000_000, &call[..]),
        (
            "a stage tried three times",
            1_000,
            &[row(13, 300, 5, 0), row(32, 1, 0, 2)],
        ),
        ("a stage of a mounted service", 1_000, &[row(200, 1, 2, 0)]),
        ("no rows", 1_000, &[]),
        (
            "the largest numbers",
            u64::MAX,
            &[row(254, u64::MAX, u64::MAX, u8::MAX)],
        ),
    ] {
        let bytes = encode(received_unix_ns, rows.iter().copied());
        cases.push(case("timings", name, received_unix_ns, rows, &bytes));
    }
    let later = [1, 6, 13, 44, 5, 1, 99, 98, 32, 7, 8, 0, 97, 96];
    let rows = [row(13, 44, 5, 1), row(32, 7, 8, 0)];
    cases.push(case(
        "timings to read",
        "six columns, two of a later version",
        1,
        &rows,
        &later,
    ));
    for (name, bytes) in [
        ("nothing", &[][..]),
        ("no width", &[1]),
        ("a width of 2", &[1, 2, 13, 1]),
        ("a row of two numbers", &[1, 3, 13, 1]),
        ("a cut varint", &[1, 3, 13, 1, 0x80]),
        ("a width beyond the bytes", &[1, 0xff, 0xff, 3, 13, 1, 1, 1]),
        (
            "a varint of eleven bytes",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 3],
        ),
    ] {
        cases.push(Case::new("no timings", name).bytes("bytes", bytes));
    }
    cases
}

fn decode(vector: Vector<'_>) {
    let bytes = vector.bytes("bytes");
    let kind = vector.kind();
    match kind {
        "timings" | "timings to read" => {
            let received_unix_ns = vector.number("received_unix_ns");
            let small = |row: &Vector<'_>, member| u8::try_from(row.number(member)).unwrap();
            let rows = vector.list("rows");
            let rows = rows.iter().map(|row| Row {
                stage: StageId(small(row, "stage")),
                start_ns: row.number("start_ns"),
                duration_ns: row.number("duration_ns"),
                attempt: small(row, "attempt"),
            });
            let rows: Vec<_> = rows.collect();
            assert_eq!(read(&bytes), Ok((received_unix_ns, rows.clone())));
            if kind == "timings" {
                assert_eq!(encode(received_unix_ns, rows.into_iter()), bytes);
            }
        }
        "no timings" => assert_eq!(read(&bytes), Err(MalformedTimings)),
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_timings_hold() {
    check(
        "timings.json",
        "In-band timings, section 8: the bytes of Trailers.timings. A case `timings` is what an exec-server writes. `timings to read` \
         is read only. `no timings` counts as absent.",
        &cases(),
        decode,
    );
}
