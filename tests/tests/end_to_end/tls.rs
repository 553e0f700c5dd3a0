//! TLS to the relay, set up by flags, and the warning about clear text.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use baton_core_client::Ticket;
use baton_support::process::RunningProgram;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::support::{Home, PATIENCE, await_says, relay, run};

/// Files as `openssl req -x509 -subj /CN=… -addext subjectAltName=…` makes them.
struct Certificate {
    cert: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn new(home: &Home, file: &str, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let files = Self {
            cert: home.file(&format!("{file}.crt")),
            key: home.file(&format!("{file}.key")),
        };
        fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }

    fn relay(&self, home: &Home) -> (RunningProgram, u16) {
        let options = ["--tls-cert", self.cert(), "--tls-key", self.key.to_str().unwrap()];
        let options = [&options[..], &["--authority", "localhost"]].concat();
        let (relay, address) = relay(home, "127.0.0.1:0", &options);
        (relay, address.port())
    }
}

fn exec_server(home: &Home, url: &str, options: &[&str]) -> (RunningProgram, Ticket) {
    home.allow("continue");
    let mut command = home.baton_exec_server(url);
    command.args(options);
    let mut exec_server = RunningProgram::start("exec-server", command).unwrap();
    let ticket = exec_server
        .line_after("ticket: ", PATIENCE)
        .unwrap()
        .parse()
        .unwrap();
    (exec_server, ticket)
}

#[test]
fn a_command_runs_through_a_relay_with_tls() {
    let home = Home::new();
    let certificate = Certificate::new(&home, "relay", "localhost");
    let (_relay, port) = certificate.relay(&home);
    let url = format!("https://localhost:{port}");
    let (_exec_server, ticket) = exec_server(&home, &url, &["--relay-ca", certificate.cert()]);
    assert_eq!(ticket.relay_url, url);
    let ticket = ticket.to_string();

    let ran = run(home.exec(&ticket, ["--relay-ca", certificate.cert()], ["echo", "ok"]));
    ran.assert_printed("ok\n");
    assert_eq!(ran.stderr, "", "TLS causes no warning");
    let mut by_environment = home.exec(&ticket, [""; 0], ["echo", "ok"]);
    by_environment.env("BATON_RELAY_CA", certificate.cert());
    run(by_environment).assert_printed("ok\n");

    // Neither the system's trust roots nor another file has the certificate.
    let sentence = "is signed by nobody trusted here: if its authority is private, pass";
    run(home.exec(&ticket, [""; 0], ["true"])).assert_failed(255, sentence);
    let other = Certificate::new(&home, "other", "localhost");
    run(home.exec(&ticket, ["--relay-ca", other.cert()], ["true"])).assert_failed(255, sentence);
}

#[test]
fn a_relay_with_tls_is_checked_over_tls() {
    let home = Home::new();
    let certificate = Certificate::new(&home, "relay", "localhost");
    let (_relay, port) = certificate.relay(&home);
    let check = |url: &str| {
        let mut health = home.baton();
        health.args(["health", "--relay", url, "--relay-ca", certificate.cert()]);
        run(health)
    };
    check(&format!("https://localhost:{port}")).assert_printed("");
    check(&format!("http://localhost:{port}")).assert_failed(1, "speaks TLS only: use https:// instead");
}

#[test]
fn a_scheme_that_does_not_fit_the_relay_is_named() {
    let home = Home::new();
    let certificate = Certificate::new(&home, "relay", "localhost");
    let (_relay, port) = certificate.relay(&home);
    let url = format!("https://localhost:{port}");
    let (_exec_server, mut ticket) = exec_server(&home, &url, &["--relay-ca", certificate.cert()]);

    ticket.relay_url = format!("http://localhost:{port}");
    let failed = run(home.exec(&ticket.to_string(), [""; 0], ["true"]));
    failed.assert_failed(255, "speaks TLS only: use https:// instead");

    let (_plain, address) = relay(&home, "127.0.0.1:0", &[]);
    ticket.relay_url = format!("https://{address}");
    let failed = run(home.exec(&ticket.to_string(), [""; 0], ["true"]));
    failed.assert_failed(
        255,
        "does not speak TLS: if you trust the network between, use http:// instead",
    );
}

#[test]
fn unusable_files_are_named_before_the_relay_or_exec_server_starts() {
    let home = Home::new();
    let certificate = Certificate::new(&home, "relay", "localhost");
    let start = |cert: &str, key: &str| {
        let mut command = home.baton();
        command.args([
            "relay",
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            cert,
            "--tls-key",
            key,
        ]);
        run(command)
    };
    let key = certificate.key.to_str().unwrap();
    start("absent", key).assert_failed(255, "cannot read absent: No such file");
    start(key, key).assert_failed(255, "contains no certificate in PEM format");
    fs::set_permissions(&certificate.key, fs::Permissions::from_mode(0o644)).unwrap();
    start(certificate.cert(), key).assert_failed(255, "(mode 644): run `chmod 6");

    let mut alone = home.baton();
    alone.args(["relay", "--tls-cert", certificate.cert()]);
    run(alone).assert_failed(2, "--tls-key <FILE>");

    let mut server = home.baton_exec_server("https://localhost:1");
    server.args(["--relay-ca", "absent"]);
    run(server).assert_failed(255, "cannot read the relay's CA file absent: No such file");
    let mut server = home.baton_exec_server("https://localhost:1");
    server.args(["--relay-ca", key]);
    run(server).assert_failed(255, "is no CA file: expected one or more certificates in PEM");
}

#[test]
fn clear_text_that_leaves_the_machine_is_warned_of_once_a_host_and_not_when_quiet() {
    let home = Home::new();
    // Linux routes 0.0.0.0 to this machine, but it is not a loopback address.
    let (relay_part, address) = relay(&home, "0.0.0.0:0", &["--authority", "0.0.0.0"]);
    await_says(&relay_part, "connections to this relay are in clear text");
    let url = format!("http://0.0.0.0:{}", address.port());
    let (exec_server, ticket) = exec_server(&home, &url, &[]);
    let warning = "warning: the connection to the relay is in clear text";
    await_says(&exec_server, warning);
    assert_eq!(exec_server.stderr().matches(warning).count(), 1);

    let warned = |options: &[&str]| {
        let ran = run(home.exec(&ticket.to_string(), options, ["echo", "ok"]));
        ran.assert_printed("ok\n");
        ran.stderr.matches(warning).count()
    };
    assert_eq!(
        [warned(&["-q"]), warned(&[]), warned(&[]), warned(&["-q"])],
        [0, 1, 0, 0]
    );
}
