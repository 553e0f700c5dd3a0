//! An eavesdropper on both legs of the relay, or the relay itself, sees no content and no trace id of a command.

use crate::support::{Home, Input, PATIENCE, Proxy, Running, relay};

const TRACE: &str = "7d3e9a51c84b06f2e1907ac35d28b6f4";

/// The Huffman code of a character (RFC 7541, Appendix B), for the characters that are searched. HTTP/2 headers usually
/// use this code, at any bit offset.
fn huffman(c: u8) -> (u32, usize) {
    const FIVE: &[u8] = b"012aceiost";
    const SIX: &[u8] = b" %-./3456789=A_bdfghlmnpru";
    const SEVEN: &[u8] = b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz";
    let place = |set: &[u8]| set.iter().position(|other| *other == c).map(|at| at as u32);
    place(FIVE)
        .map(|at| (at, 5))
        .or_else(|| place(SIX).map(|at| (0b01_0100 + at, 6)))
        .or_else(|| place(SEVEN).map(|at| (0b101_1100 + at, 7)))
        .unwrap()
}

/// Whether `needle` occurs in Huffman code in `bits`, at any bit offset.
fn holds_huffman(bits: &str, needle: &str) -> bool {
    let code = |c| {
        let (code, len) = huffman(c);
        format!("{code:0len$b}")
    };
    bits.contains(&needle.bytes().map(code).collect::<String>())
}

fn bits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:08b}")).collect()
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn neither_leg_of_the_relay_carries_a_trace_of_the_command() {
    let home = Home::new();
    home.allow("continue");
    let (client_leg, server_leg) = (Proxy::bind(), Proxy::bind());
    // An exec-server signs the relay's name as in its URL, so the relay needs the proxy's address as its authority.
    let name = server_leg.address().to_string();
    let (_relay, address) = relay(&home, "127.0.0.1:0", &["--authority", &name]);
    client_leg.set_target(address);
    server_leg.set_target(address);
    let mut exec_server = home.exec_server(&format!("http://{name}"));
    let mut ticket: baton_core_client::Ticket = {
        let line = exec_server.line_after("ticket: ", PATIENCE).unwrap();
        line.parse().unwrap()
    };
    ticket.relay_url = format!("http://{}", client_leg.address());

    let secrets = ["argv", "env", "stdin", "stdout", "stderr", "baggage", "cwd"];
    let [argv, env, stdin, stdout, stderr, baggage, cwd] =
        secrets.map(|place| format!("{place}-{:032x}", rand::random::<u128>()));
    let dir = home.file(&cwd);
    std::fs::create_dir(&dir).unwrap();
    // The command concatenates its output from halves, so that the whole text occurs only in the output.
    let halves = |text: &str| format!("'{}' '{}'", &text[..20], &text[20..]);
    let script = format!(
        "cat; printf %s%s {}; printf %s%s {} >&2; : {argv}",
        halves(&stdout),
        halves(&stderr),
    );
    let options = [
        "--trace",
        "--cwd",
        dir.to_str().unwrap(),
        "--env",
        &format!("SECRET={env}"),
    ];
    let mut command = home.exec(&ticket.to_string(), options, ["sh", "-c", &script]);
    command
        .env("TRACEPARENT", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .env("BAGGAGE", format!("secret={baggage}"));
    let finished = Running::start(command, Input::Bytes(stdin.clone().into_bytes())).finish();
    finished.assert_printed(&format!("{stdin}{stdout}"));
    assert!(
        finished.stderr.contains(&stderr) && finished.stderr.contains(TRACE),
        "{finished:?}"
    );

    let trace = u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes();
    let method = [
        "baton.exec.v1",
        "Exec/Run",
        "traceparent",
        "tracestate",
        "grpc-timeout",
    ];
    let texts: Vec<&str> = [&argv, &env, &stdin, &stdout, &stderr, &baggage, &cwd]
        .map(String::as_str)
        .into_iter()
        .chain(method)
        .chain([TRACE, "00f067aa0ba902b7"])
        .collect();
    let exec_server = ticket.exec_server.to_string();
    for (leg, proxy, path) in [
        ("client", client_leg, "/baton.relay.v1.Relay/Dial"),
        ("exec-server", server_leg, "/baton.relay.v1.Relay/Accept"),
    ] {
        let streams = proxy.recorded();
        let coded: Vec<_> = streams.iter().map(|bytes| bits(bytes)).collect();
        for ((bytes, bits), number) in streams.iter().zip(&coded).zip(0..) {
            assert!(
                !holds(bytes, &trace),
                "the trace id's bytes in stream {number} of the {leg}'s leg"
            );
            for text in &texts {
                let found = holds(bytes, text.as_bytes()) || holds_huffman(bits, text);
                assert!(!found, "{text} in stream {number} of the {leg}'s leg");
            }
        }
        // Text that the relay does see is found, which proves that the search works.
        let sees = |text: &str| {
            let plain = streams.iter().any(|bytes| holds(bytes, text.as_bytes()));
            plain || coded.iter().any(|bits| holds_huffman(bits, text))
        };
        assert!(sees(path), "{path} on the {leg}'s leg");
        assert!(
            leg != "client" || sees(&exec_server),
            "the exec-server's id, in hex"
        );
    }
}
