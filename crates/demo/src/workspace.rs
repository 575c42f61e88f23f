//! The temporary directory of a run: sample, mount points, caches, sockets, log; gone when dropped.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The directory of a run. Private to the user (0700), as mkdtemp(3) makes it.
#[derive(Debug)]
pub(crate) struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// Makes it in `parent`, or where this system keeps temporary files: on a disk rather than in memory, if there is one.
    pub fn create(parent: Option<&Path>) -> io::Result<Self> {
        let parent = parent.map_or_else(on_disk, Path::to_owned);
        let directory = tempfile::Builder::new()
            .prefix("holdfast-demo-")
            .tempdir_in(parent)?;
        let made = Self { directory };
        for part in [made.served(), made.sample(), made.run_root()] {
            std::fs::create_dir(&part)?;
        }
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(made.run_root(), std::fs::Permissions::from_mode(0o700))?;
        Ok(made)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the origin serves at its root.
    pub fn served(&self) -> PathBuf {
        self.path().join("served")
    }

    /// The sample, one directory below what is served, so that the manifest can lie beside it.
    pub fn sample(&self) -> PathBuf {
        self.served().join("sample")
    }

    /// Where the sockets of the run's instances are.
    pub fn run_root(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The log of all processes of all instances.
    pub fn log(&self) -> PathBuf {
        self.path().join("holdfast.log")
    }

    /// Removes it now, to learn whether that worked.
    pub fn remove(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// The usual directory, unless it is in memory and /var/tmp is not.
fn on_disk() -> PathBuf {
    let in_memory = |path: &Path| {
        statfs(path)
            .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == TMPFS_MAGIC))
    };
    let usual = std::env::temp_dir();
    let disk = PathBuf::from("/var/tmp");
    if in_memory(&usual) && disk.is_dir() && !in_memory(&disk) {
        disk
    } else {
        usual
    }
}
