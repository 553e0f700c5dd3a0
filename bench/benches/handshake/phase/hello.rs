//! The first TLS hello of a new process, with the key exchange groups that a client of Baton offers and without.

use baton_bench::{Failure, Row};

use super::{BenchContext, Compared};

pub(super) fn measure(bench: &BenchContext) -> Result<Vec<Row>, Failure> {
    let roles = [
        ["hello", "own"],
        ["hello", "x25519"],
        ["hello", "x25519"],
        ["hello", "aws-lc"],
    ];
    let measured = bench.in_new_processes(&roles)?;
    let [own, floor, floor_again, aws_lc] = &measured[..] else {
        return Err("not four participants".into());
    };
    let compared = Compared {
        own,
        floor,
        floor_again,
    };
    let what = "first TLS hello of a new process, X25519MLKEM768 and X25519";
    Ok(vec![
        bench.ratio("hello_ratio", format!("{what}, over X25519 alone, p50"), compared),
        bench.added(
            "hello_added",
            format!("{what}, less X25519 alone, p50"),
            compared,
            None,
        ),
        bench.milliseconds("hello_own", format!("{what}, p50"), own),
        bench.milliseconds("hello_x25519", "the same, X25519 alone, p50".to_owned(), floor),
        bench.milliseconds(
            "hello_aws_lc",
            "the same, X25519MLKEM768 of aws-lc-rs, p50".to_owned(),
            aws_lc,
        ),
    ])
}
