//! Which directory has which fault: a fixed table of slots, read without a lock, because it is read inside `write`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Directories that can have a fault at the same time.
const SLOTS: usize = 64;

/// Longest stall: a test that forgets to release one fails instead of hanging.
const STALL_MAX: Duration = Duration::from_secs(60);

static TABLE: [AtomicPtr<Slot>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];
static USED: AtomicUsize = AtomicUsize::new(0);

/// What a disk does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Works.
    None,
    /// Every sync takes this much longer.
    SlowSync(Duration),
    /// A sync does not return before the fault changes.
    StallSync,
    /// A write fails with this error (`ENOSPC`, `EIO`, `EDQUOT`, `EROFS`), and nothing of it is written; so does growing a file.
    Write(i32),
    /// A sync fails with this error, as one does once when the device lost a page.
    Sync(i32),
    /// A write that crosses the budget of so many bytes writes what is left of it, as on a disk that fills up; the next fails with
    /// `ENOSPC`.
    Room(u64),
    /// Every write writes half of what it was asked to (at least one byte), which is no error.
    ShortWrite,
    /// Every n-th write or sync fails with `EIO`.
    EveryNth(u64),
}

/// What was seen of a disk since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Syncs that returned, with success or without.
    pub syncs: u64,
    /// Calls that a fault failed or cut.
    pub faults: u64,
}

/// The files below one directory. Dropping it ends its fault.
#[derive(Debug)]
pub struct Disk {
    slot: &'static Slot,
    index: usize,
}

#[derive(Debug)]
pub(crate) struct Slot {
    prefix: Vec<u8>,
    on: AtomicBool,
    fault: Mutex<Fault>,
    changed: Condvar,
    room: AtomicU64,
    calls: AtomicU64,
    syncs: AtomicU64,
    faults: AtomicU64,
    stalled: AtomicI32,
}

impl Disk {
    /// The disk that the files below `directory` are on. It works until [`Disk::set`] says otherwise.
    ///
    /// # Panics
    /// If `directory` does not exist, or too many disks do.
    pub fn under(directory: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let directory = directory.canonicalize().expect("the directory exists");
        let slot: &'static Slot = Box::leak(Box::new(Slot {
            prefix: [directory.as_os_str().as_bytes(), b"/"].concat(),
            on: AtomicBool::new(true),
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            room: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            stalled: AtomicI32::new(0),
        }));
        let pointer = std::ptr::from_ref(slot).cast_mut();
        let free = |entry: &AtomicPtr<Slot>| {
            entry
                .compare_exchange(std::ptr::null_mut(), pointer, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        };
        let index = TABLE.iter().position(free).expect("at most 64 disks at a time");
        USED.fetch_add(1, Ordering::AcqRel);
        Self { slot, index }
    }

    /// From now on, and for syncs that stall already.
    pub fn set(&self, fault: Fault) {
        self.slot.set(fault);
    }

    /// Works again.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    /// Syncs that are stalled at this moment.
    pub fn stalled(&self) -> usize {
        usize::try_from(self.slot.stalled.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// What was seen so far.
    pub fn seen(&self) -> Syncs {
        Syncs {
            syncs: self.slot.syncs.load(Ordering::Acquire),
            faults: self.slot.faults.load(Ordering::Acquire),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.slot.set(Fault::None);
        self.slot.on.store(false, Ordering::Release);
        // The slot itself stays allocated: a call of another thread may be inside it.
        TABLE[self.index].store(std::ptr::null_mut(), Ordering::Release);
        USED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a write is to do.
pub(crate) enum Write {
    All,
    /// Only so many bytes, which is fewer than asked and more than none.
    Cut(usize),
    Fail(i32),
}

/// Whether any disk exists at all: the fast path of every call.
pub(crate) fn any() -> bool {
    USED.load(Ordering::Acquire) > 0
}

/// The disks in the table.
pub(crate) fn pointers() -> impl Iterator<Item = *const Slot> {
    TABLE
        .iter()
        .map(|entry| entry.load(Ordering::Acquire).cast_const())
        .filter(|pointer| !pointer.is_null())
}

impl Slot {
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        self.on.load(Ordering::Acquire) && path.starts_with(&self.prefix)
    }

    fn set(&self, fault: Fault) {
        if let Fault::Room(bytes) = fault {
            self.room.store(bytes, Ordering::Release);
        }
        *self.fault() = fault;
        self.changed.notify_all();
    }

    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, errno: i32) -> i32 {
        self.faults.fetch_add(1, Ordering::AcqRel);
        errno
    }

    fn nth(&self, n: u64) -> bool {
        (self.calls.fetch_add(1, Ordering::AcqRel) + 1).is_multiple_of(n.max(1))
    }

    pub(crate) fn write(&self, bytes: usize) -> Write {
        let fault = *self.fault();
        match fault {
            Fault::Write(errno) => Write::Fail(self.failed(errno)),
            Fault::EveryNth(n) if self.nth(n) => Write::Fail(self.failed(libc::EIO)),
            Fault::ShortWrite if bytes > 1 => {
                self.failed(0);
                Write::Cut(bytes.div_ceil(2))
            }
            Fault::Room(_) => {
                let left = usize::try_from(self.room.load(Ordering::Acquire)).unwrap_or(usize::MAX);
                self.room
                    .store(left.saturating_sub(bytes) as u64, Ordering::Release);
                match left {
                    0 => Write::Fail(self.failed(libc::ENOSPC)),
                    left if left < bytes => {
                        self.failed(0);
                        Write::Cut(left)
                    }
                    _ => Write::All,
                }
            }
            _ => Write::All,
        }
    }

    /// Before a file is grown: the error to fail with.
    pub(crate) fn grow(&self) -> Option<i32> {
        match *self.fault() {
            Fault::Write(errno) => Some(self.failed(errno)),
            _ => None,
        }
    }

    /// Before a sync: waits as the fault says, then the error to fail with.
    pub(crate) fn sync(&self) -> Option<i32> {
        let mut fault = self.fault();
        let until = Instant::now() + STALL_MAX;
        self.stalled.fetch_add(1, Ordering::AcqRel);
        while *fault == Fault::StallSync && Instant::now() < until {
            let waited = self.changed.wait_timeout(fault, Duration::from_millis(100));
            fault = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.stalled.fetch_sub(1, Ordering::AcqRel);
        let now = *fault;
        drop(fault);
        match now {
            Fault::SlowSync(delay) => {
                std::thread::sleep(delay);
                None
            }
            Fault::StallSync => Some(self.failed(libc::EIO)),
            Fault::Sync(errno) => Some(self.failed(errno)),
            Fault::EveryNth(n) if self.nth(n) => Some(self.failed(libc::EIO)),
            _ => None,
        }
    }

    pub(crate) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::AcqRel);
    }
}
