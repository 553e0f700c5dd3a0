//! What the two specifications ask of a participant, as rows of header values and the outcome.
//!
//! The situations are those of W3C's own test suites and of the sections named in the rows; the outcome of a traceparent
//! is what is sent on, so that parsing and formatting are held to it together.

use http::{HeaderMap, HeaderValue};

use super::carrier::{BAGGAGE, TRACEPARENT, TRACESTATE};
use super::{ExtractedContext, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(traceparent: &[&str], tracestate: &[&str], baggage: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, values) in [
        (TRACEPARENT, traceparent),
        (TRACESTATE, tracestate),
        (BAGGAGE, baggage),
    ] {
        for value in values {
            map.append(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    map
}

/// The traceparent that goes out after this one came in.
fn passed_on(traceparent: &[&str]) -> Option<String> {
    let context = TraceContext::extract(&headers(traceparent, &[], &[])).context?;
    Some(context.traceparent().unwrap().to_string())
}

fn tracestate(values: &[&str]) -> String {
    let context = TraceContext::extract(&headers(&[PARENT], values, &[])).context;
    context.unwrap().tracestate.as_str().to_owned()
}

fn baggage(values: &[&str]) -> String {
    TraceContext::extract(&headers(&[], &[], values))
        .baggage
        .as_str()
        .to_owned()
}

#[test]
fn traceparent_rows() {
    const IDS: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let ids = |prefix: &str, suffix: &str| format!("{prefix}{IDS}{suffix}");
    // What it shows, the value, the flags that go out (`None`: a new trace).
    let rows: Vec<(&str, String, Option<&str>)> = vec![
        ("sampled", ids("00-", "-01"), Some("01")),
        ("not sampled", ids("00-", "-00"), Some("00")),
        ("random alone (3.2.2.5)", ids("00-", "-02"), Some("02")),
        ("sampled and random (3.2.2.5)", ids("00-", "-03"), Some("03")),
        (
            "unknown flags are cleared (3.2.2.5)",
            ids("00-", "-ff"),
            Some("03"),
        ),
        ("an unknown flag is not sampled", ids("00-", "-08"), Some("00")),
        ("version 00 ends there", ids("00-", "-01."), None),
        (
            "version 00 has no fifth field",
            ids("00-", "-01-what-the-future-brings"),
            None,
        ),
        ("version 00 with a dash too many", ids("00-", "-01-"), None),
        ("higher version (3.2.4)", ids("cc-", "-01"), Some("01")),
        (
            "higher version, more fields",
            ids("cc-", "-01-what-the-future-brings"),
            Some("01"),
        ),
        ("higher version, empty field", ids("cc-", "-01-"), Some("01")),
        ("higher version, known flags only", ids("01-", "-ff"), Some("03")),
        (
            "higher version, no dash",
            ids("cc-", "-01.what-the-future-brings"),
            None,
        ),
        ("highest version", ids("fe-", "-01"), Some("01")),
        ("version ff (3.2.2.1)", ids("ff-", "-01"), None),
        ("version ff with more fields", ids("ff-", "-01-x"), None),
        ("version in upper case", ids("CC-", "-01"), None),
        ("version of one character", ids("0-", "-01"), None),
        ("version of three characters", ids("000-", "-01"), None),
        ("version that is no number", ids(".0-", "-01"), None),
        ("version that is no number", ids("0.-", "-01"), None),
        ("flags of one character", ids("00-", "-1"), None),
        ("flags of three characters", ids("00-", "-001"), None),
        ("flags in upper case", ids("00-", "-0A"), None),
        ("flags that are no number", ids("00-", "-.0"), None),
        ("flags that are no number", ids("00-", "-0."), None),
        ("signs are no digits", ids("00-", "-+1"), None),
        ("space before", ids(" 00-", "-01"), Some("01")),
        ("tab before", ids("\t00-", "-01"), Some("01")),
        ("space and tab around", ids("\t 00-", "-01 \t"), Some("01")),
        ("space inside", ids("00 -", "-01"), None),
        ("underscores for dashes", ids("00_", "_01"), None),
        ("empty", String::new(), None),
        ("white space", " \t ".into(), None),
        ("two values in one header", format!("{PARENT},{PARENT}"), None),
        ("not ASCII", ids("00-", "-0\u{e9}"), None),
    ];
    for (shows, value, flags) in rows {
        let expected = flags.map(|flags| format!("00-{IDS}-{flags}"));
        assert_eq!(passed_on(&[&value]), expected, "{shows}: {value:?}");
    }
}

#[test]
fn traceparent_id_rows() {
    // Trace id, parent id; Level 2, sections 3.2.2.3 and 3.2.2.4.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = "00f067aa0ba902b7";
    for (trace, parent) in [
        ("00000000000000000000000000000000", parent),
        (trace, "0000000000000000"),
        ("4BF92F3577B34DA6A3CE929D0E0E4736", parent),
        (trace, "00F067AA0BA902B7"),
        (".bf92f3577b34da6a3ce929d0e0e4736", parent),
        ("4bf92f3577b34da6a3ce929d0e0e473.", parent),
        ("4bf92f3577b34da6a3ce929d0e0e473", parent),
        ("4bf92f3577b34da6a3ce929d0e0e47361", parent),
        (trace, ".0f067aa0ba902b7"),
        (trace, "00f067aa0ba902b."),
        (trace, "00f067aa0ba902b"),
        (trace, "00f067aa0ba902b71"),
        (trace, ""),
        ("", ""),
    ] {
        for version in ["00", "cc"] {
            let value = format!("{version}-{trace}-{parent}-01");
            assert_eq!(passed_on(&[&value]), None, "{value}");
        }
    }
    let smallest = "00-00000000000000000000000000000001-0000000000000001-00";
    assert_eq!(passed_on(&[smallest]).as_deref(), Some(smallest));
}

#[test]
fn two_traceparents_are_none() {
    let other = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01";
    assert_eq!(passed_on(&[PARENT, other]), None);
    assert_eq!(passed_on(&[PARENT, PARENT]), None);
    assert_eq!(passed_on(&[PARENT, ""]), None);
    assert_eq!(passed_on(&[]), None);
}

#[test]
fn header_names_are_read_in_any_case() {
    for name in ["traceparent", "TraceParent", "TRACEPARENT"] {
        let mut map = HeaderMap::new();
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.insert(name, HeaderValue::from_static(PARENT));
        assert!(TraceContext::extract(&map).context.is_some());
    }
}

#[test]
fn tracestate_rows() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
    let all = format!("{key}={value}");
    let all_with_vendor = format!("{key}@a-z0-9_-*/={value}");
    let key_256 = format!("{}=1", "z".repeat(256));
    let value_256 = format!("a={}", "v".repeat(256));
    // What it shows, the headers, what goes out (nothing: discarded, and the traceparent stands).
    let rows: Vec<(&str, Vec<&str>, &str)> = vec![
        ("one list", vec!["foo=1,bar=2"], "foo=1,bar=2"),
        (
            "headers join in order (3.3.2)",
            vec!["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
            "foo=1,bar=2,rojo=1,congo=2,baz=3",
        ),
        ("an empty header", vec![""], ""),
        ("empty after full", vec!["foo=1", ""], "foo=1"),
        ("empty before full", vec!["", "foo=1"], "foo=1"),
        (
            "empty members (3.3.2)",
            vec![",foo=1,, ,\t,bar=2,"],
            "foo=1,bar=2",
        ),
        ("only commas", vec![",,,"], ""),
        (
            "white space around members",
            vec!["foo=1 \t , \t bar=2, \t baz=3"],
            "foo=1,bar=2,baz=3",
        ),
        ("white space around the list", vec!["\t foo=1 \t"], "foo=1"),
        (
            "leading spaces belong to the value (3.3.2.2.2)",
            vec!["foo=  1"],
            "foo=  1",
        ),
        ("spaces inside the value", vec!["foo=1 2"], "foo=1 2"),
        ("every character", vec![&all], &all),
        (
            "every character, with @",
            vec![&all_with_vendor],
            &all_with_vendor,
        ),
        ("a key may start with a digit", vec!["0foo=1"], "0foo=1"),
        ("a key of Level 2: @ at the end", vec!["foo@=1"], "foo@=1"),
        (
            "a key of Level 2: several @",
            vec!["foo@bar@@baz=1"],
            "foo@bar@@baz=1",
        ),
        (
            "a key of Level 2: a long system id",
            vec!["t@vvvvvvvvvvvvvvvvvvvv=1"],
            "t@vvvvvvvvvvvvvvvvvvvv=1",
        ),
        ("a key of 256 characters", vec![&key_256], &key_256),
        ("a value of 256 characters", vec![&value_256], &value_256),
        ("keys may come twice (3.5)", vec!["foo=1,foo=2"], "foo=1,foo=2"),
        (
            "keys may come twice over headers",
            vec!["foo=1", "foo=1"],
            "foo=1,foo=1",
        ),
        ("@ is no start", vec!["@foo=1,bar=2"], ""),
        ("_ is no start", vec!["_foo=1"], ""),
        ("upper case", vec!["FOO=1"], ""),
        ("a dot in the key", vec!["foo.bar=1"], ""),
        ("a space in the key", vec!["foo =1"], ""),
        ("no key", vec!["=1"], ""),
        ("no value", vec!["foo=,bar=3"], ""),
        ("a value of spaces", vec!["foo=  "], ""),
        ("no equals sign", vec!["foo"], ""),
        ("two equals signs", vec!["foo=bar=baz"], ""),
        ("a tab in the value", vec!["foo=1\t2"], ""),
        ("not ASCII", vec!["foo=\u{e9}"], ""),
        ("one bad member spoils the list", vec!["foo=1,BAR=2,baz=3"], ""),
        ("one bad header spoils the list", vec!["foo=1", "BAR=2"], ""),
    ];
    for (shows, values, expected) in rows {
        assert_eq!(tracestate(&values), expected, "{shows}: {values:?}");
    }
    let too_long = ["z".repeat(257) + "=1", "a=".to_owned() + &"v".repeat(257)];
    for member in &too_long {
        assert_eq!(tracestate(&["foo=1", member]), "", "{member}");
    }
}

#[test]
fn tracestate_holds_32_members() {
    let list = |count| {
        (1..=count)
            .map(|n| format!("bar{n:02}={n:02}"))
            .collect::<Vec<_>>()
    };
    let full = list(32);
    assert_eq!(tracestate(&[&full.join(",")]), full.join(","));
    assert_eq!(
        tracestate(&[&full[..10].join(","), &full[10..].join(",")]),
        full.join(",")
    );
    assert_eq!(
        tracestate(&[&full.join(", ,")]),
        full.join(","),
        "empty members do not count"
    );
    assert_eq!(tracestate(&[&list(33).join(",")]), "");
    assert_eq!(tracestate(&[&full.join(","), "bar33=33"]), "");
}

#[test]
fn tracestate_needs_a_traceparent_and_not_the_reverse() {
    let without = TraceContext::extract(&headers(&[], &["foo=1"], &[]));
    assert_eq!(without, ExtractedContext::default());
    assert!(without.continue_or_start(true).tracestate.is_empty());
    let malformed = TraceContext::extract(&headers(&["00-xyz"], &["foo=1"], &[]));
    assert_eq!(malformed, ExtractedContext::default());
    assert!(
        TraceContext::extract(&headers(&[PARENT], &["FOO"], &[]))
            .context
            .is_some()
    );
}

#[test]
fn tracestate_over_the_cap_loses_long_members_first_and_then_the_last() {
    let short = |n: usize| format!("s{n:02}={}", "v".repeat(124));
    let long = |n: usize| format!("l{n:02}={}", "v".repeat(250));
    assert_eq!((short(0).len(), long(0).len()), (128, 254));

    // 31 × 128 + 30 commas fit beside nothing longer; 3,998 + 1 + 254 do not.
    let mut members: Vec<String> = (0..31).map(short).collect();
    let expected = members.join(",");
    members.insert(0, long(0));
    assert_eq!(tracestate(&[&members.join(",")]), expected);

    // Long ones alone: 16 × 254 + 15 = 4,079 fit, the others go from the end.
    let members: Vec<String> = (0..20).map(long).collect();
    assert_eq!(tracestate(&[&members.join(",")]), members[..16].join(","));

    // Nothing but short ones, 32 × 128 + 31 = 4,127: the last one goes.
    let members: Vec<String> = (0..32).map(short).collect();
    assert_eq!(tracestate(&[&members.join(",")]), members[..31].join(","));

    // Exactly the cap travels whole: 31 × 128 + 30 + 1 + 97.
    let mut members: Vec<String> = (0..31).map(short).collect();
    members.push(format!("last={}", "v".repeat(92)));
    assert_eq!(members.join(",").len(), 4096);
    assert_eq!(tracestate(&[&members.join(",")]), members.join(","));
    assert_eq!(
        tracestate(&[&members.join(", ")]),
        members.join(","),
        "white space does not count"
    );
    members[31].push('v');
    assert_eq!(tracestate(&[&members.join(",")]), members[..31].join(","));
}

#[test]
fn putting_a_member_moves_its_key_to_the_front() {
    use super::{MemberError, Tracestate};

    let rows = [
        ("", "congo", "1", "congo=1"),
        ("rojo=1", "congo", "2", "congo=2,rojo=1"),
        ("congo=1,rojo=2", "congo", "3", "congo=3,rojo=2"),
        ("rojo=2,congo=1", "congo", "3", "congo=3,rojo=2"),
        ("a=1,congo=1,b=2,congo=2,c=3", "congo", "3", "congo=3,a=1,b=2,c=3"),
        ("congos=1", "congo", "  2", "congo=  2,congos=1"),
    ];
    for (before, key, value, after) in rows {
        let list = Tracestate::parse(before).unwrap().put(key, value).unwrap();
        assert_eq!(list.as_str(), after);
        assert_eq!(list.value(key), Some(value));
    }
    let empty = Tracestate::default();
    for key in ["", "Congo", "con,go", "con=go", "@congo", &"c".repeat(257)] {
        assert_eq!(empty.put(key, "1"), Err(MemberError::Key), "{key}");
    }
    for value in ["", "1 ", "1,2", "1=2", "1\t2", "\u{e9}", &"v".repeat(257)] {
        assert_eq!(empty.put("congo", value), Err(MemberError::Value), "{value}");
    }
}

#[test]
fn putting_a_member_never_drops_it() {
    use super::Tracestate;

    let full: Vec<String> = (1..=32).map(|n| format!("k{n}={n}")).collect();
    let list = Tracestate::parse(full.join(","))
        .unwrap()
        .put("new", "1")
        .unwrap();
    assert_eq!(list.as_str(), format!("new=1,{}", full[..31].join(",")));
    let short: Vec<String> = (0..31).map(|n| format!("s{n:02}={}", "v".repeat(124))).collect();
    let value = "n".repeat(256);
    let list = Tracestate::parse(short.join(","))
        .unwrap()
        .put("new", &value)
        .unwrap();
    assert_eq!(list.value("new"), Some(value.as_str()));
    assert!(list.as_str().len() <= 4096);
}

#[test]
fn baggage_rows() {
    let octets: String = ('!'..='~')
        .filter(|c| !matches!(c, '"' | ',' | ';' | '\\'))
        .collect();
    let every = format!("!#$%&'*+-.^_`|~09azAZ={octets}");
    // What it shows, the headers, what goes out.
    let rows: Vec<(&str, Vec<&str>, &str)> = vec![
        ("one member", vec!["userId=alice"], "userId=alice"),
        (
            "several",
            vec!["userId=alice,serverNode=DF%2028,isProduction=false"],
            "userId=alice,serverNode=DF%2028,isProduction=false",
        ),
        (
            "headers join in order (3.3)",
            vec!["userId=alice", "serverNode=DF%2028,isProduction=false"],
            "userId=alice,serverNode=DF%2028,isProduction=false",
        ),
        (
            "white space inside travels as it came",
            vec!["userId =   alice , serverNode = DF%2028"],
            "userId =   alice,serverNode = DF%2028",
        ),
        (
            "properties",
            vec!["a=1;p1;p2 = v2 ; p3=,b=2"],
            "a=1;p1;p2 = v2 ; p3=,b=2",
        ),
        ("equals signs in the value (3.3.1.3)", vec!["a=b=c=="], "a=b=c=="),
        ("an empty value", vec!["a=,b=2"], "a=,b=2"),
        ("keys may come twice (3.3.1.1)", vec!["a=1,a=2"], "a=1,a=2"),
        ("every character", vec![&every], &every),
        ("empty", vec![""], ""),
        ("empty members", vec![",a=1,, ,b=2,"], "a=1,b=2"),
        ("an empty header", vec!["", "a=1"], "a=1"),
        ("no equals sign: that member goes", vec!["a,b=2"], "b=2"),
        ("no key", vec!["=1,b=2"], "b=2"),
        ("a space in the key", vec!["a b=1,b=2"], "b=2"),
        ("a separator in the key", vec!["a(b)=1,b=2"], "b=2"),
        ("a space in the value", vec!["a=1 2,b=2"], "b=2"),
        ("a quote in the value", vec!["a=\"1\",b=2"], "b=2"),
        ("a backslash in the value", vec!["a=\\,b=2"], "b=2"),
        ("not ASCII", vec!["a=\u{e9},b=2"], "b=2"),
        ("an empty property", vec!["a=1;,b=2"], "b=2"),
        ("a malformed property", vec!["a=1;p q,b=2"], "b=2"),
        ("only malformed members", vec!["a,b"], ""),
    ];
    for (shows, values, expected) in rows {
        assert_eq!(baggage(&values), expected, "{shows}: {values:?}");
    }
}

#[test]
fn baggage_limits() {
    let list = |count| (0..count).map(|n| format!("key{n:03}=value")).collect::<Vec<_>>();
    assert_eq!(
        baggage(&[&list(64).join(",")]),
        list(64).join(","),
        "64 members travel"
    );
    assert_eq!(
        baggage(&[&list(65).join(",")]),
        list(64).join(","),
        "the last one goes"
    );
    assert_eq!(
        baggage(&[&list(40).join(","), &list(40).join(",")])
            .split(',')
            .count(),
        64
    );

    let whole = format!("a={}", "v".repeat(8190));
    assert_eq!(baggage(&[&whole]), whole, "8,192 bytes in one member travel");
    assert_eq!(
        baggage(&[&(whole.clone() + "v"), "b=2"]),
        "b=2",
        "one byte more, and the member goes whole"
    );
    assert_eq!(baggage(&["b=2", &whole, "c=3"]), "b=2,c=3");

    let many: Vec<String> = (0..64).map(|n| format!("k{n:02}={}", "v".repeat(123))).collect();
    assert_eq!(many.join(",").len(), 64 * 128 - 1);
    assert_eq!(baggage(&[&many.join(",")]), many.join(","));
    assert_eq!(
        baggage(&[&many.join(" , ")]),
        many.join(","),
        "white space that is dropped does not count"
    );
}

#[test]
fn baggage_needs_no_trace() {
    for traceparent in [&[][..], &["00-xyz"], &[PARENT, PARENT]] {
        let extracted = TraceContext::extract(&headers(traceparent, &[], &["a=1"]));
        assert_eq!(extracted.context, None);
        let started = extracted.continue_or_start(false);
        assert_eq!(started.baggage.as_str(), "a=1");
        assert!(started.traceparent().is_some());
        assert!(!started.is_sampled());
    }
}

#[test]
fn baggage_members_are_read_decoded() {
    let text = "plain=1, enc = Am%C3%a9lie%20%2C ;p1; p2 = v2,broken=%zz%4,bytes=%ff%C3,eq=a=b";
    let parsed = super::Baggage::parse(text);
    let members: Vec<_> = parsed
        .members()
        .map(|m| (m.key, m.value().into_owned(), m.properties))
        .collect();
    assert_eq!(
        members,
        [
            ("plain", "1".to_owned(), ""),
            ("enc", "Amélie ,".to_owned(), "p1; p2 = v2"),
            ("broken", "%zz%4".to_owned(), ""),
            ("bytes", "\u{fffd}\u{fffd}".to_owned(), ""),
            ("eq", "a=b".to_owned(), ""),
        ]
    );
    assert_eq!(parsed.value("eq").as_deref(), Some("a=b"));
    assert_eq!(parsed.value("none"), None);
    assert_eq!(super::Baggage::default().members().count(), 0);
}

#[test]
fn baggage_is_built_from_members_that_are_valid() {
    let rows = [
        (("a", "1 2", ""), "a=1%202"),
        (("a", "50%", "p;q=1"), "a=50%25;p;q=1"),
        (("a", "x,y;z\"\\", ""), "a=x%2Cy%3Bz%22%5C"),
        (("a", "\u{e9}\n", ""), "a=%C3%A9%0A"),
        (("a", "1", " p = 1 ; q "), "a=1;p = 1 ; q"),
        (("a", "1", " "), "a=1"),
        (("", "1", ""), ""),
        (("a b", "1", ""), ""),
        (("a=1,b", "1", ""), ""),
        (("a=1;b", "1", ""), ""),
        (("a=b", "1", ""), ""),
        ((" a", "1", ""), ""),
        (("a", "1", "p,b=2"), ""),
        (("a", "1", "p\r\n"), ""),
    ];
    for (member, expected) in rows {
        assert_eq!(
            super::Baggage::from_members([member]).as_str(),
            expected,
            "{member:?}"
        );
    }
}
