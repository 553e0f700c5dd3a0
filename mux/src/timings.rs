//! In-band timings: the stages of a call that an exec-server measured, in its `Trailers`.
//!
//! ```text
//! received_unix_ns, width, then rows of `width` numbers: stage, start_ns, duration_ns[, attempt[, …]]
//! ```
//!
//! All numbers are varints. As nested protobuf messages this had a hundred fields, and decoding them took a tenth of a
//! client's time for a call. Rows are written into one buffer and read in place. The width lets a later version add
//! columns: a reader skips columns that it does not know, and reads missing columns as 0.

use baton_proto::limits::TIMINGS_MAX;
use baton_trace::record::StageRecord;
use baton_trace::stage::StageId;
use prost::encoding::{decode_varint, encode_varint};

/// Least width: stage, start, duration.
const WIDTH_LEAST: u64 = 3;

/// Width with the attempt.
const WIDTH_OF_ATTEMPTS: u64 = 4;

/// The timings are truncated or have rows that are too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedTimings;

/// One stage, as the server reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// 255, which is no stage, for an id greater than a byte.
    pub stage: StageId,
    /// Nanoseconds after the arrival of `Head`.
    pub start_ns: u64,
    /// Nanoseconds.
    pub duration_ns: u64,
    /// 0 for the first attempt.
    pub attempt: u8,
}

/// Encoded timings, read row by row. The iterator ends after an `Err`.
#[derive(Debug, Clone, Copy)]
pub struct Timings<'a> {
    /// Arrival of `Head`, by the server's clock.
    pub received_unix_ns: u64,
    width: u64,
    rows: &'a [u8],
}

impl From<StageRecord> for Row {
    /// Converts a stage whose times count from the arrival of `Head`.
    fn from(stage: StageRecord) -> Self {
        Self {
            stage: stage.stage,
            start_ns: u64::try_from(stage.start_ns).unwrap_or(0),
            duration_ns: stage.duration_ns(),
            attempt: stage.attempt,
        }
    }
}

/// Writes timings: as many of the first rows as fit in [`TIMINGS_MAX`].
pub fn encode(received_unix_ns: u64, rows: impl Iterator<Item = Row> + Clone) -> Vec<u8> {
    let has_attempts = rows.clone().any(|row| row.attempt > 0);
    let width = if has_attempts {
        WIDTH_OF_ATTEMPTS
    } else {
        WIDTH_LEAST
    };
    let mut out = Vec::with_capacity(TIMINGS_MAX / 2);
    encode_varint(received_unix_ns, &mut out);
    encode_varint(width, &mut out);
    for row in rows {
        let before = out.len();
        encode_varint(row.stage.0.into(), &mut out);
        encode_varint(row.start_ns, &mut out);
        encode_varint(row.duration_ns, &mut out);
        if has_attempts {
            encode_varint(row.attempt.into(), &mut out);
        }
        if out.len() > TIMINGS_MAX {
            out.truncate(before);
            break;
        }
    }
    out
}

impl<'a> Timings<'a> {
    /// Reads the fields before the rows.
    pub fn new(encoded: &'a [u8]) -> Result<Self, MalformedTimings> {
        let mut rows = encoded;
        let received_unix_ns = varint(&mut rows)?;
        let width = varint(&mut rows)?;
        if width < WIDTH_LEAST {
            return Err(MalformedTimings);
        }
        Ok(Self {
            received_unix_ns,
            width,
            rows,
        })
    }

    /// Reads one row. Each column needs at least one byte, so the bytes bound the loop, whatever width was claimed.
    fn row(&mut self) -> Result<Row, MalformedTimings> {
        let mut row = Row {
            stage: StageId(u8::try_from(varint(&mut self.rows)?).unwrap_or(u8::MAX)),
            start_ns: varint(&mut self.rows)?,
            duration_ns: varint(&mut self.rows)?,
            attempt: 0,
        };
        if self.width >= WIDTH_OF_ATTEMPTS {
            row.attempt = u8::try_from(varint(&mut self.rows)?).unwrap_or(u8::MAX);
        }
        for _unknown in WIDTH_OF_ATTEMPTS..self.width {
            varint(&mut self.rows)?;
        }
        Ok(row)
    }
}

impl Iterator for Timings<'_> {
    type Item = Result<Row, MalformedTimings>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.rows = &[];
        }
        Some(row)
    }
}

fn varint(from: &mut &[u8]) -> Result<u64, MalformedTimings> {
    decode_varint(from).map_err(|_| MalformedTimings)
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(encoded: &[u8]) -> Result<(u64, Vec<Row>), MalformedTimings> {
        let timings = Timings::new(encoded)?;
        let rows = timings.collect::<Result<_, _>>()?;
        Ok((timings.received_unix_ns, rows))
    }

    fn row(stage: u8, start_ns: u64, duration_ns: u64, attempt: u8) -> Row {
        Row {
            stage: StageId(stage),
            start_ns,
            duration_ns,
            attempt,
        }
    }

    #[test]
    fn the_bytes_are_stable() {
        let rows = [row(13, 300, 5, 0), row(32, 1, 0, 0)];
        let encoded = encode(1_000, rows.into_iter());
        assert_eq!(encoded, [0xe8, 7, 3, 13, 0xac, 2, 5, 32, 1, 0]);
        let again = [row(13, 300, 5, 0), row(32, 1, 0, 2)];
        let encoded = encode(1_000, again.into_iter());
        assert_eq!(encoded, [0xe8, 7, 4, 13, 0xac, 2, 5, 0, 32, 1, 0, 2]);
    }

    #[test]
    fn columns_of_a_later_version_are_skipped() {
        let encoded = [1, 6, 13, 44, 5, 1, 99, 98, 32, 7, 8, 0, 97, 96];
        let rows = vec![row(13, 44, 5, 1), row(32, 7, 8, 0)];
        assert_eq!(read(&encoded), Ok((1, rows)));
    }

    #[test]
    fn rows_that_are_cut_or_too_narrow_are_malformed() {
        for encoded in [
            &[][..],
            &[1],
            &[1, 2, 13, 1],
            &[1, 3, 13, 1],
            &[1, 3, 13, 1, 0x80],
            &[1, 0xff, 0xff, 3, 13, 1, 1, 1],
        ] {
            assert_eq!(read(encoded), Err(MalformedTimings), "{encoded:?}");
        }
        assert_eq!(read(&[1, 3]), Ok((1, vec![])));
    }

    #[test]
    fn rows_beyond_the_limit_are_dropped_from_the_end() {
        let many = (0..200).map(|at| row(13, at << 20, 1 << 20, 0));
        let encoded = encode(u64::MAX, many);
        assert!(encoded.len() <= TIMINGS_MAX && encoded.len() > TIMINGS_MAX - 10);
        let (_, rows) = read(&encoded).unwrap();
        assert!(
            rows.iter()
                .enumerate()
                .all(|(at, row)| row.start_ns == (at as u64) << 20)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            received_unix_ns: u64,
            rows in prop::collection::vec((any::<u8>(), 0u64..1 << 40, 0u64..1 << 40, any::<u8>()), 0..24),
        ) {
            let row_of = |(id, start, length, attempt)| row(id, start, length, attempt);
            let rows: Vec<_> = rows.into_iter().map(row_of).collect();
            prop_assert_eq!(read(&encode(received_unix_ns, rows.iter().copied())), Ok((received_unix_ns, rows)));
        }
    }
}
