//! Sample data: a directory tree made from a seed.
//!
//! It holds what is hard: nested directories, names with spaces, newlines, bytes that are not UTF-8, 255 bytes, emoji; empty files and
//! directories; sizes around a page and a block; many small files and a few large ones; symbolic links.
//!
//! Invariant: seed and size alone decide every name, size and byte.

mod names;
mod plan;

use std::ffi::OsString;
use std::fs::{File, create_dir};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rand::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A file of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleFile {
    /// Relative to the root.
    pub path: PathBuf,
    /// Its exact size.
    pub size_bytes: u64,
}

/// A symbolic link of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleLink {
    /// Relative to the root.
    pub path: PathBuf,
    /// What it says; need not exist.
    pub target: OsString,
}

/// What a sample consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The seed it was made from.
    pub seed: u64,
    /// All files; sizes add up to at least what was asked for.
    pub files: Vec<SampleFile>,
    /// All directories but the root, parents before children.
    pub directories: Vec<PathBuf>,
    /// All symbolic links.
    pub links: Vec<SampleLink>,
}

impl Sample {
    /// Plans a sample of at least `total_bytes`; nothing is written yet. One file has at least a quarter of that.
    #[must_use]
    pub fn plan(seed: u64, total_bytes: u64) -> Self {
        plan::plan(seed, total_bytes)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Writes the sample into an existing empty directory. `proceed` is asked between pieces; when it says no, writing ends early with
    /// [`io::ErrorKind::Interrupted`].
    ///
    /// # Errors
    /// Those of mkdir(2), open(2), write(2), symlink(2), chmod(2) in `root`: no space, no permission, a file system that cannot hold a
    /// name (some refuse bytes that are not UTF-8); and `Interrupted` as said.
    pub fn write(&self, root: &Path, mut proceed: impl FnMut() -> bool) -> io::Result<()> {
        for directory in &self.directories {
            create_dir(root.join(directory))?;
        }
        for link in &self.links {
            symlink(&link.target, root.join(&link.path))?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        for (number, file) in (0_u64..).zip(&self.files) {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(
                self.seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
            let mut out = File::create_new(root.join(&file.path))?;
            let mut left = file.size_bytes;
            while left > 0 {
                if !proceed() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                random.fill_bytes(&mut chunk[..count]);
                out.write_all(&chunk[..count])?;
                left -= u64::try_from(count).expect("at most a chunk");
            }
            let mode = [0o644, 0o600, 0o755, 0o444][usize::try_from(number % 4).expect("below 4")];
            out.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}
