//! The faults of directories: a fixed table of slots. It is read without a lock, because it is read inside `write`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of directories with a fault at the same time.
const SLOTS: usize = 64;

/// The longest stall. A test that does not end a stall then fails instead of hanging.
const STALL_MAX: Duration = Duration::from_secs(60);

static TABLE: [AtomicPtr<Slot>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];
static USED: AtomicUsize = AtomicUsize::new(0);

/// The behaviour of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Every sync is delayed by this time.
    SlowSync(Duration),
    /// A sync blocks until the fault changes.
    StallSync,
    /// A write fails with this error (`ENOSPC`, `EIO`, `EDQUOT`, `EROFS`) and writes nothing. Truncating a file fails
    /// with the same error.
    Write(i32),
    /// A sync fails with this error, as after the device lost a page.
    Sync(i32),
    /// The disk has this many free bytes. A write that needs more is short; the next fails with `ENOSPC`.
    Room(u64),
    /// Every write is short, without an error: it writes half of its bytes, at least one.
    ShortWrite,
    /// Every n-th write or sync fails with `EIO`.
    EveryNth(u64),
}

/// Counts of a disk since its creation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Syncs that returned, successfully or not.
    pub syncs: u64,
    /// Calls that a fault made fail or shortened.
    pub faults: u64,
}

/// A directory whose files have a fault. Dropping it ends the fault.
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
    /// Makes the files below `directory` a disk, without a fault.
    ///
    /// # Panics
    /// If `directory` does not exist, or 64 disks exist already.
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

    /// Sets the fault. It also applies to syncs that are stalled now.
    pub fn set(&self, fault: Fault) {
        self.slot.set(fault);
    }

    /// Ends the fault.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    /// The number of syncs that are stalled now.
    pub fn stalled(&self) -> usize {
        usize::try_from(self.slot.stalled.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// The counts so far.
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
        // The slot stays allocated, because a call of another thread may still use it.
        TABLE[self.index].store(std::ptr::null_mut(), Ordering::Release);
        USED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The effect of the fault on a write.
pub(crate) enum Write {
    All,
    /// Write only this many bytes: fewer than requested, at least one.
    Cut(usize),
    Fail(i32),
}

/// Whether any disk exists. Every call checks this first, as its fast path.
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

    /// Called before a file is truncated. Returns the error to fail with.
    pub(crate) fn grow(&self) -> Option<i32> {
        match *self.fault() {
            Fault::Write(errno) => Some(self.failed(errno)),
            _ => None,
        }
    }

    /// Called before a sync. Waits as long as the fault demands, then returns the error to fail with.
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
