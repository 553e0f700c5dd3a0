//! Replacements of the C library's functions that write and sync. They inject the faults of the [`Disk`](crate::Disk)
//! that contains the file.
//!
//! The `unsafe` code of this crate is in this file. It is sound for two reasons. Each function has the C library's
//! signature and passes its arguments to the kernel without dereferencing them, so it is as safe as the function that
//! it replaces. Slots of the table are leaked, so a pointer in the table is always valid.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long, c_void};

use crate::disk::{self, Slot, Write};

/// The longest supported path. A file with a longer path has no faults.
const PATH_MAX: usize = 4096;

/// The disk that contains an open file, found by the kernel's path of the file.
fn disk_of(file: c_int) -> Option<&'static Slot> {
    if !disk::any() {
        return None;
    }
    let mut name = [0_u8; 32];
    write_name(&mut name, file)?;
    let mut path = [0_u8; PATH_MAX];
    // SAFETY: both buffers are valid, `name` ends with a NUL, and the length is that of `path`. A raw system call,
    // because `readlink` could be replaced too.
    let length = unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            libc::AT_FDCWD,
            name.as_ptr(),
            path.as_mut_ptr(),
            PATH_MAX,
        )
    };
    let path = path.get(..usize::try_from(length).ok()?)?;
    disk::pointers()
        // SAFETY: a pointer in the table was leaked from a box and is never freed.
        .map(|pointer| unsafe { &*pointer })
        .find(|slot| slot.holds(path))
}

/// Writes `/proc/self/fd/N` and a NUL, without allocating, because this runs inside `write`.
fn write_name(into: &mut [u8; 32], file: c_int) -> Option<()> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut number = u32::try_from(file).ok()?;
    let mut digits = [0_u8; 10];
    let mut used = 0;
    loop {
        digits[used] = b'0' + (number % 10) as u8;
        used += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into[..PREFIX.len()].copy_from_slice(PREFIX);
    for (at, digit) in digits[..used].iter().rev().enumerate() {
        into[PREFIX.len() + at] = *digit;
    }
    Some(())
}

fn fail(errno: i32) {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno };
}

/// The number of bytes that a write may write. `None` if it fails; errno is set.
fn allowed(file: c_int, bytes: usize) -> Option<usize> {
    match disk_of(file).map(|disk| disk.write(bytes)) {
        None | Some(Write::All) => Some(bytes),
        Some(Write::Cut(bytes)) => Some(bytes),
        Some(Write::Fail(errno)) => {
            fail(errno);
            None
        }
    }
}

fn sync(file: c_int, call: c_long) -> c_int {
    let disk = disk_of(file);
    let fault = disk.and_then(Slot::sync);
    // SAFETY: no argument is a pointer.
    let result = unsafe { libc::syscall(call, file) } as c_int;
    disk.inspect(|disk| disk.synced());
    match fault {
        Some(errno) => {
            fail(errno);
            -1
        }
        None => result,
    }
}

fn truncate(file: c_int, length: i64) -> c_int {
    if let Some(errno) = disk_of(file).and_then(Slot::grow) {
        fail(errno);
        return -1;
    }
    // SAFETY: no argument is a pointer.
    unsafe { libc::syscall(libc::SYS_ftruncate, file, length) as c_int }
}

/// Runs when `LD_PRELOAD` loads this crate into a program as a shared library. It activates the fault that the
/// environment names: `BATON_FAULTS_SLOW_SYNC=MS:DIR` delays each sync below DIR by MS milliseconds. Any other value
/// has no effect.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

const SLOW_SYNC: &CStr = c"BATON_FAULTS_SLOW_SYNC";

extern "C" fn loaded() {
    let Ok(fault) = std::env::var(SLOW_SYNC.to_str().unwrap_or_default()) else {
        return;
    };
    // Child processes must not load this library.
    for name in [c"LD_PRELOAD", SLOW_SYNC] {
        // SAFETY: a library's constructors run before `main`, so no other thread exists yet.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
    if let Some((ms, directory)) = fault.split_once(':')
        && let Ok(ms) = ms.parse()
        && std::fs::create_dir_all(directory).is_ok()
    {
        let disk = crate::Disk::under(std::path::Path::new(directory));
        disk.set(crate::Fault::SlowSync(std::time::Duration::from_millis(ms)));
        // Keeps the fault until the program exits.
        std::mem::forget(disk);
    }
}

/// write(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    let Some(count) = allowed(file, count) else {
        return -1;
    };
    // SAFETY: the caller's buffer has at least `count` bytes, and the kernel checks the address.
    unsafe { libc::syscall(libc::SYS_write, file, bytes, count) as isize }
}

/// pwrite(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    let Some(count) = allowed(file, count) else {
        return -1;
    };
    // SAFETY: as in `write`.
    unsafe { libc::syscall(libc::SYS_pwrite64, file, bytes, count, at) as isize }
}

/// pwrite64(2).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    // SAFETY: the signature and the contract are those of `pwrite`.
    unsafe { pwrite(file, bytes, count, at) }
}

/// fsync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: c_int) -> c_int {
    sync(file, libc::SYS_fsync)
}

/// fdatasync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: c_int) -> c_int {
    sync(file, libc::SYS_fdatasync)
}

/// ftruncate(2).
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(file: c_int, length: i64) -> c_int {
    truncate(file, length)
}

/// ftruncate64(2).
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(file: c_int, length: i64) -> c_int {
    truncate(file, length)
}
