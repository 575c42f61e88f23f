//! Directory entries as bytes.

use std::time::Duration;

use super::*;
use crate::reply::Attributes;
use crate::request::NodeId;

const fn dirent(name: &[u8]) -> Dirent<'_> {
    Dirent {
        ino: 5,
        next_offset: 6,
        kind: FileKind::Symlink,
        name,
    }
}

#[test]
fn an_entry_is_laid_out_as_the_kernel_reads_it() {
    let mut buffer = ReplyBuffer::with_capacity(4096).expect("memory");
    // What was in the buffer before must not show in the padding.
    buffer.bytes_mut().fill(0xff);
    let mut writer = DirentWriter::new(&mut buffer, 4096);
    assert!(writer.is_empty());
    assert_eq!(writer.push(&dirent(b"abc")), Pushed::Written);
    let mut expected = Vec::new();
    expected.extend_from_slice(&5_u64.to_ne_bytes());
    expected.extend_from_slice(&6_u64.to_ne_bytes());
    expected.extend_from_slice(&3_u32.to_ne_bytes());
    expected.extend_from_slice(&10_u32.to_ne_bytes());
    expected.extend_from_slice(b"abc\0\0\0\0\0");
    assert_eq!(writer.finish().as_slice(), expected);
}

#[test]
fn an_entry_is_there_wholly_or_not_at_all() {
    let mut buffer = ReplyBuffer::with_capacity(4096).expect("memory");
    let mut writer = DirentWriter::new(&mut buffer, 32 + 31);
    assert_eq!(writer.push(&dirent(b"12345678")), Pushed::Written);
    assert_eq!(writer.push(&dirent(b"x")), Pushed::Full);
    assert_eq!(writer.finish().as_slice().len(), 32);
}

#[test]
fn an_entry_with_a_lookup_has_its_node_in_front() {
    let mut buffer = ReplyBuffer::with_capacity(4096).expect("memory");
    let mut writer = DirentWriter::new(&mut buffer, 4096);
    let entry = EntryReply {
        nodeid: NodeId(77),
        generation: 0,
        entry_valid: Duration::ZERO,
        attr_valid: Duration::ZERO,
        attr: Attributes::new(5, FileKind::Symlink, 0o777, 0),
    };
    assert_eq!(
        writer.push_plus(Some(&entry), &dirent(b"a")),
        Pushed::Written
    );
    assert_eq!(writer.push_plus(None, &dirent(b"b")), Pushed::Written);
    let bytes = writer.finish().as_slice();
    assert_eq!(bytes.len(), 2 * 160);
    assert_eq!(bytes[..8], 77_u64.to_ne_bytes());
    assert!(bytes[160..288].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[288 + 24], b'b');
}

#[test]
#[should_panic(expected = "not a name")]
fn a_name_with_a_slash_is_refused() {
    let mut buffer = ReplyBuffer::with_capacity(4096).expect("memory");
    DirentWriter::new(&mut buffer, 4096).push(&dirent(b"a/b"));
}
