//! Names of files in a cache directory.
//!
//! Invariant: the name of an object's record follows from its keys alone, so that an absent object costs one failed open.

/// Text of the `format` file: name and version of the layout.
pub(crate) const FORMAT: &str = "holdfast-cache 1\n";

/// An object's name in the cache: BLAKE3 of the volume key's length (u64, little endian), the volume key and the cookie key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ObjectName([u8; 32]);

impl ObjectName {
    pub(crate) fn new(volume_key: &[u8], cookie_key: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(volume_key.len() as u64).to_le_bytes());
        hasher.update(volume_key).update(cookie_key);
        Self(*hasher.finalize().as_bytes())
    }

    /// A small number that spreads objects evenly.
    pub(crate) fn spread(&self) -> usize {
        usize::from(self.0[31])
    }

    /// The folder below `objects` that holds its files.
    pub(crate) fn folder(&self) -> String {
        hex::encode(&self.0[..1])
    }

    /// What the names of its files in the folder begin with.
    pub(crate) fn stem(&self) -> String {
        hex::encode(&self.0[1..])
    }

    /// Path of the record below `objects`.
    pub(crate) fn record_path(&self) -> String {
        format!("{}/{}.record", self.folder(), self.stem())
    }

    /// Path of the data file of an incarnation below `objects`.
    pub(crate) fn data_path(&self, incarnation: u64) -> String {
        format!("{}/{}.{incarnation:016x}.data", self.folder(), self.stem())
    }
}

#[cfg(test)]
mod tests {
    use super::ObjectName;

    #[test]
    fn names_keep_keys_apart_and_are_safe_file_names() {
        assert_ne!(ObjectName::new(b"ab", b"c"), ObjectName::new(b"a", b"bc"));
        let name = ObjectName::new(b"http://127.0.0.1/", b"D../../etc/passwd\0");
        assert_eq!(name.record_path().len(), 2 + 1 + 62 + 7);
        assert_eq!(
            name.data_path(255),
            format!("{}/{}.00000000000000ff.data", name.folder(), name.stem())
        );
        assert!(name.stem().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
