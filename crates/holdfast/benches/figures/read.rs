//! Readers: a whole file, places in a file, a whole tree.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

const PIECE_BYTES: usize = 1 << 20;

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    pub files: usize,
    pub bytes: u64,
}

/// Reads a file to its end.
pub fn read_file(path: &Path) -> Total {
    let mut file = File::open(path).expect("opens");
    let mut buffer = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).expect("reads") {
            0 => return Total { files: 1, bytes },
            count => bytes += count as u64,
        }
    }
}

/// Offsets of distinct whole 4 KiB blocks in a file of `size_bytes`, in random order.
pub fn random_offsets(seed: u64, count: usize, size_bytes: u64) -> Vec<u64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut seen = std::collections::HashSet::new();
    let mut offsets = Vec::with_capacity(count);
    while offsets.len() < count {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let offset = (mixed ^ (mixed >> 31)) % (size_bytes / 4096) * 4096;
        if seen.insert(offset) {
            offsets.push(offset);
        }
    }
    offsets
}

/// Reads 4 KiB at each offset, as fio's randread does (it tells the kernel so).
pub fn read_at(path: &Path, offsets: &[u64]) -> Total {
    let file = File::open(path).expect("opens");
    fadvise(&file, 0, None, Advice::Random).expect("advice");
    let mut buffer = [0; 4096];
    for offset in offsets {
        file.read_exact_at(&mut buffer, *offset).expect("reads");
    }
    Total {
        files: 1,
        bytes: 4096 * offsets.len() as u64,
    }
}

/// Looks at every entry and reads every file below `directory`.
pub fn read_tree(directory: &Path) -> Total {
    let mut total = Total::default();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("lists") {
            let path = entry.expect("an entry").path();
            let metadata = std::fs::symlink_metadata(&path).expect("attributes");
            if metadata.is_dir() {
                directories.push(path);
            } else {
                total.bytes += std::fs::read(&path).expect("reads").len() as u64;
                total.files += 1;
            }
        }
    }
    total
}
