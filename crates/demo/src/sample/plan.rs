//! Which directories, files and links a sample has.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Sample, SampleFile, SampleLink, names};

/// Sizes around the borders where off-by-one errors live.
const EDGE_SIZES_BYTES: [u64; 14] = [
    0, 1, 2, 511, 4095, 4096, 4097, 8191, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073,
];
/// Ordinary directories; each is put into a random earlier one, so that some are deep.
const DIRECTORIES: usize = 40;
/// A chain of directories, one in the other.
const CHAIN_DEPTH: usize = 12;
/// Small files have at most this many bytes.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

struct Planner {
    random: Xoshiro256PlusPlus,
    sample: Sample,
    /// Directories that get files; the first is the root.
    parents: Vec<PathBuf>,
    number: usize,
}

pub(super) fn plan(seed: u64, total_bytes: u64) -> Sample {
    let sample = Sample {
        seed,
        files: Vec::new(),
        directories: Vec::new(),
        links: Vec::new(),
    };
    let random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut planner = Planner {
        random,
        sample,
        parents: vec![PathBuf::new()],
        number: 0,
    };
    planner.directories();
    planner.odd_names();
    planner.large_files(total_bytes);
    planner.small_files(total_bytes);
    planner.links();
    planner.sample
}

impl Planner {
    fn directories(&mut self) {
        for _ in 0..DIRECTORIES {
            let name = self.name("");
            let path = self.parent().join(name);
            self.add_directory(path);
        }
        let mut chain = PathBuf::from("deep");
        for level in 0..CHAIN_DEPTH {
            self.add_directory(chain.clone());
            chain.push(format!("level {level}"));
        }
        // These stay empty.
        self.sample
            .directories
            .push(PathBuf::from("empty directory"));
        self.sample.directories.push(PathBuf::from("deep/empty"));
    }

    fn odd_names(&mut self) {
        let files = PathBuf::from("odd files");
        let directories = PathBuf::from("odd directories");
        self.sample
            .directories
            .extend([files.clone(), directories.clone()]);
        for (name, size_bytes) in names::odd()
            .into_iter()
            .zip(EDGE_SIZES_BYTES.into_iter().cycle())
        {
            let path = files.join(&name);
            self.sample.files.push(SampleFile { path, size_bytes });
            let directory = directories.join(&name);
            self.sample.directories.push(directory.clone());
            self.sample.files.push(SampleFile {
                path: directory.join(&name),
                size_bytes: size_bytes / 2 + 1,
            });
        }
    }

    /// Three quarters of the bytes, in a few files of sizes that are no multiples of anything.
    fn large_files(&mut self, total_bytes: u64) {
        self.add_file("large/quarter.bin".into(), total_bytes / 4 + 4097);
        self.sample.directories.push(PathBuf::from("large"));
        for part in 0..2 {
            self.add_file(
                format!("large/eighth-{part}.bin").into(),
                total_bytes / 8 + 77,
            );
        }
        for part in 0..16 {
            self.add_file(
                format!("large/part {part}.bin").into(),
                total_bytes / 64 + part,
            );
        }
    }

    fn small_files(&mut self, total_bytes: u64) {
        for size_bytes in EDGE_SIZES_BYTES {
            self.add_small_file(size_bytes);
        }
        let mut sum_bytes = self.sample.total_bytes();
        while sum_bytes < total_bytes {
            let size_bytes = self.random.random_range(0..=SMALL_BYTES_MAX);
            sum_bytes += size_bytes;
            self.add_small_file(size_bytes);
        }
    }

    fn links(&mut self) {
        let bytes = |target: &[u8]| OsString::from_vec(target.to_vec());
        let targets = [
            ("to file", bytes(b"../large/quarter.bin")),
            ("to directory", bytes(b"../odd files")),
            ("to itself", bytes(b"to itself")),
            ("to nowhere", bytes(b"no/such/file")),
            ("to odd bytes", bytes(b"../odd files/not-utf8-\xff\xfe\x80")),
            ("new\nline", bytes(b"with\nnew line")),
            (
                "to afar",
                bytes(&[b"./".repeat(500), b"to file".to_vec()].concat()),
            ),
            ("absolute", bytes(b"/")),
        ];
        self.sample.directories.push(PathBuf::from("links"));
        for (name, target) in targets {
            self.sample.links.push(SampleLink {
                path: Path::new("links").join(name),
                target,
            });
        }
    }

    fn add_small_file(&mut self, size_bytes: u64) {
        let name = self.name(".dat");
        let path = self.parent().join(name);
        self.add_file(path, size_bytes);
    }

    fn add_file(&mut self, path: PathBuf, size_bytes: u64) {
        self.sample.files.push(SampleFile { path, size_bytes });
    }

    fn add_directory(&mut self, path: PathBuf) {
        self.sample.directories.push(path.clone());
        self.parents.push(path);
    }

    fn parent(&mut self) -> PathBuf {
        self.parents[self.random.random_range(0..self.parents.len())].clone()
    }

    fn name(&mut self, suffix: &str) -> OsString {
        self.number += 1;
        names::ordinary(&mut self.random, self.number, suffix)
    }
}
