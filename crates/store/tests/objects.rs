//! Objects through the public interface, in one process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno};
use holdfast_store::{
    BootId, Cache, DurableError, HoleReports, MarkError, Object, OpenError, Options, ReadError,
    RecordError, SetSizeError,
};

const VOLUME: &[u8] = b"dir:/srv/data";

fn range(offset: u64, len: u64) -> ByteRange {
    ByteRange::new(offset, len).unwrap()
}

/// Writes `len` bytes of `fill` as a daemon does, and marks them.
fn fill(object: &Object, offset: u64, len: usize, fill: u8) {
    File::from(object.writer().unwrap())
        .write_all_at(&vec![fill; len], offset)
        .unwrap();
    object.mark_present(range(offset, len as u64)).unwrap();
}

fn open_at_boot(dir: &Path, boot: u8) -> Cache {
    Cache::open_with(
        dir,
        &Options {
            boot: Some(BootId([boot; 16])),
            ..Options::default()
        },
    )
    .unwrap()
}

/// All record and data files of a cache.
fn files(dir: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(dir.join("objects")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn file_of(dir: &Path, extension: &str) -> PathBuf {
    let mut found = files(dir)
        .into_iter()
        .filter(|path| path.extension().unwrap() == extension);
    let file = found.next().unwrap();
    assert_eq!(found.next(), None, "one {extension} file");
    file
}

#[test]
fn an_object_is_written_marked_read_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    assert!(cache.lookup(VOLUME, b"Da\0v1").unwrap().is_none());
    let object = cache
        .create(VOLUME, b"Da\0v1", Some(10_000), b"v1")
        .unwrap();
    assert_eq!(object.missing(range(5000, 1)), [range(4096, 4096)]);
    assert_eq!(object.missing(range(0, 1 << 20)), [range(0, 12_288)]);
    assert!(matches!(
        object.read_at(&mut [0; 10], 0),
        Err(ReadError::Absent(_))
    ));
    fill(&object, 8192, 1808, 3);
    assert!(object.is_present(range(8192, 4096)) && !object.is_complete());
    assert_eq!(object.present_bytes(), 1808);
    fill(&object, 0, 8192, 1);
    assert!(object.is_complete());
    let mut buffer = [0; 4096];
    assert_eq!(object.read_at(&mut buffer, 8192).unwrap(), 1808);
    assert_eq!(buffer[..1808], [3; 1808]);
    assert_eq!(object.read_at(&mut buffer, 10_000).unwrap(), 0);
    assert_eq!(cache.usage().present_bytes, 10_000);
    assert_eq!(cache.usage().objects, 1);
    let (inode, created) = (object.inode().unwrap(), object.created_at());
    let verified = created + Duration::from_secs(5);
    object.set_verified_at(verified).unwrap();
    drop((object, cache));
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.lookup(VOLUME, b"Da\0v1").unwrap().unwrap();
    assert!(object.is_complete());
    assert_eq!(
        (object.size(), object.validator()),
        (Some(10_000), b"v1".to_vec())
    );
    assert_eq!(
        (
            object.inode().unwrap(),
            object.created_at(),
            object.verified_at()
        ),
        (inode, created, verified)
    );
    assert_eq!(object.read_at(&mut buffer, 4000).unwrap(), 4096);
    assert_eq!(buffer, [1; 4096]);
    assert_eq!(cache.usage().present_bytes, 10_000, "kept without a scan");
}

#[test]
fn one_object_is_one_value_while_anybody_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.create(VOLUME, b"E", None, b"").unwrap();
    let again = cache.lookup(VOLUME, b"E").unwrap().unwrap();
    assert!(Arc::ptr_eq(&object, &again));
    drop((object, again));
    assert!(cache.lookup(VOLUME, b"E").unwrap().is_some(), "from disk");
}

#[test]
fn a_size_is_set_once_and_nothing_is_present_before() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.create(VOLUME, b"L", None, b"").unwrap();
    assert_eq!(object.missing(range(10, 10)), [range(0, 4096)]);
    assert!(matches!(
        object.mark_present(range(0, 4096)),
        Err(MarkError::SizeUnknown)
    ));
    assert!(matches!(
        object.read_at(&mut [0], 0),
        Err(ReadError::SizeUnknown)
    ));
    // Large enough that the record's bitmaps are allocated rather than written.
    object.set_size(5 << 30, b"etag").unwrap();
    object.set_size(5 << 30, b"etag").unwrap();
    assert!(
        matches!(object.set_size(1, b""), Err(SetSizeError::Known { known_bytes }) if known_bytes == 5 << 30)
    );
    fill(&object, 4 << 30, 8192, 9);
    drop((object, cache));
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.lookup(VOLUME, b"L").unwrap().unwrap();
    assert_eq!(
        (object.size(), object.validator(), object.present_bytes()),
        (Some(5 << 30), b"etag".to_vec(), 8192)
    );
    assert!(object.is_present(range(4 << 30, 8192)));
    assert!(object.allocated_bytes().unwrap() < 1 << 20, "sparse");
}

#[test]
fn an_empty_object_is_complete_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.create(VOLUME, b"D", Some(0), b"").unwrap();
    assert!(object.is_complete() && object.missing(range(0, 1)).is_empty());
    assert_eq!(object.read_at(&mut [0; 4], 0).unwrap(), 0);
}

#[test]
fn only_written_whole_blocks_can_be_marked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.create(VOLUME, b"D", Some(20_000), b"").unwrap();
    for bad in [
        range(1, 4095),
        range(0, 4095),
        range(0, 20_001),
        range(20_480, 4096),
    ] {
        assert!(
            matches!(object.mark_present(bad), Err(MarkError::NotBlocks(_))),
            "{bad}"
        );
    }
    let writer = File::from(object.writer().unwrap());
    assert!(
        matches!(
            object.mark_present(range(0, 4096)),
            Err(MarkError::Hole { at: 0 })
        ),
        "behind the file's end"
    );
    writer.write_all_at(&[1; 4096], 8192).unwrap();
    let hole = object.mark_present(range(0, 12_288));
    match cache.hole_reports() {
        HoleReports::Trusted => assert!(matches!(hole, Err(MarkError::Hole { at: 0 }))),
        HoleReports::Ignored => hole.unwrap(),
    }
    object.mark_present(range(8192, 4096)).unwrap();
    writer.write_all_at(&[1; 3616], 16_384).unwrap();
    object.mark_present(range(16_384, 3616)).unwrap();
    assert_eq!(
        object.missing(range(0, 20_000)),
        [range(0, 8192), range(12_288, 4096)]
    );
}

#[test]
fn h02_a_new_incarnation_is_a_new_inode_and_the_old_one_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        open_objects_max: 1,
        ..Options::default()
    };
    let cache = Cache::open_with(dir.path(), &options).unwrap();
    let old = cache.create(VOLUME, b"D", Some(4096), b"v1").unwrap();
    fill(&old, 0, 4096, 1);
    let new = cache.create(VOLUME, b"D", Some(4096), b"v2").unwrap();
    assert_ne!(old.inode().unwrap(), new.inode().unwrap());
    fill(&new, 0, 4096, 2);
    // More objects than may be open: the unlinked one must stay so.
    let _others: Vec<_> = (0..4u8)
        .map(|key| cache.create(VOLUME, &[key], None, b"").unwrap())
        .collect();
    let mut buffer = [0; 1];
    old.read_at(&mut buffer, 0).unwrap();
    assert_eq!(buffer, [1]);
    assert!(matches!(
        old.mark_present(range(0, 4096)),
        Err(MarkError::Record(RecordError::Unlinked))
    ));
    assert!(matches!(old.writer(), Err(RecordError::Unlinked)));
    new.read_at(&mut buffer, 0).unwrap();
    assert_eq!(buffer, [2]);
    drop(old);
    assert!(
        Arc::ptr_eq(&new, &cache.lookup(VOLUME, b"D").unwrap().unwrap()),
        "the old one's end forgets only itself"
    );
    cache.remove(&new).unwrap();
    new.unlink().unwrap();
    assert!(cache.lookup(VOLUME, b"D").unwrap().is_none());
    assert_eq!(cache.usage().objects, 4);
    assert_eq!(cache.usage().present_bytes, 0);
    assert_eq!(files(dir.path()).len(), 8);
}

#[test]
fn h16_open_files_are_bounded_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        open_objects_max: 10,
        ..Options::default()
    };
    let cache = Cache::open_with(dir.path(), &options).unwrap();
    let objects: Vec<_> = (0..200u8)
        .map(|key| cache.create(VOLUME, &[key], Some(4096), b"").unwrap())
        .collect();
    for (fill_byte, object) in (0..).zip(&objects) {
        fill(object, 0, 4096, fill_byte);
    }
    let prefix = std::fs::canonicalize(dir.path()).unwrap().join("objects");
    let open = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let open = open
        .filter(|path| path.starts_with(&prefix) && *path != prefix)
        .count();
    assert!(open <= 20, "{open} descriptors for 10 objects");
    for (expected, object) in (0..).zip(&objects) {
        let mut buffer = [0; 4096];
        object.read_at(&mut buffer, 0).unwrap();
        assert_eq!(buffer, [expected; 4096]);
    }
}

#[test]
fn h23_a_data_file_cut_under_us_is_absent_from_there_on() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.create(VOLUME, b"D", Some(40_960), b"").unwrap();
    fill(&object, 0, 40_960, 1);
    File::options()
        .write(true)
        .open(file_of(dir.path(), "data"))
        .unwrap()
        .set_len(10_000)
        .unwrap();
    let mut buffer = [0; 4096];
    assert!(matches!(
        object.read_at(&mut buffer, 8192),
        Err(ReadError::Torn { at: 10_000 })
    ));
    assert_eq!(object.missing(range(0, 40_960)), [range(8192, 32_768)]);
    assert_eq!(cache.usage().present_bytes, 8192);
    // A fetch of the end would leave zeros below it: the rest is asked for again, not believed.
    fill(&object, 36_864, 4096, 2);
    drop((object, cache));
    let cache = Cache::open(dir.path()).unwrap();
    let object = cache.lookup(VOLUME, b"D").unwrap().unwrap();
    assert_eq!(object.missing(range(0, 40_960)), [range(8192, 28_672)]);
}

#[test]
fn h23_a_data_file_cut_and_grown_again_never_becomes_complete() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    if cache.hole_reports() == HoleReports::Ignored {
        return;
    }
    let object = cache.create(VOLUME, b"D", Some(12_288), b"").unwrap();
    fill(&object, 0, 8192, 1);
    let writer = File::from(object.writer().unwrap());
    writer.set_len(4096).unwrap();
    writer.write_all_at(&[2; 4096], 8192).unwrap();
    assert!(matches!(
        object.mark_present(range(8192, 4096)),
        Err(MarkError::Hole { at: 4096 })
    ));
    assert_eq!(object.missing(range(0, 12_288)), [range(4096, 8192)]);
}

#[test]
fn h03_after_a_reboot_only_durable_blocks_count() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_at_boot(dir.path(), 1);
    for key in [b"synced", b"neverS"] {
        let object = cache
            .create(VOLUME, key, Some(3 * BLOCK_BYTES), b"v")
            .unwrap();
        fill(&object, 0, 4096, 1);
        if key == b"synced" {
            object.make_durable().unwrap();
        }
        fill(&object, 8192, 4096, 3);
    }
    drop(cache);
    for boot in [1, 2, 2, 3] {
        let cache = open_at_boot(dir.path(), boot);
        let synced = cache.lookup(VOLUME, b"synced").unwrap().unwrap();
        let never = cache.lookup(VOLUME, b"neverS").unwrap().unwrap();
        let (expected_synced, expected_never) = if boot == 1 { (8192, 8192) } else { (4096, 0) };
        assert_eq!(
            (synced.present_bytes(), never.present_bytes()),
            (expected_synced, expected_never),
            "boot {boot}"
        );
        assert!(synced.is_present(range(0, 4096)));
        assert_eq!(never.size(), Some(3 * BLOCK_BYTES));
        if boot == 1 {
            assert!(
                matches!(synced.make_durable(), Err(DurableError::Unprovable)),
                "written by another process"
            );
        } else {
            synced.make_durable().unwrap();
        }
        if boot == 2 {
            fill(&never, 4096, 4096, 2);
            never.unlink().unwrap();
            let again = cache
                .create(VOLUME, b"neverS", Some(3 * BLOCK_BYTES), b"v")
                .unwrap();
            assert_eq!(again.present_bytes(), 0);
        }
    }
}

#[test]
fn durable_grows_and_survives_several_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_at_boot(dir.path(), 1);
    let object = cache.create(VOLUME, b"D", Some(1 << 20), b"").unwrap();
    for block in [0, 100, 255] {
        fill(&object, block * BLOCK_BYTES, 4096, 1);
        object.make_durable().unwrap();
    }
    drop((object, cache));
    let object = open_at_boot(dir.path(), 2)
        .lookup(VOLUME, b"D")
        .unwrap()
        .unwrap();
    let present: Vec<u64> = (0..256)
        .filter(|block| object.is_present(range(block * BLOCK_BYTES, 1)))
        .collect();
    assert_eq!(present, [0, 100, 255]);
}

/// What is found on disk, against what becomes of it: the table of decisions with real files.
#[test]
fn every_state_of_the_files_is_put_right() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, Option<u64>); 8] = [
        ("whole", |_| {}, Some(8192)),
        (
            "no record",
            |dir| std::fs::remove_file(file_of(dir, "record")).unwrap(),
            None,
        ),
        (
            "no data",
            |dir| std::fs::remove_file(file_of(dir, "data")).unwrap(),
            None,
        ),
        ("short data", |dir| cut(&file_of(dir, "data"), 8191), None),
        (
            "long data",
            |dir| cut(&file_of(dir, "data"), 9000),
            Some(8192),
        ),
        ("empty record", |dir| cut(&file_of(dir, "record"), 0), None),
        ("torn record", |dir| cut(&file_of(dir, "record"), 200), None),
        (
            "record without bitmaps",
            |dir| cut(&file_of(dir, "record"), 272),
            Some(0),
        ),
    ];
    for (what, damage, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        fill(
            &cache.create(VOLUME, b"D", Some(20_000), b"").unwrap(),
            0,
            8192,
            1,
        );
        damage(dir.path());
        let found = cache.lookup(VOLUME, b"D").unwrap();
        assert_eq!(
            found.as_ref().map(|object| object.present_bytes()),
            expected,
            "{what}"
        );
        drop(found);
        // Whatever was left is no obstacle to a new incarnation, and nothing is left over.
        let object = cache.create(VOLUME, b"D", Some(4096), b"").unwrap();
        fill(&object, 0, 4096, 2);
        let left = files(dir.path()).len();
        assert_eq!(left, if what == "no record" { 3 } else { 2 }, "{what}");
    }
}

#[test]
fn a_record_of_other_keys_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    drop(cache.create(VOLUME, b"one", Some(0), b"").unwrap());
    let one = file_of(dir.path(), "record");
    let image = std::fs::read(&one).unwrap();
    drop(cache.create(VOLUME, b"two", Some(0), b"").unwrap());
    let two = files(dir.path())
        .into_iter()
        .find(|path| path.extension().unwrap() == "record" && *path != one)
        .unwrap();
    std::fs::write(two, image).unwrap();
    assert!(cache.lookup(VOLUME, b"two").unwrap().is_none());
    assert!(cache.lookup(VOLUME, b"one").unwrap().is_some());
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn a_directory_that_is_no_cache_of_ours_or_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("deep/cache")).unwrap();
    let again = Cache::open(&dir.path().join("deep/cache")).unwrap_err();
    assert!(matches!(again, OpenError::InUse(_)));
    assert_eq!(again.errno(), Errno::EBUSY);
    let object = cache.create(VOLUME, b"D", Some(0), b"").unwrap();
    drop(cache);
    assert!(
        matches!(
            Cache::open(&dir.path().join("deep/cache")),
            Err(OpenError::InUse(_))
        ),
        "an object holds it"
    );
    drop(object);
    std::fs::write(dir.path().join("deep/cache/format"), "holdfast-cache 999\n").unwrap();
    let unknown = Cache::open(&dir.path().join("deep/cache")).unwrap_err();
    assert!(
        matches!(unknown, OpenError::UnknownFormat { found, .. } if found == "holdfast-cache 999")
    );
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(matches!(
        Cache::open(&dir.path().join("file")),
        Err(OpenError::NotADirectory(_))
    ));
}

#[test]
fn many_threads_mark_one_object_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        open_objects_max: 1,
        ..Options::default()
    };
    let cache = Cache::open_with(dir.path(), &options).unwrap();
    let object = cache
        .create(VOLUME, b"D", Some(512 * BLOCK_BYTES), b"")
        .unwrap();
    std::thread::scope(|scope| {
        for start in 0..4u64 {
            let (object, cache) = (&object, &cache);
            scope.spawn(move || {
                for block in (start..512).step_by(4) {
                    fill(object, block * BLOCK_BYTES, 4096, 1);
                    // Drives the first object's files out all the time.
                    drop(
                        cache
                            .create(VOLUME, &block.to_le_bytes(), Some(1), b"")
                            .unwrap(),
                    );
                }
            });
        }
    });
    assert!(object.is_complete());
    drop((object, cache));
    let cache = Cache::open(dir.path()).unwrap();
    assert!(cache.lookup(VOLUME, b"D").unwrap().unwrap().is_complete());
    assert_eq!(cache.usage().objects, 513);
    assert!(cache.lookup(VOLUME, b"D").unwrap().unwrap().verified_at() <= SystemTime::now());
}

fn cut(path: &Path, len: u64) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

#[test]
fn a_cache_that_was_removed_is_made_again_and_open_objects_go_on() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let cache = Cache::open(&dir).unwrap();
    let open = cache.create(VOLUME, b"open", Some(8192), b"v").unwrap();
    fill(&open, 0, 4096, 1);
    std::fs::remove_dir_all(&dir).unwrap();
    fill(&open, 4096, 4096, 2);
    let mut bytes = [0; 8192];
    assert_eq!(open.read_at(&mut bytes, 0).unwrap(), 8192);
    assert_eq!((bytes[0], bytes[8191]), (1, 2));
    for name in [&b"one"[..], b"two"] {
        assert!(cache.lookup(VOLUME, name).unwrap().is_none());
        let object = cache.create(VOLUME, name, Some(4096), b"v").unwrap();
        fill(&object, 0, 4096, 3);
        drop(object);
        assert!(cache.lookup(VOLUME, name).unwrap().unwrap().is_complete());
    }
}
