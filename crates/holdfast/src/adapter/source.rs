//! The daemon: its role's main function, sources, the volume's file and manifests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use holdfast_daemon::{
    Auth, DaemonConfig, RunError, SourceUrl, SourceUrlError, VolumeConfig, VolumeFileError,
};

use crate::mount::auth::HttpAuth;

pub use holdfast_daemon::CheckError;

/// Why a SOURCE is not usable.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It holds a user or a password, which everybody could read in the list of processes.
    #[error(
        "SOURCE holds a user or password, which every user of this machine could read; leave it out and set \
         HOLDFAST_HTTP_USER and HOLDFAST_HTTP_PASSWORD (or HOLDFAST_HTTP_BEARER), or use --auth-file FILE"
    )]
    SecretInUrl,
    /// It is no source.
    #[error("SOURCE {given:?}: {error}")]
    Url {
        /// As given.
        given: String,
        /// What is wrong.
        error: SourceUrlError,
    },
    /// A `dir:` path that cannot be reached.
    #[error("the source {}: {error}", .path.display())]
    Unreachable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// An option that says nothing about this kind of source.
    #[error("{0} is for http:// and https:// sources only")]
    NotForHttp(&'static str),
    /// The volume's file cannot be written.
    #[error(transparent)]
    VolumeFile(#[from] VolumeFileError),
}

/// A parsed SOURCE in its canonical form.
#[derive(Debug)]
pub struct Source(SourceUrl);

impl Source {
    /// Parses SOURCE, resolves symbolic links of a `dir:` path, and fills an S3 source's endpoint and
    /// region from the usual variables, because they are part of what the source is.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn parse(given: &OsStr) -> Result<Self, SourceError> {
        let mut url = SourceUrl::parse(given).map_err(|error| match error {
            SourceUrlError::SecretInUrl => SourceError::SecretInUrl,
            SourceUrlError::UnknownScheme
            | SourceUrlError::Malformed(_)
            | SourceUrlError::UnknownParameter(_)
            | SourceUrlError::TooLong => SourceError::Url {
                given: given.to_string_lossy().into_owned(),
                error,
            },
        })?;
        if let SourceUrl::S3(s3) = &mut url {
            s3.endpoint = s3
                .endpoint
                .take()
                .or_else(|| first_set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
            s3.region = s3
                .region
                .take()
                .or_else(|| first_set(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        }
        let path = match &url {
            SourceUrl::Directory(path) => path.clone(),
            SourceUrl::Http(_) | SourceUrl::S3(_) => PathBuf::new(),
        };
        url.resolved()
            .map(Self)
            .map_err(|error| SourceError::Unreachable { path, error })
    }

    /// The volume key.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.volume_key()
    }

    /// Whether it is behind HTTP.
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(self.0, SourceUrl::Http(_))
    }

    /// The local path behind it, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.0 {
            SourceUrl::Directory(path) => Some(path),
            SourceUrl::Http(_) | SourceUrl::S3(_) => None,
        }
    }
}

fn first_set(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// What a daemon should know beyond the source itself.
#[derive(Debug)]
pub struct Settings {
    /// Credentials of an http(s) source.
    pub http: HttpAuth,
    /// Manifest of an http(s) source.
    pub manifest: Option<String>,
}

/// Writes the file from which daemons learn how to reach the volume (mode 0600, replaced as a whole).
///
/// # Errors
/// [`SourceError::VolumeFile`].
pub fn write_volume(
    run_dir: &Path,
    source: &Source,
    settings: &Settings,
) -> Result<(), SourceError> {
    let mut volume = VolumeConfig::new(&source.0);
    volume.auth = match (&source.0, &settings.http) {
        (SourceUrl::S3(_), _) => s3_keys(),
        (_, HttpAuth::None) => Auth::None,
        (_, HttpAuth::Basic { user, password }) => Auth::Basic {
            user: user.clone(),
            password: password.clone(),
        },
        (_, HttpAuth::Bearer(token)) => Auth::Bearer {
            token: token.clone(),
        },
    };
    volume.options.manifest.clone_from(&settings.manifest);
    Ok(volume.write(run_dir)?)
}

/// Asks the source itself, as the daemons will, whether its root can be listed.
///
/// # Errors
/// Why not.
pub fn check(run_dir: &Path, volume_key: &str) -> Result<(), CheckError> {
    holdfast_daemon::check(run_dir, volume_key.as_bytes())
}

/// Keys from the environment of who mounts. The daemons may have been started from another one; what
/// the usual files hold they find by themselves.
fn s3_keys() -> Auth {
    match (
        first_set(&["AWS_ACCESS_KEY_ID"]),
        first_set(&["AWS_SECRET_ACCESS_KEY"]),
    ) {
        (Some(access_key_id), Some(secret_access_key)) => Auth::S3 {
            access_key_id,
            secret_access_key,
            session_token: first_set(&["AWS_SESSION_TOKEN"]),
        },
        _ => Auth::None,
    }
}

/// Runs a daemon until its instance is gone.
///
/// # Errors
/// See [`RunError`].
pub fn run(run_dir: PathBuf, workers: u16) -> Result<(), RunError> {
    let mut config = DaemonConfig::new(run_dir);
    config.workers = usize::from(workers);
    holdfast_daemon::run(config)
}

pub use holdfast_daemon::manifest::{WriteError as ManifestError, Written};

/// Writes the manifest of a directory, to `output` or into the directory itself.
///
/// # Errors
/// See [`ManifestError`].
pub fn write_manifest(dir: &Path, output: Option<&Path>) -> Result<Written, ManifestError> {
    match output {
        Some(file) => holdfast_daemon::manifest::write_to(dir, file),
        None => holdfast_daemon::manifest::write(dir),
    }
}
