//! Parses the arguments behind a request's header.
//!
//! Invariants: total over all bytes (an error, never a panic), nothing is copied but fixed-size structures, and bytes
//! behind the arguments are ignored, so that a newer kernel may append fields.
//!
//! Implements: the `fuse_*_in` structures of `include/uapi/linux/fuse.h`.

use fuse_abi::linux as raw;
use zerocopy::FromBytes;

use crate::handshake::InitFlags;
use crate::opcode::Opcode;
use crate::operation::{FileHandle, Forgets, InitRequest, Operation};
use crate::request::{ArgumentError, Unique};

type Parsed<'a> = Result<Operation<'a>, ArgumentError>;

/// Parses the arguments of opcode `number`.
pub(crate) fn parse(number: u32, body: &[u8]) -> Parsed<'_> {
    let Some(opcode) = Opcode::from_number(number) else {
        return Ok(Operation::Unknown { opcode: number });
    };
    let mut arguments = Arguments(body);
    match opcode {
        Opcode::Lookup => arguments.name().map(|name| Operation::Lookup { name }),
        Opcode::Forget => arguments.forget(),
        Opcode::BatchForget => arguments.batch_forget(),
        Opcode::Getattr => arguments.getattr(),
        Opcode::Readlink => Ok(Operation::Readlink),
        Opcode::Open => arguments
            .open_flags()
            .map(|flags| Operation::Open { flags }),
        Opcode::Read => arguments.read(),
        Opcode::Statfs => Ok(Operation::Statfs),
        Opcode::Release => arguments.release(),
        Opcode::Opendir => arguments
            .open_flags()
            .map(|flags| Operation::Opendir { flags }),
        Opcode::Readdir => arguments.readdir(),
        Opcode::Readdirplus => arguments.readdirplus(),
        Opcode::Releasedir => arguments.handle().map(|fh| Operation::Releasedir { fh }),
        Opcode::Flush => arguments.handle().map(|fh| Operation::Flush { fh }),
        Opcode::Fsync => arguments.handle().map(|fh| Operation::Fsync { fh }),
        Opcode::Fsyncdir => arguments.handle().map(|fh| Operation::Fsyncdir { fh }),
        Opcode::Access => arguments.access(),
        Opcode::Getxattr => arguments.getxattr(),
        Opcode::Listxattr => arguments.listxattr(),
        Opcode::Lseek => arguments.lseek(),
        Opcode::Interrupt => arguments.interrupt(),
        Opcode::Init => arguments.init(),
        Opcode::Destroy => Ok(Operation::Destroy),
        Opcode::Ioctl => arguments.ioctl(),
        Opcode::Poll => arguments.handle().map(|fh| Operation::Poll { fh }),
        Opcode::Statx => arguments.statx(),
        Opcode::Syncfs => Ok(Operation::Syncfs),
        Opcode::Setattr
        | Opcode::Symlink
        | Opcode::Mknod
        | Opcode::Mkdir
        | Opcode::Unlink
        | Opcode::Rmdir
        | Opcode::Rename
        | Opcode::Rename2
        | Opcode::Link
        | Opcode::Write
        | Opcode::Setxattr
        | Opcode::Removexattr
        | Opcode::Create
        | Opcode::Fallocate
        | Opcode::CopyFileRange
        | Opcode::CopyFileRange64
        | Opcode::Tmpfile => Ok(Operation::Mutating { opcode }),
        Opcode::Getlk
        | Opcode::Setlk
        | Opcode::Setlkw
        | Opcode::Bmap
        | Opcode::NotifyReply
        | Opcode::Setupmapping
        | Opcode::Removemapping => Ok(Operation::Unsupported { opcode }),
    }
}

/// The bytes of the arguments not parsed yet.
struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    fn take<T: FromBytes>(&mut self) -> Result<T, ArgumentError> {
        let (value, rest) = T::read_from_prefix(self.0).map_err(|_| ArgumentError::Short)?;
        self.0 = rest;
        Ok(value)
    }

    fn name(&mut self) -> Result<&'a [u8], ArgumentError> {
        let end = self.0.iter().position(|&byte| byte == 0);
        let (name, rest) = self.0.split_at(end.ok_or(ArgumentError::Short)?);
        self.0 = &rest[1..];
        if name.is_empty() {
            return Err(ArgumentError::EmptyName);
        }
        Ok(name)
    }

    /// The file handle, with which RELEASE, FLUSH, FSYNC and POLL all begin.
    fn handle(&mut self) -> Result<FileHandle, ArgumentError> {
        self.take().map(FileHandle)
    }

    fn open_flags(&mut self) -> Result<u32, ArgumentError> {
        self.take::<raw::fuse_open_in>().map(|open| open.flags)
    }

    fn forget(&mut self) -> Parsed<'a> {
        let nlookup = self.take::<raw::fuse_forget_in>()?.nlookup;
        Ok(Operation::Forget { nlookup })
    }

    fn batch_forget(&mut self) -> Parsed<'a> {
        let count = self.take::<raw::fuse_batch_forget_in>()?.count as usize;
        let forgets = Forgets::parse(self.0, count).ok_or(ArgumentError::Short)?;
        Ok(Operation::BatchForget(forgets))
    }

    fn getattr(&mut self) -> Parsed<'a> {
        let getattr = self.take::<raw::fuse_getattr_in>()?;
        let fh = handle_if(getattr.getattr_flags, getattr.fh);
        Ok(Operation::Getattr { fh })
    }

    fn statx(&mut self) -> Parsed<'a> {
        let statx = self.take::<raw::fuse_statx_in>()?;
        Ok(Operation::Statx {
            fh: handle_if(statx.getattr_flags, statx.fh),
            mask: statx.sx_mask,
        })
    }

    fn read(&mut self) -> Parsed<'a> {
        let read = self.take::<raw::fuse_read_in>()?;
        Ok(Operation::Read {
            fh: FileHandle(read.fh),
            offset: read.offset,
            size: read.size,
            flags: read.flags,
        })
    }

    fn readdir(&mut self) -> Parsed<'a> {
        let read = self.take::<raw::fuse_read_in>()?;
        Ok(Operation::Readdir {
            fh: FileHandle(read.fh),
            offset: read.offset,
            size: read.size,
        })
    }

    fn readdirplus(&mut self) -> Parsed<'a> {
        let read = self.take::<raw::fuse_read_in>()?;
        Ok(Operation::Readdirplus {
            fh: FileHandle(read.fh),
            offset: read.offset,
            size: read.size,
        })
    }

    fn release(&mut self) -> Parsed<'a> {
        let release = self.take::<raw::fuse_release_in>()?;
        Ok(Operation::Release {
            fh: FileHandle(release.fh),
            flags: release.flags,
        })
    }

    fn access(&mut self) -> Parsed<'a> {
        let mask = self.take::<raw::fuse_access_in>()?.mask;
        Ok(Operation::Access { mask })
    }

    fn getxattr(&mut self) -> Parsed<'a> {
        let size = self.take::<raw::fuse_getxattr_in>()?.size;
        let name = self.name()?;
        Ok(Operation::Getxattr { name, size })
    }

    fn listxattr(&mut self) -> Parsed<'a> {
        let size = self.take::<raw::fuse_getxattr_in>()?.size;
        Ok(Operation::Listxattr { size })
    }

    fn lseek(&mut self) -> Parsed<'a> {
        let lseek = self.take::<raw::fuse_lseek_in>()?;
        Ok(Operation::Lseek {
            fh: FileHandle(lseek.fh),
            offset: lseek.offset,
            whence: lseek.whence,
        })
    }

    fn ioctl(&mut self) -> Parsed<'a> {
        let ioctl = self.take::<raw::fuse_ioctl_in>()?;
        Ok(Operation::Ioctl {
            fh: FileHandle(ioctl.fh),
            command: ioctl.cmd,
        })
    }

    fn interrupt(&mut self) -> Parsed<'a> {
        let interrupt = self.take::<raw::fuse_interrupt_in>()?;
        Ok(Operation::Interrupt {
            unique: Unique::from_raw(interrupt.unique),
        })
    }

    /// INIT grew over time: four words since 7.6, and `flags2` when `FUSE_INIT_EXT` says so.
    fn init(&mut self) -> Parsed<'a> {
        let [major, minor, max_readahead_bytes, flags] = self.take::<[u32; 4]>()?;
        let mut bits = u64::from(flags);
        if InitFlags::from_bits_retain(bits).contains(InitFlags::INIT_EXT) {
            bits |= u64::from(self.take::<u32>()?) << 32;
        }
        Ok(Operation::Init(InitRequest {
            major,
            minor,
            max_readahead_bytes,
            offered: InitFlags::from_bits_retain(bits),
        }))
    }
}

fn handle_if(getattr_flags: u32, fh: u64) -> Option<FileHandle> {
    (getattr_flags & raw::FUSE_GETATTR_FH != 0).then_some(FileHandle(fh))
}
