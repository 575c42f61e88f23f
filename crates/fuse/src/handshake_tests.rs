//! What is taken of the kernel's offer.

use super::*;

fn offer(minor: u32, offered: InitFlags) -> InitRequest {
    InitRequest {
        major: 7,
        minor,
        max_readahead_bytes: 131_072,
        offered,
    }
}

#[test]
fn h08_max_background_is_in_the_thousands_and_max_write_is_the_least() {
    let negotiated = Negotiated::choose(&offer(45, InitFlags::all()), &HandshakeOptions::default())
        .expect("common ground");
    assert!(negotiated.max_background >= 1000);
    assert!(negotiated.congestion_threshold >= 1000);
    assert_eq!(negotiated.max_write_bytes, 4096);
    assert_eq!(negotiated.max_read_bytes(), 1 << 20);
    assert_eq!(negotiated.max_readahead_bytes, 131_072);
    assert!(negotiated.has_resend());
    assert!(!negotiated.flags.contains(InitFlags::PASSTHROUGH));
    assert!(!negotiated.flags.contains(InitFlags::EXPORT_SUPPORT));
}

#[test]
fn nothing_is_taken_that_is_not_offered() {
    let offered = InitFlags::ASYNC_READ | InitFlags::MAX_PAGES;
    let negotiated = Negotiated::choose(&offer(31, offered), &HandshakeOptions::default())
        .expect("common ground");
    assert_eq!(negotiated.flags, offered);
    assert!(!negotiated.has_resend());
    assert_eq!(negotiated.minor, 31);
}

#[test]
fn options_choose_flags() {
    let options = HandshakeOptions {
        readdirplus: Readdirplus::Always,
        directory_opens: DirectoryOpens::Omitted,
        nfs_export: NfsExport::Supported,
        ..HandshakeOptions::default()
    };
    let flags = Negotiated::choose(&offer(99, InitFlags::all()), &options)
        .expect("common ground")
        .flags;
    assert!(flags.contains(InitFlags::DO_READDIRPLUS));
    assert!(!flags.contains(InitFlags::READDIRPLUS_AUTO));
    assert!(flags.contains(InitFlags::NO_OPENDIR_SUPPORT | InitFlags::EXPORT_SUPPORT));
}

#[test]
fn old_and_strange_kernels_are_refused() {
    for (major, minor) in [(7, 30), (6, 45), (8, 0)] {
        let init = InitRequest {
            major,
            ..offer(minor, InitFlags::all())
        };
        let refused = Negotiated::choose(&init, &HandshakeOptions::default());
        assert_eq!(refused, Err(HandshakeError::Protocol { major, minor }));
    }
}

#[test]
fn h22_the_record_survives_being_stored() {
    let unknown = InitFlags::from_bits_retain(1 << 62);
    let mut negotiated =
        Negotiated::choose(&offer(45, InitFlags::all()), &HandshakeOptions::default())
            .expect("common ground");
    negotiated.flags |= unknown;
    let stored = serde_json::to_string(&negotiated).expect("json");
    let loaded: Negotiated = serde_json::from_str(&stored).expect("json");
    assert_eq!(loaded, negotiated);
    let raw = loaded.to_raw();
    assert_eq!(
        u64::from(raw.flags2) << 32 | u64::from(raw.flags),
        negotiated.flags.bits()
    );
}
