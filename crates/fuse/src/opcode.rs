//! The operations of FUSE by number.
//!
//! Invariant: every opcode of protocol 7.45 has a name here; a number without one stays a number
//! ([`crate::Operation::Unknown`]) and is answered with ENOSYS, as `include/uapi/linux/fuse.h` wants.

use fuse_abi::linux::fuse_opcode as raw;

use crate::abi;

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $number:expr,)*) => {
        /// An opcode of `enum fuse_opcode` in `include/uapi/linux/fuse.h`, protocol 7.45.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Opcode { $($(#[$doc])* $name = $number,)* }

        impl Opcode {
            /// Every opcode, ascending.
            pub const ALL: &[Opcode] = &[$(Opcode::$name,)*];
        }
    };
}

opcodes! {
    /// Look a name up in a directory.
    Lookup = raw::FUSE_LOOKUP as u32,
    /// Drop lookup counts of one node; never answered.
    Forget = raw::FUSE_FORGET as u32,
    /// Attributes of a node.
    Getattr = raw::FUSE_GETATTR as u32,
    /// Change attributes.
    Setattr = raw::FUSE_SETATTR as u32,
    /// Target of a symbolic link.
    Readlink = raw::FUSE_READLINK as u32,
    /// Make a symbolic link.
    Symlink = raw::FUSE_SYMLINK as u32,
    /// Make a node.
    Mknod = raw::FUSE_MKNOD as u32,
    /// Make a directory.
    Mkdir = raw::FUSE_MKDIR as u32,
    /// Remove a file.
    Unlink = raw::FUSE_UNLINK as u32,
    /// Remove a directory.
    Rmdir = raw::FUSE_RMDIR as u32,
    /// Rename.
    Rename = raw::FUSE_RENAME as u32,
    /// Make a hard link.
    Link = raw::FUSE_LINK as u32,
    /// Open a file.
    Open = raw::FUSE_OPEN as u32,
    /// Read from a file.
    Read = raw::FUSE_READ as u32,
    /// Write to a file.
    Write = raw::FUSE_WRITE as u32,
    /// Figures of the file system.
    Statfs = raw::FUSE_STATFS as u32,
    /// The last descriptor of an open file is gone.
    Release = raw::FUSE_RELEASE as u32,
    /// fsync of a file.
    Fsync = raw::FUSE_FSYNC as u32,
    /// Set an extended attribute.
    Setxattr = raw::FUSE_SETXATTR as u32,
    /// Value of an extended attribute.
    Getxattr = raw::FUSE_GETXATTR as u32,
    /// Names of the extended attributes.
    Listxattr = raw::FUSE_LISTXATTR as u32,
    /// Remove an extended attribute.
    Removexattr = raw::FUSE_REMOVEXATTR as u32,
    /// close(2) of a descriptor.
    Flush = raw::FUSE_FLUSH as u32,
    /// The handshake.
    Init = raw::FUSE_INIT as u32,
    /// Open a directory.
    Opendir = raw::FUSE_OPENDIR as u32,
    /// Entries of a directory.
    Readdir = raw::FUSE_READDIR as u32,
    /// The last descriptor of an open directory is gone.
    Releasedir = raw::FUSE_RELEASEDIR as u32,
    /// fsync of a directory.
    Fsyncdir = raw::FUSE_FSYNCDIR as u32,
    /// Test a POSIX lock.
    Getlk = raw::FUSE_GETLK as u32,
    /// Take a POSIX lock.
    Setlk = raw::FUSE_SETLK as u32,
    /// Take a POSIX lock, waiting.
    Setlkw = raw::FUSE_SETLKW as u32,
    /// access(2), when the kernel does not check modes itself.
    Access = raw::FUSE_ACCESS as u32,
    /// Create and open a file.
    Create = raw::FUSE_CREATE as u32,
    /// A signal reached the process that waits for a request.
    Interrupt = raw::FUSE_INTERRUPT as u32,
    /// Block number of a file's block (FIBMAP).
    Bmap = raw::FUSE_BMAP as u32,
    /// The file system goes away (block device mounts only).
    Destroy = raw::FUSE_DESTROY as u32,
    /// ioctl(2).
    Ioctl = raw::FUSE_IOCTL as u32,
    /// poll(2).
    Poll = raw::FUSE_POLL as u32,
    /// Answer to a `FUSE_NOTIFY_RETRIEVE`.
    NotifyReply = raw::FUSE_NOTIFY_REPLY as u32,
    /// Drop lookup counts of many nodes; never answered.
    BatchForget = raw::FUSE_BATCH_FORGET as u32,
    /// fallocate(2).
    Fallocate = raw::FUSE_FALLOCATE as u32,
    /// Entries of a directory with their attributes.
    Readdirplus = raw::FUSE_READDIRPLUS as u32,
    /// renameat2(2) with flags.
    Rename2 = raw::FUSE_RENAME2 as u32,
    /// SEEK_DATA and SEEK_HOLE.
    Lseek = raw::FUSE_LSEEK as u32,
    /// copy_file_range(2).
    CopyFileRange = raw::FUSE_COPY_FILE_RANGE as u32,
    /// Map a DAX window.
    Setupmapping = raw::FUSE_SETUPMAPPING as u32,
    /// Unmap a DAX window.
    Removemapping = raw::FUSE_REMOVEMAPPING as u32,
    /// syncfs(2).
    Syncfs = raw::FUSE_SYNCFS as u32,
    /// O_TMPFILE.
    Tmpfile = raw::FUSE_TMPFILE as u32,
    /// statx(2) beyond GETATTR.
    Statx = raw::FUSE_STATX as u32,
    /// copy_file_range(2) with a 64-bit result (protocol 7.45).
    CopyFileRange64 = abi::COPY_FILE_RANGE_64,
}

impl Opcode {
    /// The opcode of this number, `None` when protocol 7.45 has none.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|&opcode| opcode as u32 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for &opcode in Opcode::ALL {
            assert_eq!(Opcode::from_number(opcode as u32), Some(opcode));
        }
        for unused in [0, 7, 19, 54, u32::MAX] {
            assert_eq!(Opcode::from_number(unused), None);
        }
        // The header numbers 1..=53 without 7 and 19.
        assert_eq!(Opcode::ALL.len(), 51);
    }
}
