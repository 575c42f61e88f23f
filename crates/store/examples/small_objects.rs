//! Measures what small objects cost: `cargo run --release -p holdfast-store --example small_objects -- DIR [COUNT]`.
//!
//! Each object of 4 KiB is created, written through a descriptor of its own as a daemon does, and marked; then all
//! are looked up and read by a process that knows none of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use holdfast_proto::ByteRange;
use holdfast_store::Cache;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: small_objects DIR [COUNT]")?);
    let count: u32 = arguments
        .next()
        .map_or(Ok(20_000), |count| count.to_string_lossy().parse())?;
    let block = [7; 4096];
    let whole = ByteRange::new(0, 4096).ok_or("a block is a range")?;
    let cache = Cache::open(&dir)?;
    let step = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what}: {seconds:.3} s, {:.1} µs each",
            seconds * 1e6 / f64::from(count)
        );
    };
    let start = Instant::now();
    for key in 0..count {
        let object = cache.create(b"dir:/measure", &key.to_le_bytes(), Some(4096), b"v1")?;
        File::from(object.writer()?).write_all_at(&block, 0)?;
        object.mark_present(whole)?;
    }
    step("create, write, mark", start);
    drop(cache);
    let cache = Cache::open(&dir)?;
    let start = Instant::now();
    let mut buffer = [0; 4096];
    let mut known = Vec::new();
    for key in 0..count {
        let object = cache
            .lookup(b"dir:/measure", &key.to_le_bytes())?
            .ok_or("an object is lost")?;
        assert_eq!(object.read_at(&mut buffer, 0)?, 4096);
        assert_eq!(buffer, block);
        known.push(object);
    }
    step("look up, read", start);
    let start = Instant::now();
    for object in &known[..known.len().min(200)] {
        for _ in 0..count / 200 {
            object.read_at(&mut buffer, 0)?;
        }
    }
    step("read again, files open", start);
    let start = Instant::now();
    for key in 0..count {
        assert!(cache.lookup(b"dir:/absent", &key.to_le_bytes())?.is_none());
    }
    step("look up what is absent", start);
    println!(
        "{:?}, {} bytes of memory for an object's value",
        cache.usage(),
        size_of::<holdfast_store::Object>()
    );
    Ok(())
}
