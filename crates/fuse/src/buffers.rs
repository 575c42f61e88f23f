//! Resident memory for everything that the kernel copies from or to `/dev/fuse`.
//!
//! While the kernel copies a FUSE message it pins the user's pages (`fuse_copy_fill` in `fs/fuse/dev.c`). A page
//! that is not there must be faulted in, and the slow path of `mm/gup.c` refuses when a SIGKILL is pending: the
//! request is then *completed with EIO*, and no take-over can repair it. So all these pages are faulted in for
//! writing before the first use and stay so:
//!
//! * private anonymous memory, every page written once, then locked (`mlock`, as far as `RLIMIT_MEMLOCK` allows);
//! * `MADV_NOHUGEPAGE`: khugepaged takes page tables away for a moment when it collapses pages;
//! * `MADV_DONTFORK`: a fork would write-protect the pages for copy on write. A forked child has no such mapping.
//!
//! Invariant: a `Resident` owns its mapping alone, from `mmap` to `munmap`, and every byte of it is initialised.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::slice;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};

use crate::abi::READ_MAX_BYTES;

const PAGE_BYTES: usize = 4096;

/// The kernel refuses a smaller buffer than 8 KiB (`FUSE_MIN_READ_BUFFER`); four times that lets a FORGET batch
/// carry some 2,000 entries.
const RECEIVE_BYTES: usize = 32 * 1024;

/// Room of one small reply with its header: a symlink target of `PATH_MAX` fits.
pub(crate) const SMALL_BYTES: usize = 2 * PAGE_BYTES;

/// Why a buffer could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// `mmap` or `madvise` failed, as a rule for want of memory or of map slots.
    #[error("cannot map a resident buffer: {0}")]
    Map(Errno),
}

/// Whether the pages of a buffer are locked in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residency {
    /// `mlock` succeeded: the pages cannot be swapped out.
    Locked,
    /// `mlock` was refused (`RLIMIT_MEMLOCK`, no CAP_IPC_LOCK): resident, but could be swapped out under pressure.
    Touched(Errno),
}

/// A private anonymous mapping, each page present and writable.
struct Resident {
    start: NonNull<u8>,
    len: usize,
    residency: Residency,
}

// SAFETY: a Resident is the only owner of plain memory without ties to a thread; moving it moves the ownership.
unsafe impl Send for Resident {}
// SAFETY: shared access (`bytes`) only reads; writing needs `&mut self`.
unsafe impl Sync for Resident {}

impl Resident {
    fn new(min_bytes: usize) -> Result<Self, BufferError> {
        let len = min_bytes.next_multiple_of(PAGE_BYTES);
        assert!(len > 0 && len <= isize::MAX as usize, "a buffer has bytes");
        // SAFETY: the address hint is null and MAP_FIXED is not given, so no existing mapping is touched.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .map_err(BufferError::Map)?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(BufferError::Map(Errno::NOMEM))?;
        let mut resident = Self {
            start,
            len,
            residency: Residency::Touched(Errno::PERM),
        };
        resident.make_resident()?;
        Ok(resident)
    }

    fn make_resident(&mut self) -> Result<(), BufferError> {
        let start = self.start.as_ptr().cast();
        // SAFETY: the range is exactly our own mapping; this advice only changes the choice of page size. Kernels
        // without huge pages answer EINVAL, which is as good.
        let _ = unsafe { madvise(start, self.len, Advice::LinuxNoHugepage) };
        // SAFETY: the range is exactly our own mapping; only a forked child is affected, and it has no safe way to
        // reach a `Resident` after a fork (fork itself is unsafe).
        unsafe { madvise(start, self.len, Advice::LinuxDontFork) }.map_err(BufferError::Map)?;
        // Writing (not reading) makes every page present *and writable*, as MAP_POPULATE would, but after the advice.
        self.bytes_mut().fill(0);
        // SAFETY: the range is exactly our own mapping; locking changes no content. `munmap` undoes it.
        self.residency = match unsafe { mlock(start, self.len) } {
            Ok(()) => Residency::Locked,
            Err(errno) => Residency::Touched(errno),
        };
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is non-null, the mapping of `len` (≤ isize::MAX) bytes is ours, readable, zero-initialised
        // by the kernel and lives until drop; `&self` keeps writers out.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the mapping is writable and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, `&mut self` proves that no slice of it is borrowed, and it is not used
        // again. A failure could only mean that the mapping is not ours: nothing to repair.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of an own mapping");
    }
}

/// A resident buffer for one request at a time; each receiving thread has its own.
pub struct ReceiveBuffer(Resident);

impl ReceiveBuffer {
    /// Maps, touches and locks a buffer of 32 KiB.
    ///
    /// # Errors
    /// [`BufferError::Map`] when the kernel gives no memory. A refused `mlock` is no error, see
    /// [`ReceiveBuffer::residency`].
    pub fn new() -> Result<Self, BufferError> {
        Resident::new(RECEIVE_BYTES).map(Self)
    }

    /// Whether the pages are locked.
    #[must_use]
    pub fn residency(&self) -> Residency {
        self.0.residency
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// A resident buffer for the payload of large replies (file data, directory entries).
pub struct ReplyBuffer(Resident);

impl ReplyBuffer {
    /// Maps, touches and locks a buffer of 1 MiB, the largest READ that [`crate::handshake`] agrees to.
    ///
    /// # Errors
    /// [`BufferError::Map`] when the kernel gives no memory.
    pub fn new() -> Result<Self, BufferError> {
        Self::with_capacity(READ_MAX_BYTES)
    }

    /// Like [`ReplyBuffer::new`] with at least `capacity_bytes` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`BufferError::Map`] when the kernel gives no memory.
    ///
    /// # Panics
    /// When `capacity_bytes` is 0 or beyond `isize::MAX`.
    pub fn with_capacity(capacity_bytes: usize) -> Result<Self, BufferError> {
        Resident::new(capacity_bytes).map(Self)
    }

    /// Size of the buffer in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.len
    }

    /// Whether the pages are locked.
    #[must_use]
    pub fn residency(&self) -> Residency {
        self.0.residency
    }

    /// The whole buffer, to be filled. It holds whatever was in it before.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// The first `len_bytes` bytes, as a payload for [`crate::Connection::reply_read`] and its like.
    ///
    /// # Panics
    /// When `len_bytes` is beyond the capacity.
    #[must_use]
    pub fn filled(&self, len_bytes: usize) -> ResidentBytes<'_> {
        ResidentBytes(&self.0.bytes()[..len_bytes])
    }
}

/// Bytes that are known to lie in resident memory: the proof that a reply from them survives a SIGKILL.
#[derive(Debug, Clone, Copy)]
pub struct ResidentBytes<'a>(&'a [u8]);

impl<'a> ResidentBytes<'a> {
    /// No bytes at all.
    pub const EMPTY: ResidentBytes<'static> = ResidentBytes(&[]);

    /// The bytes.
    #[must_use]
    pub fn as_slice(self) -> &'a [u8] {
        self.0
    }

    /// The bytes from `start` to `end` (exclusive).
    ///
    /// # Panics
    /// When the range does not lie inside.
    #[must_use]
    pub fn subslice(self, start: usize, end: usize) -> Self {
        Self(&self.0[start..end])
    }
}

thread_local! {
    static SMALL: RefCell<Option<Resident>> = const { RefCell::new(None) };
}

/// Runs `fill_and_send` with this thread's small resident buffer, made at the first use.
pub(crate) fn with_small_buffer<T>(
    fill_and_send: impl FnOnce(&mut [u8]) -> T,
) -> Result<T, BufferError> {
    SMALL.with_borrow_mut(|slot| {
        let resident = match slot {
            Some(resident) => resident,
            None => slot.insert(Resident::new(SMALL_BYTES)?),
        };
        Ok(fill_and_send(resident.bytes_mut()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_buffers_are_resident_before_their_first_use() {
        let buffer = ReplyBuffer::new().expect("memory");
        let start = buffer.0.start.as_ptr() as usize;
        // One flag byte a page would come from mincore; smaps is readable without unsafe code.
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let mut of_ours = smaps
            .lines()
            .skip_while(|line| !covers(line, start))
            .skip(1)
            .take_while(|line| !line.split(' ').next().is_some_and(|w| w.contains('-')));
        let resident = of_ours
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<usize>().ok());
        assert!(resident.expect("an Rss line") * 1024 >= READ_MAX_BYTES);
    }

    fn covers(line: &str, address: usize) -> bool {
        let Some((range, _)) = line.split_once(' ') else {
            return false;
        };
        let Some((start, end)) = range.split_once('-') else {
            return false;
        };
        let parse = |text| usize::from_str_radix(text, 16).ok();
        matches!((parse(start), parse(end)), (Some(s), Some(e)) if (s..e).contains(&address))
    }

    #[test]
    fn a_payload_is_what_was_written() {
        let mut buffer = ReplyBuffer::with_capacity(1).expect("memory");
        assert_eq!(buffer.capacity(), PAGE_BYTES);
        buffer.bytes_mut()[..3].copy_from_slice(b"abc");
        assert_eq!(buffer.filled(3).as_slice(), b"abc");
        assert_eq!(buffer.filled(3).subslice(1, 2).as_slice(), b"b");
    }
}
