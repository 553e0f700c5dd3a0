//! Children that become another user. These tests need root; without it they check nothing, and say so.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use baton_spawn::{
    Child, Environment, ExecutionState, Image, InheritedState, SpawnError, User, UserFailure, UserSpawner,
    Variable,
};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, geteuid, waitpid};

/// An id that no user of a test machine has.
const ID: u32 = 4_200_042;

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("not checked: this test needs root");
    }
    is_root
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn image(argv: &[&str]) -> Image {
    let path = Variable::new(b"PATH", b"/usr/bin:/bin").unwrap();
    Image {
        program: text(argv[0]),
        arguments: argv.iter().map(|argument| text(argument)).collect(),
        environment: Environment::new(None, vec![path]),
        cwd: None,
        terminal: false,
        cgroup: None,
    }
}

fn user() -> User {
    User {
        uid: ID,
        gid: ID + 1,
        groups: vec![ID + 1, ID + 2],
        home: text("/usr"),
        alternatives: Vec::new(),
    }
}

fn start(image: Image, user: User, stdout: &Path) -> Result<Child, SpawnError> {
    let null: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
        .into();
    let stdout = File::create(stdout).unwrap();
    let spawner = UserSpawner::new(InheritedState::capture(None));
    spawner.spawn(image, user, [null.as_fd(), stdout.as_fd(), null.as_fd()])
}

fn code(pid: Pid) -> Option<i32> {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}

/// What a shell script prints.
fn printed(script: &str, user: User) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let child = start(image(&["/bin/sh", "-c", script]), user, file.path()).unwrap();
    assert_eq!(code(child.pid), Some(0));
    fs::read_to_string(file.path()).unwrap()
}

/// Why a child does not run its program.
fn failure(image: Image, user: User) -> UserFailure {
    let child = start(image, user, Path::new("/dev/null")).unwrap();
    assert_eq!(code(child.pid), Some(127));
    match child.execution.state() {
        ExecutionState::FailedAsUser(failure) => failure,
        state => panic!("{state:?}"),
    }
}

#[test]
fn a_child_has_the_ids_groups_directory_and_umask_of_the_user_and_no_capability() {
    if !is_root() {
        return;
    }
    let script =
        "grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Amb)|Sig(Blk|Ign)):' /proc/self/status | tr -s ' \\t' ' '
        pwd; umask; ls /proc/self/fd | tr '\\n' ' '; cut -d' ' -f5 /proc/$$/stat; echo $$";
    let told = printed(script, user());
    let lines: Vec<_> = told.lines().map(str::trim_end).collect();
    let none = "0000000000000000";
    let expected = [
        format!("Uid: {ID} {ID} {ID} {ID}"),
        format!("Gid: {0} {0} {0} {0}", ID + 1),
        format!("Groups: {} {}", ID + 1, ID + 2),
        format!("SigBlk: {none}"),
        format!("SigIgn: {none}"),
        format!("CapInh: {none}"),
        format!("CapPrm: {none}"),
        format!("CapEff: {none}"),
        format!("CapAmb: {none}"),
        "/usr".to_owned(),
        "0022".to_owned(),
    ];
    assert_eq!(lines[..expected.len()], expected);
    // The fourth is the directory that ls reads. The child leads its group.
    assert_eq!(lines[11].split_once(char::from(b'3')).unwrap().0, "0 1 2 ");
    assert_eq!(lines[11].split_whitespace().next_back(), Some(lines[12]));
}

#[test]
fn root_as_a_user_has_only_the_groups_that_are_given() {
    if !is_root() {
        return;
    }
    let root = User {
        uid: 0,
        gid: 0,
        groups: vec![0, ID],
        ..user()
    };
    assert_eq!(printed("id -u; id -G", root), format!("0\n0 {ID}\n"));
}

#[test]
fn the_users_rights_decide_where_a_child_starts_and_what_it_executes() {
    if !is_root() {
        return;
    }
    let secret = tempfile::tempdir().unwrap();
    let path = |name: &str| secret.path().join(name).to_str().unwrap().to_owned();
    fs::copy("/bin/true", path("true")).unwrap();
    fs::set_permissions(secret.path(), Permissions::from_mode(0o700)).unwrap();
    let elsewhere = |home: &str| User {
        home: text(home),
        ..user()
    };
    // A home that cannot be entered.
    assert_eq!(printed("pwd", elsewhere(&path(""))), "/\n");
    assert_eq!(printed("pwd", elsewhere("/no/such/home")), "/\n");
    let in_directory = |cwd: &str| Image {
        cwd: Some(text(cwd)),
        ..image(&["/bin/true"])
    };
    assert_eq!(
        failure(in_directory(&path("")), user()),
        UserFailure::Directory(Errno::ACCESS)
    );
    assert_eq!(
        failure(in_directory("no/such"), user()),
        UserFailure::Directory(Errno::NOENT)
    );
    let child = start(in_directory("bin"), user(), Path::new("/dev/null")).unwrap();
    assert_eq!(code(child.pid), Some(0), "relative to the home");

    // A file that the user cannot see is not told apart from none.
    for hidden in [path("true"), path("none")] {
        assert_eq!(failure(image(&[&hidden]), user()), UserFailure::Missing);
    }
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o755)).unwrap();
    let script = open.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let refused = UserFailure::Program(Errno::ACCESS);
    for mode in [0o644, 0o755] {
        fs::set_permissions(&script, Permissions::from_mode(mode)).unwrap();
        let script = script.to_str().unwrap();
        assert_eq!(failure(image(&[script]), user()), refused, "{mode:o}");
    }
}

#[test]
fn programs_are_tried_until_the_user_may_execute_one() {
    if !is_root() {
        return;
    }
    let found = User {
        alternatives: vec![
            text("/etc/passwd"),
            text("/bin/nothing"),
            text("bin/true"),
            text("/bin/false"),
        ],
        ..user()
    };
    let child = start(image(&["/no/such"]), found, Path::new("/dev/null")).unwrap();
    assert_eq!(code(child.pid), Some(0));
    // The child of another test has a copy of the report until its exec.
    while child.execution.state() == ExecutionState::Pending {
        std::thread::yield_now();
    }
    assert!(matches!(
        child.execution.state(),
        ExecutionState::Executed(Some(_))
    ));
    let refused = User {
        alternatives: vec![text("/etc/passwd"), text("/no/such")],
        ..user()
    };
    assert_eq!(
        failure(image(&["/no/such"]), refused),
        UserFailure::Program(Errno::ACCESS)
    );
}

#[test]
fn a_user_without_an_id_is_refused_before_the_program_runs() {
    if !is_root() {
        return;
    }
    let nobody = User {
        uid: u32::MAX,
        ..user()
    };
    assert!(matches!(
        failure(image(&["/bin/true"]), nobody),
        UserFailure::Identity(_)
    ));
}
