//! The kernel's way with texts and numbers: `cachefiles_daemon_write`, `lib/ctype.c`, `lib/kstrtox.c`.

use super::COMMAND_BYTES_MAX;
use crate::Errno;

/// Why a text is no command at all, in the order in which it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has more than [`COMMAND_BYTES_MAX`] bytes.
    #[error("a command of {0} bytes is longer than {COMMAND_BYTES_MAX}")]
    TooLong(usize),
    /// There is a NUL in it.
    #[error("a command must not hold a NUL")]
    Nul,
    /// It begins with a newline.
    #[error("a command must not begin with a newline")]
    LeadingNewline,
    /// It is empty or begins with white space.
    #[error("a command must begin with its word")]
    NoWord,
}

impl TextError {
    /// The error number that the command fails with.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::TooLong(_) | Self::NoWord => Errno::EOPNOTSUPP,
            Self::Nul | Self::LeadingNewline => Errno::EINVAL,
        }
    }
}

/// Why a text is no number, or not one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is malformed, or a number that has no meaning here (`EINVAL`).
    #[error("not a number that has a meaning")]
    Invalid,
    /// It does not fit 64 bits (`ERANGE`).
    #[error("a number that does not fit 64 bits")]
    Range,
}

impl NumberError {
    /// The error number that it stands for.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Invalid => Errno::EINVAL,
            Self::Range => Errno::ERANGE,
        }
    }
}

/// The kernel's `isspace`, to which Latin-1's no-break space is one too.
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0)
}

/// Cuts a text into its first word and the rest without the white space between.
pub fn split(text: &[u8]) -> Result<(&[u8], &[u8]), TextError> {
    if text.len() > COMMAND_BYTES_MAX {
        return Err(TextError::TooLong(text.len()));
    }
    if text.contains(&0) {
        return Err(TextError::Nul);
    }
    let line = match text.iter().position(|byte| *byte == b'\n') {
        Some(0) => return Err(TextError::LeadingNewline),
        Some(newline) => &text[..newline],
        None => text,
    };
    let word_bytes = line
        .iter()
        .position(|byte| is_space(*byte))
        .unwrap_or(line.len());
    if word_bytes == 0 {
        return Err(TextError::NoWord);
    }
    let (word, rest) = line.split_at(word_bytes);
    let argument = rest
        .iter()
        .position(|byte| !is_space(*byte))
        .unwrap_or(rest.len());
    Ok((word, &rest[argument..]))
}

/// `kstrtoul` of base 0.
pub fn unsigned(text: &[u8]) -> Result<u64, NumberError> {
    magnitude(text.strip_prefix(b"+").unwrap_or(text))
}

/// `kstrtol` of base 0.
pub fn signed(text: &[u8]) -> Result<i64, NumberError> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0_i64
            .checked_sub_unsigned(magnitude(digits)?)
            .ok_or(NumberError::Range),
        None => i64::try_from(unsigned(text)?).map_err(|_| NumberError::Range),
    }
}

/// `_kstrtoull` of base 0: digits to the end of the text; too many win over what follows them.
fn magnitude(text: &[u8]) -> Result<u64, NumberError> {
    let (radix, digits) = radix(text);
    let mut value = Some(0_u64);
    let mut count = 0;
    for digit in leading_digits(digits, radix) {
        value = value
            .and_then(|value| value.checked_mul(u64::from(radix)))
            .and_then(|value| value.checked_add(digit));
        count += 1;
    }
    let value = value.ok_or(NumberError::Range)?;
    if count == 0 || count != digits.len() {
        return Err(NumberError::Invalid);
    }
    Ok(value)
}

/// `simple_strtoul` of base 0: the number at the text's start (0 if there is none, wrapping), and what follows it.
pub fn leading_unsigned(text: &[u8]) -> (u64, &[u8]) {
    let (radix, digits) = radix(text);
    let (mut value, mut count) = (0_u64, 0);
    for digit in leading_digits(digits, radix) {
        value = value.wrapping_mul(u64::from(radix)).wrapping_add(digit);
        count += 1;
    }
    (value, &digits[count..])
}

/// `_parse_integer_fixup_radix`: `0x` before a hexadecimal digit is 16, another leading `0` is 8.
fn radix(text: &[u8]) -> (u32, &[u8]) {
    match text {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (16, &text[2..]),
        [b'0', ..] => (8, text),
        _ => (10, text),
    }
}

fn leading_digits(text: &[u8], radix: u32) -> impl Iterator<Item = u64> {
    text.iter()
        .map_while(move |byte| char::from(*byte).to_digit(radix).map(u64::from))
}

/// A number of our own extensions: decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Result<u64, NumberError> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Invalid);
    }
    let add = |value: u64, byte: &u8| {
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
    };
    text.iter().try_fold(0, add).ok_or(NumberError::Range)
}
