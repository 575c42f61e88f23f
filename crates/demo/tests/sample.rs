//! The sample is decided by seed and size, and has what it promises.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use holdfast_demo::sample::Sample;

const SIZE_BYTES: u64 = 3 << 20;

/// Content of every file, by path; links and directories by what they are.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            let content = if kind.is_dir() {
                todo.push(path.clone());
                b"directory".to_vec()
            } else if kind.is_symlink() {
                fs::read_link(entry.path())
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec()
            } else {
                fs::read(entry.path()).unwrap()
            };
            found.insert(path, content);
        }
    }
    found
}

fn written(seed: u64) -> (Sample, BTreeMap<PathBuf, Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample::plan(seed, SIZE_BYTES);
    sample.write(dir.path(), || true).unwrap();
    (sample, tree(dir.path()))
}

#[test]
fn one_seed_gives_one_sample() {
    let (first, second, other) = (written(1), written(1), written(2));
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the trees differ");
    assert!(first.1 != other.1, "the seed is not used");
    let file = PathBuf::from("large/quarter.bin");
    assert!(
        first.1[&file] != other.1[&file],
        "the seed is not used for the content"
    );
}

#[test]
fn what_is_planned_is_written() {
    let (sample, tree) = written(3);
    assert_eq!(
        tree.len(),
        sample.files.len() + sample.directories.len() + sample.links.len()
    );
    for file in &sample.files {
        assert_eq!(
            u64::try_from(tree[&file.path].len()).unwrap(),
            file.size_bytes,
            "{:?}",
            file.path
        );
    }
    for link in &sample.links {
        assert_eq!(tree[&link.path], link.target.as_bytes());
    }
}

#[test]
fn it_has_what_is_hard() {
    let sample = Sample::plan(4, 256 << 20);
    assert!(sample.total_bytes() >= 256 << 20);
    assert!(sample.total_bytes() < 300 << 20);
    assert!(sample.files.iter().any(|file| file.size_bytes >= 64 << 20));
    assert!(
        sample
            .files
            .iter()
            .filter(|file| file.size_bytes <= 64 << 10)
            .count()
            > 1000
    );
    assert!(sample.files.iter().any(|file| file.size_bytes == 0));
    assert!(
        sample
            .files
            .iter()
            .any(|file| file.path.components().count() > 10)
    );
    let names: Vec<&[u8]> = sample
        .files
        .iter()
        .map(|file| file.path.file_name().unwrap().as_bytes())
        .collect();
    for wanted in [
        b" ".as_slice(),
        b"\n",
        b"\xff",
        "🦀".as_bytes(),
        b"%",
        b"?",
        b"\"",
        b"\\",
    ] {
        assert!(
            names
                .iter()
                .any(|name| name.windows(wanted.len()).any(|part| part == wanted)),
            "{wanted:?}"
        );
    }
    assert!(names.iter().any(|name| name.len() == 255));
    let parents: Vec<_> = sample
        .files
        .iter()
        .filter_map(|file| file.path.parent())
        .collect();
    let is_empty = |directory: &PathBuf| {
        !parents.contains(&directory.as_path())
            && !sample
                .directories
                .iter()
                .any(|other| other.parent() == Some(directory))
    };
    assert!(
        sample.directories.iter().any(is_empty),
        "no empty directory"
    );
    assert!(sample.links.len() >= 4);
}

#[test]
fn writing_can_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut pieces = 0;
    let proceed = || {
        pieces += 1;
        pieces < 5
    };
    let error = Sample::plan(5, SIZE_BYTES)
        .write(dir.path(), proceed)
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    let sample = Sample::plan(5, SIZE_BYTES);
    assert!(
        sample.write(dir.path(), || true).is_err(),
        "it must not write over what is there"
    );
}
