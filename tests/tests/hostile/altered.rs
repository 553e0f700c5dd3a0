//! Messages of a session that the relay alters, drops, repeats, reorders, delays, or stamps falsely.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use baton_noise::{MESSAGE_1_LEN, MESSAGE_2_LEN};
use baton_proto::limits::FRAME_MAX;
use baton_support::scale::{is_full, scaled, seed};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::relay::{Alter, Forwarding, PREFIX, around, message, noise, splice};
use crate::testbed::{Attack, Expected, RelayBehavior, Testbed};

/// Length of Noise messages 1 and 2 with gRPC's prefix and the 3 bytes of the `Frame` before each.
const MESSAGE_1: usize = PREFIX + 3 + MESSAGE_1_LEN;
const MESSAGE_2: usize = PREFIX + 3 + MESSAGE_2_LEN + 44;

/// The direction of messages: up to the exec-server, down to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

use Direction::{Down, Up};

/// Forwards a session and alters the messages of one direction.
fn altering(direction: Direction, alter: Alter) -> RelayBehavior {
    let altered = Forwarding {
        alter: Some(alter),
        ..Forwarding::default()
    };
    let (up, down) = match direction {
        Up => (altered, Forwarding::default()),
        Down => (Forwarding::default(), altered),
    };
    spliced(up, down)
}

fn spliced(up: Forwarding, down: Forwarding) -> RelayBehavior {
    Box::new(|dialled, relay| {
        Box::pin(async move {
            if let Some(server) = relay.announce(dialled.exec_server, dialled.session).await {
                splice(dialled.answer(), server, up, down).await;
            }
        })
    })
}

/// The expected result when this message does not arrive as it was sent. The client's first transport message is the
/// first that can start a command.
fn expected(direction: Direction, number: usize) -> Expected {
    match (direction, number) {
        (_, 0) | (Up, 1) => Expected::NothingRuns,
        _ => Expected::Cut,
    }
}

/// Changes one byte of one message.
fn flip(direction: Direction, number: usize, byte: usize, mask: u8) -> Attack {
    let alter: Alter = Box::new(move |at, message| {
        if at != number {
            return Continue(vec![message]);
        }
        let mut altered = message.to_vec();
        let byte = byte % altered.len();
        altered[byte] ^= mask;
        // With a greater length the receiver waits for more bytes, until the idle timeout unless the stream ends.
        let is_length = (1..PREFIX).contains(&byte) && number > 0;
        match is_length && !is_full() {
            true => Break(vec![altered.into()]),
            false => Continue(vec![altered.into()]),
        }
    });
    Attack {
        name: format!("{direction:?} {number}: byte {byte} ^ {mask:#04x}"),
        behavior: altering(direction, alter),
        expected: expected(direction, number),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_byte_of_the_handshake_that_is_another_ends_it() {
    let testbed = Arc::new(Testbed::start().await);
    let mut random = StdRng::seed_from_u64(seed());
    let mut attacks = Vec::new();
    for (direction, len) in [(Up, MESSAGE_1), (Down, MESSAGE_2)] {
        attacks.push(Attack {
            name: format!("{direction:?}: has {len} bytes"),
            behavior: altering(
                direction,
                Box::new(move |at, message| {
                    assert!(at > 0 || message.len() == len, "{} bytes", message.len());
                    Continue(vec![message])
                }),
            ),
            expected: Expected::Unharmed,
        });
        attacks.extend((0..len).map(|byte| flip(direction, 0, byte, random.random_range(1..=u8::MAX))));
    }
    testbed.withstand(attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_byte_of_a_transport_message_that_is_another_ends_the_session() {
    let testbed = Arc::new(Testbed::start().await);
    let mut random = StdRng::seed_from_u64(seed());
    let bytes = scaled("bytes flipped in each of 4 transport messages", 16, 400) as usize;
    let mut attacks = Vec::new();
    for direction in [Up, Down] {
        for number in [1, 2] {
            // gRPC's prefix and the beginning of the `Frame`.
            for byte in 0..PREFIX + 3 {
                attacks.push(flip(direction, number, byte, random.random_range(1..=u8::MAX)));
            }
            for _ in 0..bytes {
                let byte = PREFIX + 3 + random.random_range(0..1 << 20);
                attacks.push(flip(direction, number, byte, random.random_range(1..=u8::MAX)));
            }
        }
    }
    testbed.withstand(attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_lost_repeated_swapped_or_replaced_end_the_session() {
    let testbed = Arc::new(Testbed::start().await);
    let mut attacks = Vec::new();
    for direction in [Up, Down] {
        for number in 0..3 {
            let mut add =
                |what: &str, expected: Expected, mut alter: Box<dyn FnMut(Bytes) -> Vec<Bytes> + Send>| {
                    let alter: Alter = Box::new(move |at, message| {
                        Continue(if at == number {
                            alter(message)
                        } else {
                            vec![message]
                        })
                    });
                    attacks.push(Attack {
                        name: format!("{direction:?} {number}: {what}"),
                        behavior: altering(direction, alter),
                        expected,
                    });
                };
            let never = expected(direction, number);
            // The first copy is genuine. A client that has received message 2 may have sent its call.
            let genuine = match (direction, number) {
                (Up, 0) => Expected::NothingRuns,
                _ => Expected::Cut,
            };
            // Nothing follows the first answer, so a client that misses it waits for the idle timeout.
            if (direction, number) != (Down, 1) || is_full() {
                add("lost", never, Box::new(|_| vec![]));
            }
            add(
                "repeated",
                genuine,
                Box::new(|message| vec![message.clone(), message]),
            );
            add("empty", never, Box::new(|_| vec![around(b"")]));
            add(
                "a byte shorter",
                never,
                Box::new(|message| {
                    let noise = noise(&message);
                    vec![around(&noise[..noise.len() - 1])]
                }),
            );
            add(
                "a byte longer",
                never,
                Box::new(|message| vec![around(&[&noise(&message)[..], &[0]].concat())]),
            );
            add(
                "other bytes",
                never,
                Box::new(|message| {
                    let mut other = vec![0; noise(&message).len()];
                    rand::rng().fill_bytes(&mut other);
                    vec![around(&other)]
                }),
            );
            add(
                "an empty one before it",
                never,
                Box::new(|message| vec![around(b""), message]),
            );
            let mut held = None;
            attacks.push(Attack {
                name: format!("{direction:?} {number}: after the next one"),
                behavior: altering(
                    direction,
                    Box::new(move |at, message| {
                        Continue(match held.take() {
                            None if at == number => {
                                held = Some(message);
                                vec![]
                            }
                            None => vec![message],
                            Some(before) => vec![message, before],
                        })
                    }),
                ),
                expected: never,
            });
            attacks.push(Attack {
                name: format!("{direction:?} {number}: cut off"),
                behavior: altering(
                    direction,
                    Box::new(move |at, message| match at == number {
                        true => Break(vec![message.slice(..message.len() / 2)]),
                        false => Continue(vec![message]),
                    }),
                ),
                expected: never,
            });
            attacks.push(Attack {
                name: format!("{direction:?} {number}: then the end"),
                behavior: altering(
                    direction,
                    Box::new(move |at, message| match at == number {
                        true => Break(vec![message]),
                        false => Continue(vec![message]),
                    }),
                ),
                expected: genuine,
            });
        }
    }
    testbed.withstand(attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_held_back_end_the_session_in_time() {
    let testbed = Arc::new(Testbed::start().await);
    let mut attacks = vec![
        Attack {
            name: "never answered, never announced".into(),
            behavior: Box::new(|dialled, _| {
                Box::pin(async move {
                    let _held = dialled;
                    std::future::pending().await
                })
            }),
            expected: Expected::NothingRuns,
        },
        Attack {
            name: "answered, never announced".into(),
            behavior: Box::new(|dialled, _| {
                Box::pin(async move {
                    let _held = dialled.answer();
                    std::future::pending().await
                })
            }),
            expected: Expected::NothingRuns,
        },
    ];
    // The last three end by the idle timeout.
    let from = [(Up, 0), (Down, 0), (Up, 1), (Up, 2), (Down, 1), (Down, 2)];
    let some = if is_full() { from.len() } else { 3 };
    for (direction, number) in from.into_iter().take(some) {
        attacks.push(Attack {
            name: format!("{direction:?} from {number} on"),
            behavior: altering(
                direction,
                Box::new(move |at, message| Continue(if at < number { vec![message] } else { vec![] })),
            ),
            expected: expected(direction, number),
        });
    }
    testbed.withstand(attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_late_change_no_more_than_the_time() {
    let testbed = Arc::new(Testbed::start().await);
    let late = |millis| Forwarding {
        delay: Duration::from_millis(millis),
        ..Forwarding::default()
    };
    let attacks = [(0, 0), (30, 0), (0, 30), (30, 30), (3, 100)];
    let attacks = attacks.map(|(up, down)| Attack {
        name: format!("late by {up} and {down} ms"),
        behavior: spliced(late(up), late(down)),
        expected: Expected::Unharmed,
    });
    testbed.withstand(attacks.into()).await;
}

/// Encodes a field of a stamp.
fn stamp(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_that_lie_stay_inside_the_envelope_and_stamps_that_are_none_end_the_session() {
    use Expected::{NothingRuns, Unharmed};

    let testbed = Arc::new(Testbed::start().await);
    let (queue, forward) = (2, 3);
    let both = |value| [stamp(queue, value), stamp(forward, value)].concat();
    let unknown = |len: usize| {
        let mut field = vec![9 << 3 | 2];
        prost::encode_length_delimiter(len, &mut field).unwrap();
        field.resize(field.len() + len, 7);
        field
    };
    let overlong = [&[queue << 3][..], &[0x80; 9], &[0x7f]].concat();
    let endless = [&[queue << 3][..], &[0xff; 12], &[0x01]].concat();
    let stamps: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("zero", both(0), Unharmed),
        ("a century", both(3_155_760_000_000_000_000), Unharmed),
        ("the maximum", both(u64::MAX), Unharmed),
        ("negative", both(i64::MIN as u64), Unharmed),
        ("one of two", stamp(forward, u64::MAX), Unharmed),
        ("twice", [both(1), both(u64::MAX)].concat(), Unharmed),
        ("a hundred times", both(u64::MAX / 3).repeat(3), Unharmed),
        ("with unknown fields", [unknown(20), both(7)].concat(), Unharmed),
        ("more than 64 bits", overlong, NothingRuns),
        ("an endless varint", endless, NothingRuns),
        ("cut off", vec![queue << 3, 0x80], NothingRuns),
        ("of another type", vec![queue << 3 | 2, 1, 0], NothingRuns),
        ("with a message of its own", vec![0x0a, 1, 0], NothingRuns),
        ("longer than a frame", unknown(FRAME_MAX), NothingRuns),
        ("no field at all", vec![0xff; 3], NothingRuns),
    ];
    let attacks = stamps.into_iter().map(|(name, stamp, expected)| {
        let forwarding = || {
            let stamp = stamp.clone();
            let alter: Alter =
                Box::new(move |_, sent| Continue(vec![message(&[&sent[PREFIX..], &stamp].concat())]));
            Forwarding {
                alter: Some(alter),
                ..Forwarding::default()
            }
        };
        Attack {
            name: name.into(),
            behavior: spliced(forwarding(), forwarding()),
            expected,
        }
    });
    testbed.withstand(attacks.collect()).await;
}
