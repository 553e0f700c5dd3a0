//! glibc's `posix_spawn`, called with what was prepared for it.
//!
//! The standard library reaches it too, but copies, sorts and converts the whole environment for each child and opens
//! /dev/null anew, which costs as much as a dozen system calls. This is the only module that needs `unsafe`: the call takes
//! C pointers, and no well-kept crate offers it with a working directory.
#![expect(
    unsafe_code,
    reason = "posix_spawn takes raw pointers; see the module's documentation"
)]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

use libc::c_char;
use rustix::process::Pid;

/// A child to be: leader of a process group of its own, no signal blocked, SIGPIPE as programs expect it.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// An absolute path.
    pub(super) program: &'a CStr,
    /// `argv`, its first element included.
    pub(super) arguments: &'a [&'a CStr],
    /// `NAME=VALUE` each.
    pub(super) environment: &'a [&'a CStr],
    /// `None` is the server's own.
    pub(super) cwd: Option<&'a CStr>,
    /// What becomes its descriptors 0, 1 and 2. Everything else must be close-on-exec.
    pub(super) stdio: [BorrowedFd<'a>; 3],
}

/// Starts the child, and blocks until it has executed its program or failed to; then nothing runs.
pub(super) fn posix_spawn(image: &Image<'_>) -> io::Result<Pid> {
    let actions = FileActions::new(image)?;
    let attributes = Attributes::new()?;
    let arguments = pointers(image.arguments);
    let environment = pointers(image.environment);
    let mut pid = 0;
    // SAFETY: every pointer is to something that outlives the call: `actions` and `attributes` are initialised, both
    // arrays end with a null pointer, and their strings are borrowed by `image`. The call writes to `pid` alone.
    let errno = unsafe {
        libc::posix_spawn(
            &mut pid,
            image.program.as_ptr(),
            &actions.0,
            &attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(errno)?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A C array of strings. `posix_spawn` takes it as mutable for historical reasons, and only reads.
fn pointers(strings: &[&CStr]) -> Vec<*mut c_char> {
    let strings = strings.iter().map(|string| string.as_ptr().cast_mut());
    strings.chain([ptr::null_mut()]).collect()
}

/// These functions return their error instead of setting `errno`.
fn check(errno: i32) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What the child does before it executes.
struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new(image: &Image<'_>) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: `init` initialises what it is given, or fails.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Self(actions.assume_init())
        };
        for (own, theirs) in image.stdio.iter().zip(0..) {
            // SAFETY: initialised above. A descriptor that has its number already loses its close-on-exec flag.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(&mut actions.0, own.as_raw_fd(), theirs)
            })?;
        }
        if let Some(cwd) = image.cwd {
            // SAFETY: initialised above; the string is copied.
            check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, cwd.as_ptr()) })?;
        }
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again. It cannot fail.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

/// What the child is.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        const FLAGS: i32 =
            libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        let mut attributes = MaybeUninit::uninit();
        let mut signals = MaybeUninit::uninit();
        // SAFETY: each `init` and `sigemptyset` initialises what it is given, or fails, before it is used; sets are copied.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Self(attributes.assume_init());
            libc::sigemptyset(signals.as_mut_ptr());
            let mut signals = signals.assume_init();
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, &signals))?;
            // Rust's start-up ignores it, and what is ignored stays ignored in the child.
            libc::sigaddset(&mut signals, libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &signals))?;
            check(libc::posix_spawnattr_setpgroup(&mut attributes.0, 0))?;
            check(libc::posix_spawnattr_setflags(
                &mut attributes.0,
                FLAGS as libc::c_short,
            ))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again. It cannot fail.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}
