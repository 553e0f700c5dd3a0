//! Children are created in sandboxes that refuse what clone needs, and the reason is reported. The sandboxes are
//! seccomp filters on a thread.

use std::ffi::CString;
use std::os::fd::AsFd as _;

use baton_spawn::{Child, CloneUnavailable, Environment, Image, InheritedState, Method, Selected};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// One system call, and the sandbox's action.
struct Refusal {
    call: i64,
    /// Only where these bits of the first argument, the flags of clone(2), have this value.
    flags: Option<(i32, i32)>,
    action: SeccompAction,
}

impl Refusal {
    fn of(call: i64, errno: Errno) -> Self {
        Self {
            call,
            flags: None,
            action: SeccompAction::Errno(errno.raw_os_error().unsigned_abs()),
        }
    }

    fn of_clone(mask: i32, value: i32, errno: Errno) -> Self {
        Self {
            flags: Some((mask, value)),
            ..Self::of(libc::SYS_clone, errno)
        }
    }

    fn filter(self) -> BpfProgram {
        let condition = |(mask, value): (i32, i32)| {
            let masked = SeccompCmpOp::MaskedEq(mask as u64);
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, masked, value as u64);
            SeccompRule::new(vec![condition.unwrap()]).unwrap()
        };
        let rules = self.flags.into_iter().map(condition).collect();
        let filter = SeccompFilter::new(
            [(self.call, rules)].into(),
            SeccompAction::Allow,
            self.action,
            std::env::consts::ARCH.try_into().unwrap(),
        );
        filter.unwrap().try_into().unwrap()
    }
}

/// A kernel without clone3. It must not be EPERM: the C library then creates no thread either.
fn without_clone3() -> Refusal {
    Refusal::of(libc::SYS_clone3, Errno::NOSYS)
}

/// A sandbox without pidfds, such as gVisor.
fn without_pidfds() -> Vec<Refusal> {
    vec![
        without_clone3(),
        Refusal::of_clone(libc::CLONE_PIDFD, libc::CLONE_PIDFD, Errno::INVAL),
        Refusal::of(libc::SYS_pidfd_open, Errno::NOSYS),
    ]
}

/// A profile that allows shared memory only between threads.
fn without_shared_memory() -> Vec<Refusal> {
    let (vm, thread) = (libc::CLONE_VM, libc::CLONE_THREAD);
    vec![without_clone3(), Refusal::of_clone(vm | thread, vm, Errno::PERM)]
}

fn in_sandbox<T: Send>(refusals: Vec<Refusal>, run: impl FnOnce() -> T + Send) -> T {
    let filtered = || {
        for refusal in refusals {
            apply_filter(&refusal.filter()).unwrap();
        }
        run()
    };
    std::thread::scope(|scope| scope.spawn(filtered).join().unwrap())
}

fn select(method: Method) -> Result<Selected, CloneUnavailable> {
    method.select(InheritedState::capture(None))
}

/// Runs a command that exits with 3.
fn run(selected: &Selected) -> (Child, Option<i32>) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let argument = |text: &str| CString::new(text).unwrap();
    let image = Image {
        program: argument("/bin/sh"),
        arguments: ["sh", "-c", "exit 3"].map(argument).into(),
        environment: Environment::new(None, Vec::new()),
        cwd: None,
        terminal: false,
        cgroup: None,
    };
    let stdio = [reader.as_fd(), writer.as_fd(), writer.as_fd()];
    let child = selected.spawner.spawn(image, stdio).unwrap();
    let (_, status) = waitpid(Some(child.pid), WaitOptions::empty()).unwrap().unwrap();
    (child, status.exit_status())
}

#[test]
fn where_nothing_is_refused_children_are_cloned() {
    let selected = select(Method::Auto).unwrap();
    assert_eq!((selected.method, selected.fallback), (Method::Clone, None));
    let (child, code) = run(&selected);
    assert_eq!(code, Some(3));
    assert!(child.pidfd.is_some());
}

#[test]
fn without_clone3_children_are_still_cloned() {
    in_sandbox(vec![without_clone3()], || {
        let selected = select(Method::Auto).unwrap();
        assert_eq!((selected.method, selected.fallback), (Method::Clone, None));
        assert_eq!(run(&selected).1, Some(3));
    });
}

#[test]
fn without_pidfds_children_are_forked_and_the_reason_is_known() {
    in_sandbox(without_pidfds(), || {
        let reason = CloneUnavailable::Refused(Errno::INVAL);
        let selected = select(Method::Auto).unwrap();
        assert_eq!((selected.method, selected.fallback), (Method::Std, Some(reason)));
        let (child, code) = run(&selected);
        assert_eq!(code, Some(3));
        assert!(child.pidfd.is_none());
    });
}

/// `posix_spawn` does not work in this sandbox either.
#[test]
fn without_shared_memory_children_are_forked_and_the_reason_is_known() {
    in_sandbox(without_shared_memory(), || {
        let spawned = std::process::Command::new("true").spawn();
        assert_eq!(spawned.unwrap_err().raw_os_error(), Some(libc::EPERM));
        let reason = CloneUnavailable::Refused(Errno::PERM);
        let selected = select(Method::Auto).unwrap();
        assert_eq!((selected.method, selected.fallback), (Method::Std, Some(reason)));
        let (child, code) = run(&selected);
        assert_eq!(code, Some(3));
        assert!(child.pidfd.is_some());
    });
}

#[test]
fn a_sandbox_that_kills_children_before_their_exec_is_recognised() {
    let kill = Refusal {
        call: libc::SYS_set_tid_address,
        flags: None,
        action: SeccompAction::KillProcess,
    };
    in_sandbox(vec![kill], || {
        let reason = CloneUnavailable::Killed(libc::SIGSYS);
        let selected = select(Method::Auto).unwrap();
        assert_eq!((selected.method, selected.fallback), (Method::Std, Some(reason)));
        // The C library of the program makes this system call too, so nothing can run here.
    });
}

#[test]
fn a_sandbox_without_reports_of_a_left_memory_is_recognised() {
    in_sandbox(vec![Refusal::of(libc::SYS_set_tid_address, Errno::NOSYS)], || {
        let selected = select(Method::Auto).unwrap();
        let reason = CloneUnavailable::MemoryNotShared;
        assert_eq!((selected.method, selected.fallback), (Method::Std, Some(reason)));
        assert_eq!(run(&selected).1, Some(3));
    });
}

#[test]
fn a_step_that_is_refused_is_named_by_its_errno() {
    in_sandbox(vec![Refusal::of(libc::SYS_setpgid, Errno::ACCESS)], || {
        let reason = CloneUnavailable::StepRefused(Errno::ACCESS);
        assert_eq!(select(Method::Auto).unwrap().fallback, Some(reason));
    });
}

#[test]
fn a_lack_of_processes_is_no_reason_against_clone() {
    let refusals = vec![
        without_clone3(),
        Refusal::of_clone(libc::CLONE_THREAD, 0, Errno::AGAIN),
    ];
    in_sandbox(refusals, || {
        assert_eq!(select(Method::Auto).unwrap().method, Method::Clone);
    });
}

#[test]
fn a_requested_method_is_used_or_an_error() {
    in_sandbox(without_pidfds(), || {
        let reason = CloneUnavailable::Refused(Errno::INVAL);
        assert_eq!(select(Method::Clone).unwrap_err(), reason);
    });
    let selected = select(Method::Std).unwrap();
    assert_eq!((selected.method, selected.fallback), (Method::Std, None));
    assert_eq!(run(&selected).1, Some(3));
}
