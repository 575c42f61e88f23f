//! A process that marks and acknowledges is killed at random, again and again; nothing it acknowledged is lost.
//!
//! The process is this test program itself, run again with its one "child" test. It says over a socket what it is about
//! to do to a name ("begin") and what is done ("acknowledged"); the model is what may and what must be found.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::{BLOCK_BYTES, ByteRange};
use holdfast_store::{Cache, Object, Options};

const VOLUME: &[u8] = b"dir:/killed";
const NAMES: u64 = 12;
const KILLS: usize = 300;
const DIR_VARIABLE: &str = "HOLDFAST_STORE_KILL_TEST_DIR";
const SEED_VARIABLE: &str = "HOLDFAST_STORE_KILL_TEST_SEED";

/// Sizes that make every kind of record: unknown first, one word, many words, one that is allocated; odd and even ends.
fn size_of_name(name: u64) -> u64 {
    [1, 4096, 5000, 300_000, 1 << 20, (3 << 30) + 17][name as usize % 6]
}

/// What block `block` of version `version` of a name holds.
fn content(version: u64, block: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    for (index, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (version << 40 ^ block << 12 ^ (index as u64 + 1)).to_le_bytes();
    }
    bytes
}

fn block_range(object: &Object, block: u64) -> ByteRange {
    let size = object.size().unwrap();
    ByteRange::from_bounds(block * BLOCK_BYTES, ((block + 1) * BLOCK_BYTES).min(size)).unwrap()
}

/// The side that is killed. Not a test of its own: without the variables there is nothing to do.
#[test]
fn child() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR_VARIABLE), std::env::var(SEED_VARIABLE)) else {
        return;
    };
    let mut said = UnixStream::connect(Path::new(&dir).join("socket")).unwrap();
    let mut random = fastrand::Rng::with_seed(seed.parse().unwrap());
    let options = Options {
        open_objects_max: 3,
        ..Options::default()
    };
    let cache = Cache::open_with(&Path::new(&dir).join("cache"), &options).unwrap();
    // Every other child mostly makes and removes, so that kills fall between those calls too.
    let keep_percent = if random.bool() { 95 } else { 10 };
    // Bounded: whoever waits for the kill has given up long before.
    for _ in 0..1_000_000 {
        let name = random.u64(0..NAMES);
        let key = name.to_le_bytes();
        let object = match cache.lookup(VOLUME, &key).unwrap() {
            Some(object) if random.u32(0..100) < keep_percent => object,
            _ => replace(&cache, name, random.u64(1..1 << 20), &mut said),
        };
        change(&object, name, &mut random, &mut said);
    }
}

fn replace(cache: &Cache, name: u64, version: u64, said: &mut UnixStream) -> Arc<Object> {
    writeln!(said, "begin {name} {version}").unwrap();
    let key = name.to_le_bytes();
    let (size, validator) = (size_of_name(name), version.to_le_bytes());
    let object = if name.is_multiple_of(2) {
        cache.create(VOLUME, &key, Some(size), &validator).unwrap()
    } else {
        let object = cache.create(VOLUME, &key, None, b"").unwrap();
        object.set_size(size, &validator).unwrap();
        object
    };
    writeln!(said, "made {name} {version}").unwrap();
    object
}

fn change(object: &Object, name: u64, random: &mut fastrand::Rng, said: &mut UnixStream) {
    let Some(size) = object.size() else { return };
    match random.u32(0..40) {
        0 => object
            .set_verified_at(object.created_at() + Duration::from_secs(random.u64(0..1000)))
            .unwrap(),
        1 => drop(object.make_durable()),
        2 => {
            writeln!(said, "begin {name} 0").unwrap();
            object.unlink().unwrap();
        }
        _ => {
            let version = u64::from_le_bytes(object.validator().try_into().unwrap());
            let block = random.u64(0..size.div_ceil(BLOCK_BYTES));
            let range = block_range(object, block);
            let bytes = content(version, block);
            File::from(object.writer().unwrap())
                .write_all_at(&bytes[..range.len as usize], range.offset)
                .unwrap();
            object.mark_present(range).unwrap();
            writeln!(said, "present {name} {block}").unwrap();
        }
    }
}

/// What must be found of a name, by what was said so far.
#[derive(Default)]
struct Model {
    /// Version made and blocks acknowledged, by name; absent while a replacement has begun.
    certain: HashMap<u64, (u64, Vec<u64>)>,
}

impl Model {
    /// Takes a line that arrived whole; the kill may have cut the last one.
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let verb = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let (name, number) = (numbers[0], numbers[1]);
        match verb {
            "begin" => drop(self.certain.remove(&name)),
            "made" => drop(self.certain.insert(name, (number, Vec::new()))),
            // A block of an object whose making was cut off by the kill before is no certainty.
            "present" => drop(
                self.certain
                    .get_mut(&name)
                    .map(|(_, blocks)| blocks.push(number)),
            ),
            other => panic!("the child said {other:?}"),
        }
    }

    /// Compares with the cache; returns how many acknowledged blocks were looked at.
    fn check(&self, cache: &Cache) -> usize {
        let mut compared = 0;
        for name in 0..NAMES {
            let found = cache.lookup(VOLUME, &name.to_le_bytes()).unwrap();
            if let Some(object) = &found {
                check_bytes(object);
            }
            let Some((version, blocks)) = self.certain.get(&name) else {
                continue;
            };
            let object = found.unwrap_or_else(|| panic!("name {name} was made and is lost"));
            assert_eq!(object.validator(), version.to_le_bytes(), "name {name}");
            assert_eq!(object.size(), Some(size_of_name(name)));
            for block in blocks {
                assert!(
                    object.is_present(block_range(&object, *block)),
                    "name {name} block {block} was acknowledged"
                );
            }
            compared += blocks.len();
        }
        compared
    }
}

/// Every present block, acknowledged or not, holds the bytes of its version.
fn check_bytes(object: &Object) {
    let Some(size) = object.size().filter(|_| object.present_bytes() > 0) else {
        return;
    };
    let version = u64::from_le_bytes(object.validator().try_into().unwrap());
    let missing = object.missing(ByteRange::whole(size).unwrap());
    let whole = ByteRange::whole(size).unwrap();
    for present in whole.subtract_all(&missing) {
        for block in present.first_block()..present.end_block() {
            let mut bytes = [0; 4096];
            let len = object.read_at(&mut bytes, block * BLOCK_BYTES).unwrap();
            assert!(
                bytes[..len] == content(version, block)[..len],
                "block {block} of version {version}"
            );
        }
    }
}

/// Ends the child whatever happens to the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_child(dir: &Path, seed: u64) -> Killed {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command
        .args(["--exact", "child", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .env(SEED_VARIABLE, seed.to_string());
    Killed(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

/// No data file is without a record of its name: a killed process leaves no orphan.
fn check_no_orphans(cache_dir: &Path) {
    let folders = std::fs::read_dir(cache_dir.join("objects")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut count_by_stem: HashMap<String, (u32, u32)> = HashMap::new();
    for file in files {
        let file_name = file.unwrap().file_name().into_string().unwrap();
        let counts = count_by_stem.entry(file_name[..62].to_owned()).or_default();
        if file_name.ends_with(".data") {
            counts.0 += 1
        } else {
            counts.1 += 1
        }
    }
    for (stem, (data, records)) in count_by_stem {
        assert!(
            data <= 1 && records == 1,
            "{stem}: {data} data files, {records} records"
        );
    }
}

#[test]
fn a_kill_at_any_instruction_loses_nothing_acknowledged() {
    if std::env::var_os(DIR_VARIABLE).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    let (mut compared, mut working_kills) = (0, 0);
    for number in 0..KILLS {
        let mut child = start_child(dir.path(), random.u64(..));
        let mut said = BufReader::new(listener.accept().unwrap().0);
        let mut lines = String::new();
        // One in four dies at any time from before the cache is open; the others certainly amid their work.
        let delay_max_us = if number % 4 == 0 {
            12_000
        } else {
            said.read_line(&mut lines).unwrap();
            4_000
        };
        std::thread::sleep(Duration::from_micros(random.u64(0..delay_max_us)));
        child.0.kill().unwrap();
        let status = child.0.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "the child ended by itself: {status}"
        );
        said.read_to_string(&mut lines).unwrap();
        // What is behind the last line feed the child had not finished to say.
        let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
        whole.lines().for_each(|line| model.hear(line));
        let lines = whole.lines().count();
        working_kills += usize::from(lines > 0);
        check_no_orphans_after_open(dir.path(), &model, &mut compared);
    }
    println!(
        "{KILLS} kills, {working_kills} of them amid work; {compared} acknowledged blocks compared"
    );
    assert!(
        working_kills >= 200,
        "only {working_kills} kills came amid work"
    );
    assert!(compared > KILLS, "{compared}");
}

fn check_no_orphans_after_open(dir: &Path, model: &Model, compared: &mut usize) {
    let cache_dir = dir.join("cache");
    if cache_dir.join("objects").exists() {
        check_no_orphans(&cache_dir);
    }
    let cache = Cache::open(&cache_dir).unwrap();
    *compared += model.check(&cache);
    check_no_orphans(&cache_dir);
}
