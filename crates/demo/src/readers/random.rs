//! Reads a file in pieces of random sizes at random places that together are the whole file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::compare::{Expected, PIECE_BYTES, drop_cached};
use super::{FileEnd, Kind, Shared};
use crate::clock::now_ns;
use crate::sample::SampleFile;
use crate::score::ReadDone;

pub(super) fn compare(
    shared: &Shared,
    file: &SampleFile,
    random: &mut Xoshiro256PlusPlus,
) -> FileEnd {
    compare_with(shared, file, random)
        .unwrap_or_else(|error| shared.failed(Kind::Random, &file.path, &error))
}

fn compare_with(
    shared: &Shared,
    file: &SampleFile,
    random: &mut Xoshiro256PlusPlus,
) -> io::Result<FileEnd> {
    let mut expected = Expected::open(&shared.config.source.join(&file.path))?;
    // A lookup that waits stalls a reader, too: the first read counts from the open on.
    let mut start_ns = now_ns();
    let mounted = File::open(shared.config.mount.join(&file.path))?;
    let mut buffer = vec![0; PIECE_BYTES];
    for (offset_bytes, len) in pieces(file.size_bytes, random) {
        if shared.stopped() {
            return Ok(FileEnd::Stopped);
        }
        mounted.read_exact_at(&mut buffer[..len], offset_bytes)?;
        let end_ns = now_ns();
        let differing_bytes = expected.differing_bytes(&buffer[..len], offset_bytes)?;
        let bytes = u64::try_from(len).expect("at most a piece");
        shared.score.read_done(ReadDone {
            start_ns,
            end_ns,
            bytes,
            differing_bytes,
        });
        start_ns = now_ns();
    }
    if mounted.read_at(&mut buffer, file.size_bytes)? != 0 {
        return Err(io::Error::other(format!(
            "has more than its {} bytes",
            file.size_bytes
        )));
    }
    drop_cached(&mounted);
    Ok(FileEnd::Compared)
}

/// Offsets and lengths of pieces that tile a file, shuffled.
fn pieces(size_bytes: u64, random: &mut Xoshiro256PlusPlus) -> Vec<(u64, usize)> {
    let mut pieces = Vec::new();
    let mut offset_bytes = 0;
    while offset_bytes < size_bytes {
        let left = usize::try_from(size_bytes - offset_bytes).unwrap_or(usize::MAX);
        let len = random.random_range(1..=PIECE_BYTES).min(left);
        pieces.push((offset_bytes, len));
        offset_bytes += u64::try_from(len).expect("at most a piece");
    }
    pieces.shuffle(random);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn pieces_tile_the_file() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        for size_bytes in [0, 1, 262_144, 262_145, 10_000_001] {
            let mut tiles = pieces(size_bytes, &mut random);
            tiles.sort_unstable();
            let mut end = 0;
            for (offset_bytes, len) in tiles {
                assert_eq!(offset_bytes, end);
                end += u64::try_from(len).unwrap();
            }
            assert_eq!(end, size_bytes);
        }
    }
}
