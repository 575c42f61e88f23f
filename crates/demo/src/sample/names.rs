//! Names that programs stumble over, and ordinary ones.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use rand::RngExt as _;
use rand_xoshiro::Xoshiro256PlusPlus;

const WORDS: [&str; 12] = [
    "amber", "birch", "cobalt", "delta", "ember", "fjord", "granite", "harbor", "indigo",
    "juniper", "kelp", "lichen",
];

/// One name per way to go wrong: quoting, splitting, decoding, globbing, option parsing, length.
pub(super) fn odd() -> Vec<OsString> {
    let longest_ascii = vec![b'n'; 255];
    let mut longest_emoji = "🦀".repeat(63).into_bytes();
    longest_emoji.extend_from_slice(b"end"); // 63 × 4 + 3 = 255 bytes
    let names: [&[u8]; 20] = [
        b"with space",
        b" space at both ends ",
        b"new\nline",
        b"tab\tand\x01control\x7f",
        b"not-utf8-\xff\xfe\x80",
        b"\xc3",
        b"...",
        b".hidden",
        b"-rf",
        b"*?[glob]",
        b"quote'\"`\\back",
        b"percent%20#hash?query&x=1;y",
        b"%2e%2e%2f",
        b"<a href=\"x\">&amp;<b>",
        b"colon:semi;comma,plus+at@",
        "emoji 🦀 café ☃".as_bytes(),
        "e\u{301} decomposed".as_bytes(),
        "\u{202e}right to left".as_bytes(),
        &longest_ascii,
        &longest_emoji,
    ];
    names
        .iter()
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect()
}

/// An ordinary name that `number` makes unique.
pub(super) fn ordinary(random: &mut Xoshiro256PlusPlus, number: usize, suffix: &str) -> OsString {
    let word = WORDS[random.random_range(0..WORDS.len())];
    format!("{word}-{number:05}{suffix}").into()
}
