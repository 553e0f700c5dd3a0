//! The state of a child, created by each [`Spawn`].

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use baton_spawn::{
    Child, CloneSpawner, Environment, ExecutionState, Image, InheritedState, Spawn, SpawnError, StdSpawner,
    Variable,
};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, WaitOptions, getrlimit, waitpid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

fn spawners(open_files: Option<u64>) -> [Box<dyn Spawn>; 2] {
    let inherited = InheritedState::capture(open_files);
    [
        Box::new(CloneSpawner::new(inherited)),
        Box::new(StdSpawner::new(inherited)),
    ]
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn image(argv: &[&str]) -> Image {
    Image {
        program: text(argv[0]),
        arguments: argv.iter().map(|argument| text(argument)).collect(),
        environment: Environment::new(None, Vec::new()),
        cwd: None,
        terminal: false,
        cgroup: None,
    }
}

fn null() -> OwnedFd {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
        .into()
}

fn start(spawner: &dyn Spawn, image: Image, stdout: &Path) -> Child {
    let (null, stdout) = (null(), File::create(stdout).unwrap());
    let stdio = [null.as_fd(), stdout.as_fd(), null.as_fd()];
    spawner.spawn(image, stdio).unwrap()
}

fn code(pid: Pid) -> Option<i32> {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status()
}

/// What a command prints.
fn printed(spawner: &dyn Spawn, image: Image) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let child = start(spawner, image, file.path());
    assert_eq!(code(child.pid), Some(0), "{spawner:?}");
    fs::read_to_string(file.path()).unwrap()
}

#[test]
fn a_child_runs_its_program_with_its_arguments_environment_and_directory() {
    for spawner in spawners(None) {
        let shared: Arc<[_]> = [("A", "1"), ("B", "2")]
            .map(|(name, value)| Variable::new(name.as_bytes(), value.as_bytes()).unwrap())
            .into();
        let own = vec![Variable::new(b"B", b"3").unwrap()];
        let script = "echo $0 $A $B; pwd";
        let image = Image {
            arguments: ["first", "-c", script, "given"].map(text).into(),
            environment: Environment::new(Some(shared), own),
            cwd: Some(text("/usr")),
            ..image(&["/bin/sh"])
        };
        assert_eq!(printed(&*spawner, image), "given 1 3\n/usr\n", "{spawner:?}");
    }
}

#[test]
fn a_child_leads_a_process_group_and_has_three_descriptors() {
    // A descriptor that every child would inherit.
    let open = rustix::io::dup(null()).unwrap();
    for spawner in spawners(None) {
        let script = "echo $$; cut -d' ' -f5 /proc/$$/stat";
        let told = printed(&*spawner, image(&["/bin/sh", "-c", script]));
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], lines[1], "{spawner:?}");
        // The fourth is the directory that ls reads.
        let descriptors = printed(&*spawner, image(&["/bin/ls", "/proc/self/fd"]));
        assert_eq!(descriptors, "0\n1\n2\n3\n", "{spawner:?}");
    }
    drop(open);
}

#[test]
fn a_child_with_a_terminal_leads_a_session_that_the_terminal_controls() {
    for spawner in spawners(None) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&terminal).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let childs = ioctl_tiocgptpeer(&terminal, flags).unwrap();
        let image = Image {
            terminal: true,
            cgroup: None,
            // The session, the terminal's foreground process group.
            ..image(&[
                "/bin/sh",
                "-c",
                "echo $$ $(cut -d' ' -f6,8 /proc/$$/stat); exec </dev/tty",
            ])
        };
        let child = spawner.spawn(image, [childs.as_fd(); 3]).unwrap();
        assert_eq!(code(child.pid), Some(0), "{spawner:?}");
        drop(childs);
        let mut told = Vec::new();
        // The end of a terminal is an error.
        let _ = File::from(terminal).read_to_end(&mut told);
        let pid = child.pid.as_raw_nonzero();
        let expected = format!("{pid} {pid} {pid}\r\n");
        assert_eq!(String::from_utf8_lossy(&told), expected, "{spawner:?}");
    }
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    // This process ignores SIGPIPE, as every Rust program does.
    for spawner in spawners(None) {
        let told = printed(
            &*spawner,
            image(&["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]),
        );
        let none = "0".repeat(16);
        assert_eq!(told, format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"), "{spawner:?}");
    }
}

#[test]
fn the_soft_limit_on_open_files_is_restored_and_the_hard_one_stays() {
    let own = getrlimit(Resource::Nofile);
    for spawner in spawners(Some(77)) {
        let told = printed(&*spawner, image(&["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"]));
        let hard = own
            .maximum
            .map_or("unlimited".to_owned(), |hard| hard.to_string());
        assert_eq!(told, format!("77\n{hard}\n"), "{spawner:?}");
    }
    assert_ne!(own.current, Some(77), "this process keeps its own");
}

#[test]
fn a_file_that_cannot_be_executed_is_no_shell_script() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words");
    fs::write(&file, "exit 0\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (program, errno) in [
        (file.to_str().unwrap(), Errno::NOEXEC),
        ("/no/such/program", Errno::NOENT),
        ("/etc", Errno::ACCESS),
    ] {
        for spawner in spawners(None) {
            let null = null();
            let failed = match spawner.spawn(image(&[program]), [null.as_fd(); 3]) {
                Ok(child) => {
                    assert_eq!(code(child.pid), Some(127));
                    match child.execution.state() {
                        ExecutionState::Failed(errno) => errno,
                        state => panic!("{program}: {state:?}"),
                    }
                }
                Err(SpawnError::NotExecuted { errno, image }) => {
                    assert_eq!(*image.program, *text(program));
                    errno
                }
                Err(error) => panic!("{program}: {error}"),
            };
            assert_eq!(failed, errno, "{program} by {spawner:?}");
        }
    }
}

#[test]
fn a_child_that_runs_has_executed() {
    for spawner in spawners(None) {
        let before = std::time::Instant::now();
        let child = start(&*spawner, image(&["/bin/true"]), Path::new("/dev/null"));
        assert_eq!(code(child.pid), Some(0));
        let ExecutionState::Executed(Some(at)) = child.execution.state() else {
            panic!("{:?}", child.execution);
        };
        assert!(at >= before && at.elapsed() < before.elapsed());
        assert!(child.execution.with_image(|_| ()).is_none());
    }
}

#[test]
fn a_fork_that_is_refused_is_no_failed_exec() {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    let refused = || {
        let filter = SeccompFilter::new(
            [(libc::SYS_clone, vec![]), (libc::SYS_clone3, vec![])].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&filter).unwrap();
        for spawner in spawners(None) {
            let null = null();
            let error = spawner
                .spawn(image(&["/bin/true"]), [null.as_fd(); 3])
                .unwrap_err();
            assert!(
                matches!(error, SpawnError::NotCreated(ref error) if error.raw_os_error() == Some(libc::EPERM)),
                "{error:?} by {spawner:?}"
            );
        }
    };
    std::thread::spawn(refused).join().unwrap();
}
