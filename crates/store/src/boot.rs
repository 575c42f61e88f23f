//! Which boot of the machine this is.
//!
//! Source: `random(4)`, `/proc/sys/kernel/random/boot_id`: a UUID made once per boot.

use std::io;

/// The identity of one boot of the machine: what was only in the page cache in another boot may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// That of the running kernel.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or holds no UUID.
    pub fn current() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Self::parse(text.trim())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no UUID in boot_id"))
    }

    /// Parses 32 hexadecimal digits, hyphens anywhere.
    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b'-')
            .map(|byte| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit))
            .collect();
        (digits.len() == 32)
            .then(|| bytes.try_into().ok().map(Self))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::BootId;

    #[test]
    fn a_boot_id_is_a_uuid_and_nothing_else() {
        let parsed = BootId::parse("01020304-0506-0708-090a-0b0c0d0e0fff").unwrap();
        assert_eq!(
            parsed.0,
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255]
        );
        for bad in [
            "",
            "01",
            "01020304-0506-0708-090a-0b0c0d0e0ff",
            "zz020304-0506-0708-090a-0b0c0d0e0fff",
        ] {
            assert_eq!(BootId::parse(bad), None, "{bad}");
        }
        assert_eq!(BootId::current().unwrap(), BootId::current().unwrap());
    }
}
