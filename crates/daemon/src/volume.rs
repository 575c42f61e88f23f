//! What a volume is and how a daemon reaches it: the SOURCE argument, its canonical form, and the volume's file.
//!
//! Invariants: the canonical form ([`SourceUrl::volume_key`]) parses to the same [`SourceUrl`] again and holds no
//! secret; secrets live only in the volume's file (mode 0600) and are never printed, not by `Debug` either.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use serde::{Deserialize, Serialize};
use url::Url;

/// Longest volume key, in bytes.
pub const VOLUME_KEY_BYTES_MAX: usize = 4096;
/// Largest volume file that is read, in bytes.
const VOLUME_FILE_BYTES_MAX: u64 = 1 << 20;
/// What is escaped in the path of a canonical `file://` source.
const FILE_PATH_ESCAPES: &AsciiSet = &CONTROLS.add(b'%').add(b' ').add(b'?').add(b'#');

/// Where a volume's bytes come from, parsed from the SOURCE argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// A directory, or a single file, of this machine or a network file system: an absolute path.
    Directory(PathBuf),
    /// A tree (the path ends in `/`) or a single file behind HTTP or HTTPS. No user, no password, no fragment.
    Http(Url),
    /// A bucket of an S3-compatible store.
    S3(S3Url),
}

/// A prefix of an S3 bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket's name.
    pub bucket: String,
    /// Key prefix without leading or trailing slash; empty for the whole bucket.
    pub prefix: String,
    /// The server, e.g. `http://127.0.0.1:9000`; the usual environment or AWS when absent.
    pub endpoint: Option<String>,
    /// The region; the usual environment when absent.
    pub region: Option<String>,
}

/// Why a SOURCE is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    /// None of the known schemes.
    #[error("a source is dir:/path, file:///path, http://…, https://… or s3://bucket/prefix")]
    UnknownScheme,
    /// Not a well-formed URL of its scheme.
    #[error("not a well-formed source: {0}")]
    Malformed(String),
    /// User or password inside the URL.
    #[error("a source must not hold a user or password: give them by the environment or a file")]
    SecretInUrl,
    /// A query where none makes sense, or an unknown parameter.
    #[error("unknown parameter in the source: {0}")]
    UnknownParameter(String),
    /// The canonical form is longer than [`VOLUME_KEY_BYTES_MAX`] or holds a NUL.
    #[error("the source is longer than 4096 bytes or holds a NUL byte")]
    TooLong,
}

impl SourceUrl {
    /// Parses a SOURCE argument. A relative `dir:` path is taken from the current directory; `file:///path` is an
    /// alias of `dir:` with percent-escapes.
    ///
    /// # Errors
    /// See [`SourceUrlError`]; each variant says when.
    pub fn parse(source: &OsStr) -> Result<SourceUrl, SourceUrlError> {
        let bytes = source.as_bytes();
        let parsed = if let Some(path) = bytes.strip_prefix(b"dir:") {
            parse_directory(path)
        } else if bytes.starts_with(b"file:") {
            parse_file_url(bytes)
        } else {
            let text = source
                .to_str()
                .ok_or_else(|| SourceUrlError::Malformed("not UTF-8".into()))?;
            match text
                .split_once("://")
                .map(|(scheme, _)| scheme.to_ascii_lowercase())
                .as_deref()
            {
                Some("http" | "https") => parse_http(text),
                Some("s3") => parse_s3(text),
                Some(_) | None => Err(SourceUrlError::UnknownScheme),
            }
        }?;
        let key = parsed.volume_key();
        if key.len() > VOLUME_KEY_BYTES_MAX || key.as_bytes().contains(&0) {
            Err(SourceUrlError::TooLong)
        } else {
            Ok(parsed)
        }
    }

    /// The canonical form: the volume key. `dir:` paths that are not UTF-8 or hold control characters are written
    /// as `file://` with percent-escapes.
    #[must_use]
    pub fn volume_key(&self) -> String {
        match self {
            SourceUrl::Directory(path) => directory_key(path),
            SourceUrl::Http(url) => url.as_str().to_owned(),
            SourceUrl::S3(s3) => s3.canonical(),
        }
    }

    /// The same source with the symbolic links of a `dir:` path resolved, so that one directory has one key.
    ///
    /// # Errors
    /// What realpath(3) says of a `dir:` path: it does not exist, or may not be looked at.
    pub fn resolved(self) -> io::Result<SourceUrl> {
        match self {
            SourceUrl::Directory(path) => Ok(SourceUrl::Directory(fs::canonicalize(path)?)),
            SourceUrl::Http(url) => Ok(SourceUrl::Http(url)),
            SourceUrl::S3(s3) => Ok(SourceUrl::S3(s3)),
        }
    }
}

impl S3Url {
    fn canonical(&self) -> String {
        let mut url = Url::parse("s3://bucket/").expect("a constant URL is well formed");
        url.set_path(&self.prefix);
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url.as_str()
            .replacen("s3://bucket", &format!("s3://{}", self.bucket), 1)
    }
}

fn directory_key(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control()) => format!("dir:{text}"),
        Some(_) | None => format!(
            "file://{}",
            percent_encode(path.as_os_str().as_bytes(), FILE_PATH_ESCAPES)
        ),
    }
}

fn parse_directory(path: &[u8]) -> Result<SourceUrl, SourceUrlError> {
    let path = std::path::absolute(OsStr::from_bytes(path))
        .map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    // `components` drops the trailing slash and doubled slashes, which name the same directory.
    Ok(SourceUrl::Directory(path.components().collect()))
}

fn parse_file_url(bytes: &[u8]) -> Result<SourceUrl, SourceUrlError> {
    let rest = bytes
        .strip_prefix(b"file://")
        .ok_or_else(|| SourceUrlError::Malformed("file: needs file:///path".into()))?;
    let path = rest.strip_prefix(b"localhost").unwrap_or(rest);
    if !path.starts_with(b"/") {
        return Err(SourceUrlError::Malformed(
            "file: needs an absolute path, file:///path".into(),
        ));
    }
    let decoded: Vec<u8> = percent_decode(path).collect();
    parse_directory(std::ffi::OsString::from_vec(decoded).as_bytes())
}

fn parse_http(text: &str) -> Result<SourceUrl, SourceUrlError> {
    let mut url = Url::parse(text).map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceUrlError::SecretInUrl);
    }
    url.set_fragment(None);
    if url.path().ends_with('/') && url.query().is_some() {
        return Err(SourceUrlError::UnknownParameter(
            "a tree takes no query".into(),
        ));
    }
    Ok(SourceUrl::Http(url))
}

fn parse_s3(text: &str) -> Result<SourceUrl, SourceUrlError> {
    let url = Url::parse(text).map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceUrlError::SecretInUrl);
    }
    let bucket = url
        .host_str()
        .filter(|b| !b.is_empty())
        .ok_or_else(|| SourceUrlError::Malformed("no bucket".into()))?;
    let prefix = percent_decode(url.path().as_bytes())
        .decode_utf8()
        .map_err(|_| SourceUrlError::Malformed("the prefix is not UTF-8".into()))?;
    let mut s3 = S3Url {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint: None,
        region: None,
    };
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "endpoint" => s3.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "region" => s3.region = Some(value.into_owned()),
            other => return Err(SourceUrlError::UnknownParameter(other.to_owned())),
        }
    }
    Ok(SourceUrl::S3(s3))
}

/// How daemons reach one volume: the content of `<run>/volumes/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeConfig {
    /// The volume key.
    pub source: String,
    /// How to prove who we are.
    #[serde(default)]
    pub auth: Auth,
    /// What else the source should know.
    #[serde(default)]
    pub options: VolumeOptions,
}

/// Credentials of a volume. `Debug` shows the kind only.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Auth {
    /// None (for S3: the usual chain of environment, files and instance metadata).
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// HTTP bearer authentication.
    Bearer {
        /// The token.
        token: String,
    },
    /// S3 keys.
    S3 {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
        /// Session token of temporary credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_token: Option<String>,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Basic { .. } => "Basic(…)",
            Auth::Bearer { .. } => "Bearer(…)",
            Auth::S3 { .. } => "S3(…)",
        })
    }
}

/// Options of a source; all have a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// HTTP trees: URL of the manifest, relative to the tree; `None` looks for `.holdfast-manifest.jsonl` in the
    /// tree's root; `Some("")` looks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// S3: send unsigned requests (public buckets).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

/// Why a volume's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VolumeFileError {
    /// The file system refused.
    #[error("volume file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Not a volume file, or larger than 1 MiB.
    #[error("volume file {path} is malformed: {detail}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong (no content is quoted).
        detail: String,
    },
}

impl VolumeConfig {
    /// A volume without credentials or options.
    #[must_use]
    pub fn new(source: &SourceUrl) -> VolumeConfig {
        VolumeConfig {
            source: source.volume_key(),
            auth: Auth::None,
            options: VolumeOptions::default(),
        }
    }

    /// Where the file of a volume lies: `<run_dir>/volumes/<first 32 hex digits of the key's BLAKE3>.json`.
    #[must_use]
    pub fn path(run_dir: &Path, volume_key: &[u8]) -> PathBuf {
        let hex = blake3::hash(volume_key).to_hex();
        run_dir
            .join("volumes")
            .join(format!("{}.json", &hex.as_str()[..32]))
    }

    /// Writes the file (mode 0600, atomically by rename), making `volumes` (0700) when it is missing.
    ///
    /// # Errors
    /// [`VolumeFileError::Io`] when the file system refuses.
    pub fn write(&self, run_dir: &Path) -> Result<(), VolumeFileError> {
        let path = VolumeConfig::path(run_dir, self.source.as_bytes());
        let io = |source| VolumeFileError::Io {
            path: path.clone(),
            source,
        };
        let folder = run_dir.join("volumes");
        match std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
            .create(&folder)
        {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(io(e)),
            Ok(()) | Err(_) => {}
        }
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(&folder)
            .map_err(io)?;
        file.write_all(&serde_json::to_vec(self).map_err(|e| io(e.into()))?)
            .map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Reads the file of `volume_key`.
    ///
    /// # Errors
    /// [`VolumeFileError::Io`] (with `NotFound` when there is none), [`VolumeFileError::Malformed`] when it is not a
    /// volume file, is larger than 1 MiB, or names another volume.
    pub fn read(run_dir: &Path, volume_key: &[u8]) -> Result<VolumeConfig, VolumeFileError> {
        let path = VolumeConfig::path(run_dir, volume_key);
        let io = |source| VolumeFileError::Io {
            path: path.clone(),
            source,
        };
        let malformed = |detail: &str| VolumeFileError::Malformed {
            path: path.clone(),
            detail: detail.into(),
        };
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc_nofollow())
            .open(&path)
            .map_err(io)?;
        if file.metadata().map_err(io)?.len() > VOLUME_FILE_BYTES_MAX {
            return Err(malformed("larger than 1 MiB"));
        }
        // serde_json's message quotes no content beyond line and column for syntax errors; data errors may, so it is dropped.
        let config: VolumeConfig = serde_json::from_reader(io::BufReader::new(file))
            .map_err(|e| malformed(&format!("line {} column {}", e.line(), e.column())))?;
        if config.source.as_bytes() == volume_key {
            Ok(config)
        } else {
            Err(malformed("names another volume"))
        }
    }
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("O_NOFOLLOW fits an int")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceUrl, SourceUrlError> {
        SourceUrl::parse(OsStr::new(text))
    }

    #[test]
    fn canonical_forms_parse_to_themselves() {
        for (given, canonical) in [
            ("dir:/srv//data/", "dir:/srv/data"),
            ("file:///srv/a%20b", "dir:/srv/a b"),
            ("file:///srv/a%0Ab", "file:///srv/a%0Ab"),
            ("file:///srv/%FF", "file:///srv/%FF"),
            ("HTTP://Example.org:80/tree/", "http://example.org/tree/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("https://h/file.iso?x=1#frag", "https://h/file.iso?x=1"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket/", "s3://bucket"),
            (
                "s3://b/p?region=r&endpoint=http://h:9/",
                "s3://b/p?endpoint=http%3A%2F%2Fh%3A9&region=r",
            ),
        ] {
            let parsed = parse(given).unwrap();
            assert_eq!(parsed.volume_key(), canonical, "{given}");
            assert_eq!(parse(canonical).unwrap(), parsed, "{given}");
        }
    }

    #[test]
    fn bad_sources_are_refused() {
        assert_eq!(parse("ftp://x/"), Err(SourceUrlError::UnknownScheme));
        assert_eq!(parse("/srv/data"), Err(SourceUrlError::UnknownScheme));
        assert_eq!(parse("http://user:pw@h/"), Err(SourceUrlError::SecretInUrl));
        assert!(matches!(
            parse("s3://b/?color=red"),
            Err(SourceUrlError::UnknownParameter(_))
        ));
        assert!(matches!(
            parse("http://h/tree/?x"),
            Err(SourceUrlError::UnknownParameter(_))
        ));
        assert_eq!(
            parse(&format!("dir:/{}", "x".repeat(5000))),
            Err(SourceUrlError::TooLong)
        );
    }

    #[test]
    fn volume_file_round_trips_is_private_and_debug_hides_secrets() {
        let run = tempfile::tempdir().unwrap();
        let mut config = VolumeConfig::new(&parse("http://h/tree/").unwrap());
        config.auth = Auth::Basic {
            user: "u".into(),
            password: "hunter2".into(),
        };
        config.write(run.path()).unwrap();
        config.write(run.path()).unwrap();
        assert_eq!(
            VolumeConfig::read(run.path(), b"http://h/tree/").unwrap(),
            config
        );
        let mode = fs::metadata(VolumeConfig::path(run.path(), b"http://h/tree/"))
            .unwrap()
            .permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600
        );
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(matches!(
            VolumeConfig::read(run.path(), b"other"),
            Err(VolumeFileError::Io { .. })
        ));
    }
}
