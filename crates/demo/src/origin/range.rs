//! The `Range` header (RFC 9110, section 14): one range of bytes. Several ranges in one header are ignored, as the RFC allows:
//! the whole file is sent.

use std::ops::Range;

/// What a `Range` header asks of a file of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// No range, not a range of bytes, malformed, or several: the whole file with 200.
    Whole,
    /// Bytes [start, end) with 206; never empty.
    Part(Range<u64>),
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// Reads a `Range` header's value for a file of `size_bytes`.
pub(super) fn parse(value: &str, size_bytes: u64) -> Asked {
    let Some(spec) = value.trim().strip_prefix("bytes=") else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Asked::Whole;
    };
    match (number(first), number(last)) {
        (Number::Value(first), Number::Value(last)) if last < first => Asked::Whole,
        (Number::Value(first), Number::Value(last)) => {
            clip(first, last.saturating_add(1), size_bytes)
        }
        (Number::Value(first), Number::Empty) => clip(first, size_bytes, size_bytes),
        (Number::Empty, Number::Value(0)) => Asked::Unsatisfiable,
        (Number::Empty, Number::Value(suffix)) => {
            clip(size_bytes.saturating_sub(suffix), size_bytes, size_bytes)
        }
        (Number::Empty, Number::Empty) | (Number::Malformed, _) | (_, Number::Malformed) => {
            Asked::Whole
        }
    }
}

fn clip(start: u64, end: u64, size_bytes: u64) -> Asked {
    if start >= size_bytes {
        Asked::Unsatisfiable
    } else {
        Asked::Part(start..end.min(size_bytes))
    }
}

enum Number {
    Empty,
    Value(u64),
    Malformed,
}

fn number(text: &str) -> Number {
    let text = text.trim();
    if text.is_empty() {
        return Number::Empty;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Malformed;
    }
    // Only digits, so the one way to fail is a number beyond every file's end.
    Number::Value(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let cases = [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-99", Asked::Part(0..100)),
            ("bytes=0-1000", Asked::Part(0..100)),
            ("bytes=50-", Asked::Part(50..100)),
            ("bytes=-1", Asked::Part(99..100)),
            ("bytes=-1000", Asked::Part(0..100)),
            ("bytes=100-", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value, 100), expected, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Unsatisfiable);
    }
}
