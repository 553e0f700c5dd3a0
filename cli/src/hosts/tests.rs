use std::os::unix::fs::PermissionsExt as _;

use baton_channel::key::DialToken;
use baton_core_client::Seed;
use baton_proto::registration::exec_server_id;

use super::*;

fn hosts() -> (tempfile::TempDir, Hosts) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("baton").join(FILE);
    (dir, Hosts::new(path))
}

/// A ticket of the exec-server that `key` tells apart.
fn ticket(key: u8, token: u8) -> Ticket {
    let (seed, _) = Seed::read_or_create(&tempfile::tempdir().unwrap().path().join("key")).unwrap();
    let mut ticket = Ticket {
        relay_url: "https://relay.example:7700".into(),
        exec_server: exec_server_id(&[key]),
        noise_key: *seed.client_key().unwrap().public(),
        dial_token: DialToken([token; 32]),
    };
    ticket.exec_server.0[0] = key;
    ticket
}

#[test]
fn a_host_is_found_until_it_is_removed() {
    let (_dir, hosts) = hosts();
    assert!(matches!(hosts.ticket("a"), Err(HostsError::Unknown { .. })));
    let (one, other) = (ticket(1, 1), ticket(2, 2));
    assert_eq!(hosts.add("a", &one).unwrap(), Added::New);
    assert_eq!(hosts.add("b.example", &other).unwrap(), Added::New);
    assert_eq!(hosts.add("a", &one).unwrap(), Added::Unchanged);
    assert_eq!(hosts.ticket("a").unwrap(), one);
    assert_eq!(hosts.ticket("b.example").unwrap(), other);
    hosts.remove("a").unwrap();
    assert!(matches!(hosts.remove("a"), Err(HostsError::Unknown { .. })));
    let names: Vec<_> = hosts.read().unwrap().into_keys().collect();
    assert_eq!(names, ["b.example"]);
    let mode = fs::metadata(&hosts.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_rotated_ticket_is_taken_and_another_key_is_not() {
    let (_dir, hosts) = hosts();
    let before = ticket(1, 1);
    let rotated = Ticket {
        dial_token: DialToken([9; 32]),
        ..before.clone()
    };
    hosts.add("a", &before).unwrap();
    assert_eq!(hosts.add("a", &rotated).unwrap(), Added::Updated);
    assert_eq!(hosts.ticket("a").unwrap(), rotated);
    let other = hosts.add("a", &ticket(1, 1)).unwrap_err();
    assert!(matches!(other, HostsError::OtherKey { .. }), "{other}");
    assert_eq!(hosts.ticket("a").unwrap(), rotated);
}

#[test]
fn a_file_that_is_open_to_others_is_refused_and_not_written() {
    let (_dir, hosts) = hosts();
    hosts.add("a", &ticket(1, 1)).unwrap();
    let before = fs::read(&hosts.path).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&hosts.path, fs::Permissions::from_mode(mode)).unwrap();
        for error in [
            hosts.ticket("a").unwrap_err(),
            hosts.add("b", &ticket(2, 2)).unwrap_err(),
            hosts.remove("a").unwrap_err(),
        ] {
            let command = format!("`chmod 600 {}`", hosts.path.display());
            assert!(error.to_string().contains(&command), "{mode:o}: {error}");
        }
    }
    assert_eq!(fs::read(&hosts.path).unwrap(), before);
}

#[test]
fn one_unusable_ticket_spoils_no_other() {
    let (_dir, hosts) = hosts();
    let good = ticket(1, 1);
    hosts.add("good", &good).unwrap();
    let text = fs::read_to_string(&hosts.path).unwrap() + "old = \"baton1:AAAA\"\n";
    fs::write(&hosts.path, text).unwrap();
    assert_eq!(hosts.ticket("good").unwrap(), good);
    let error = hosts.ticket("old").unwrap_err();
    assert!(error.to_string().contains("baton host remove old"), "{error}");
    // Whose key it was is not known.
    assert!(matches!(hosts.add("old", &good), Err(HostsError::Ticket { .. })));
    hosts.remove("old").unwrap();
    assert_eq!(hosts.ticket("good").unwrap(), good);
}

#[test]
fn what_is_wrong_with_the_file_is_told_with_its_line() {
    for (text, line, part) in [
        ("[hosts]\na = 1\n", 2, "must be a text"),
        ("\n[host]\n", 2, "[hosts]"),
        ("a = \"b\"\n", 1, "expected the table"),
        ("[hosts]\n\"-x\" = \"baton1:x\"\n", 2, "no name of a host"),
        ("[hosts]\n\"\\u001b[2J\" = \"baton1:x\"\n", 2, "no name of a host"),
        ("[hosts]\na = \"baton1:x y\"\n", 2, "baton1:"),
        ("[hosts]\na = \n", 2, "no valid TOML"),
        ("[hosts]\na = \"x\"\na = \"y\"\n", 3, "no valid TOML"),
    ] {
        let (_dir, hosts) = hosts();
        drop(hosts.lock().unwrap());
        fs::write(&hosts.path, text).unwrap();
        fs::set_permissions(&hosts.path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = hosts.read().unwrap_err().to_string();
        let at = format!("{}:{line}: ", hosts.path.display());
        assert!(
            error.starts_with(&at) && error.contains(part),
            "{text:?}: {error}"
        );
        assert!(!error.contains('\x1b'), "{error:?}");
    }
}

#[test]
fn names_that_are_added_at_the_same_time_are_all_kept() {
    let (_dir, hosts) = hosts();
    let one = ticket(1, 1);
    std::thread::scope(|scope| {
        for name in 0..8 {
            let (hosts, one) = (&hosts, &one);
            scope.spawn(move || hosts.add(&format!("host{name}"), one).unwrap());
        }
    });
    assert_eq!(hosts.read().unwrap().len(), 8);
}

#[test]
fn a_name_can_be_an_argument_and_a_word_of_toml() {
    for good in ["a", "worker-1", "10.0.0.1", "x_y", &"n".repeat(HOST_NAME_MAX)] {
        assert!(is_name(good), "{good}");
    }
    for bad in [
        "",
        "-a",
        "a b",
        "a/b",
        "ü",
        "a\n",
        "baton1:x",
        &"n".repeat(HOST_NAME_MAX + 1),
    ] {
        assert!(!is_name(bad), "{bad:?}");
    }
}
