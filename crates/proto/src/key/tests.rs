use super::*;
use proptest::prelude::*;
use std::format;
use std::vec;

#[test]
fn a_path_never_leaves_its_source() {
    let refused: &[(&[u8], NameError)] = &[
        (b"/", NameError::Empty),
        (b"/a", NameError::Empty),
        (b"a/", NameError::Empty),
        (b"a//b", NameError::Empty),
        (b".", NameError::Dots),
        (b"..", NameError::Dots),
        (b"a/../b", NameError::Dots),
        (b"a/.", NameError::Dots),
        (b"a\0b", NameError::Separator),
        (&[b'x'; 256], NameError::TooLong(256)),
    ];
    for (bytes, error) in refused {
        assert_eq!(
            RelativePath::new(bytes),
            Err(PathError::Component(*error)),
            "{}",
            bytes.escape_ascii()
        );
    }
    for accepted in [
        &b""[..],
        b"...",
        b".a",
        b"a/..b",
        b"\xff\xfe/\n",
        &[b'x'; 255],
    ] {
        assert_eq!(RelativePath::new(accepted).unwrap().as_bytes(), accepted);
    }
}

#[test]
fn a_path_and_its_key_are_bounded() {
    let mut long = b"ab/".repeat(PATH_BYTES_MAX / 3);
    long.resize(PATH_BYTES_MAX, b'c');
    let path = RelativePath::new(&long).unwrap();
    assert_eq!(path.join(b"d"), Err(PathError::TooLong(PATH_BYTES_MAX + 2)));
    let key = CookieKey::Data {
        path,
        validator: vec![7; VALIDATOR_BYTES_MAX],
    }
    .encode();
    assert_eq!(key.len(), COOKIE_KEY_BYTES_MAX);
    assert!(CookieKey::parse(&key).is_ok());
    assert_eq!(
        CookieKey::parse(&[&key[..], b"x"].concat()),
        Err(CookieKeyError::TooLong(COOKIE_KEY_BYTES_MAX + 1))
    );
    long.push(b'c');
    assert_eq!(
        RelativePath::new(&long),
        Err(PathError::TooLong(PATH_BYTES_MAX + 1))
    );
}

#[test]
fn goes_down_and_up() {
    let mut path = RelativePath::root();
    assert_eq!(
        (path.parent(), path.file_name(), path.components().count()),
        (None, None, 0)
    );
    path.push(b"a b").unwrap();
    path.push(b"\xff").unwrap();
    assert!(path.push(b"..").is_err() && path.push(b"").is_err() && path.push(b"x/y").is_err());
    assert_eq!(path.as_bytes(), b"a b/\xff");
    assert_eq!(path.file_name(), Some(&b"\xff"[..]));
    assert_eq!(
        path.components().rev().collect::<Vec<_>>(),
        [&b"\xff"[..], b"a b"]
    );
    assert_eq!(path.parent().unwrap().parent(), Some(RelativePath::root()));
    assert_eq!(format!("{path} {}", RelativePath::root()), "/a b/\\xff /");
}

#[test]
fn keys_have_the_documented_bytes() {
    let path = RelativePath::new(b"d/f").unwrap();
    let table: [(CookieKey, &[u8]); 5] = [
        (
            CookieKey::Data {
                path: path.clone(),
                validator: b"v\x001".to_vec(),
            },
            b"Dd/f\0v\x001",
        ),
        (
            CookieKey::Data {
                path: path.clone(),
                validator: vec![],
            },
            b"Dd/f\0",
        ),
        (CookieKey::Listing { path: path.clone() }, b"Ld/f"),
        (
            CookieKey::Listing {
                path: RelativePath::root(),
            },
            b"L",
        ),
        (CookieKey::Entry { path }, b"Ed/f"),
    ];
    for (key, bytes) in table {
        assert_eq!(key.encode(), bytes);
        assert_eq!(CookieKey::parse(bytes), Ok(key));
    }
}

#[test]
fn refuses_what_is_no_cookie_key() {
    assert_eq!(CookieKey::parse(b""), Err(CookieKeyError::Empty));
    assert_eq!(
        CookieKey::parse(b"Xa"),
        Err(CookieKeyError::UnknownKind(b'X'))
    );
    assert_eq!(CookieKey::parse(b"Da"), Err(CookieKeyError::NoValidator));
    assert_eq!(
        CookieKey::parse(b"La\0b"),
        Err(PathError::Component(NameError::Separator).into())
    );
    assert_eq!(
        CookieKey::parse(b"D../x\0v"),
        Err(PathError::Component(NameError::Dots).into())
    );
    let long = [b"Da\0", &[1_u8; VALIDATOR_BYTES_MAX + 1][..]].concat();
    assert_eq!(
        CookieKey::parse(&long),
        Err(CookieKeyError::ValidatorTooLong(VALIDATOR_BYTES_MAX + 1))
    );
}

#[test]
fn volume_keys_are_bounded_and_without_nul() {
    assert_eq!(VolumeKey::new(b""), Err(VolumeKeyError::Empty));
    assert_eq!(VolumeKey::new(b"dir:/a\0"), Err(VolumeKeyError::Nul));
    assert_eq!(
        VolumeKey::new(&[b'a'; 4097]),
        Err(VolumeKeyError::TooLong(4097))
    );
    assert_eq!(
        VolumeKey::new(&[b'a'; 4096]).unwrap().as_bytes().len(),
        4096
    );
}

pub(crate) fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..=NAME_BYTES_MAX)
        .prop_filter("a name", |name| check_name(name).is_ok())
}

proptest! {
    #[test]
    fn keys_come_back(names in prop::collection::vec(any_name(), 0..6), validator in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut path = RelativePath::root();
        for name in &names {
            path.push(name).unwrap();
        }
        prop_assert_eq!(path.components().collect::<Vec<_>>(), names);
        for key in [
            CookieKey::Data { path: path.clone(), validator },
            CookieKey::Listing { path: path.clone() },
            CookieKey::Entry { path: path.clone() },
        ] {
            prop_assert_eq!(CookieKey::parse(&key.encode()), Ok(key));
        }
    }

    /// Bytes of a stranger are refused or mean exactly one key.
    #[test]
    fn hostile_bytes_are_refused_or_canonical(bytes in prop::collection::vec(prop::sample::select(b"DLE./\0a\xff".to_vec()), 0..12)) {
        if let Ok(key) = CookieKey::parse(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }
}
