//! Credentials: from the environment or a file, never from the command line.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest file of credentials that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// How to prove to an http(s) origin who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// Not at all.
    None,
    /// Basic authentication (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token (RFC 6750).
    Bearer(String),
}

impl std::fmt::Debug for HttpAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Why there are no usable credentials.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file cannot be read.
    #[error("cannot read the credentials in {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or change the file.
    #[error("others can read or change {} (mode {mode:04o}, owner {owner}); run: chmod 600 {}", .path.display(), .path.display())]
    NotPrivate {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whose it is.
        owner: u32,
    },
    /// The file's first line is empty, or holds bytes that no header can.
    #[error("the first line of {} is neither user:password nor a token", .0.display())]
    Malformed(PathBuf),
    /// Two ways at once.
    #[error("both {0} and {1} are set; use one of them")]
    Ambiguous(&'static str, &'static str),
    /// A user without password or the reverse.
    #[error("{0} is set but {1} is not")]
    Half(&'static str, &'static str),
}

/// The environment's part, as read.
#[derive(Default)]
pub struct Variables {
    /// `HOLDFAST_HTTP_USER`.
    pub user: Option<String>,
    /// `HOLDFAST_HTTP_PASSWORD`.
    pub password: Option<String>,
    /// `HOLDFAST_HTTP_BEARER`.
    pub bearer: Option<String>,
}

impl Variables {
    /// Those of this process; empty ones count as unset.
    #[must_use]
    pub fn of_this_process() -> Self {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            user: get("HOLDFAST_HTTP_USER"),
            password: get("HOLDFAST_HTTP_PASSWORD"),
            bearer: get("HOLDFAST_HTTP_BEARER"),
        }
    }
}

/// The credentials that file and environment describe; the file wins, because it was named for this
/// very mount.
///
/// # Errors
/// See [`AuthError`].
pub fn http(file: Option<&Path>, variables: Variables) -> Result<HttpAuth, AuthError> {
    if let Some(path) = file {
        return from_file(path);
    }
    match (variables.user, variables.password, variables.bearer) {
        (None, None, None) => Ok(HttpAuth::None),
        (Some(user), Some(password), None) => Ok(HttpAuth::Basic { user, password }),
        (None, None, Some(token)) => Ok(HttpAuth::Bearer(token)),
        (Some(_), None, None) => Err(AuthError::Half(
            "HOLDFAST_HTTP_USER",
            "HOLDFAST_HTTP_PASSWORD",
        )),
        (None, Some(_), None) => Err(AuthError::Half(
            "HOLDFAST_HTTP_PASSWORD",
            "HOLDFAST_HTTP_USER",
        )),
        (_, _, Some(_)) => Err(AuthError::Ambiguous(
            "HOLDFAST_HTTP_BEARER",
            "HOLDFAST_HTTP_USER or HOLDFAST_HTTP_PASSWORD",
        )),
    }
}

fn from_file(path: &Path) -> Result<HttpAuth, AuthError> {
    let read = |source| AuthError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    let mode = metadata.mode() & 0o7777;
    let me = rustix::process::geteuid().as_raw();
    // A pipe (`--auth-file <(pass show …)`) has no reader but us.
    if metadata.is_file() && (mode & 0o077 != 0 || (metadata.uid() != me && metadata.uid() != 0)) {
        return Err(AuthError::NotPrivate {
            path: path.to_owned(),
            mode,
            owner: metadata.uid(),
        });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(read)?;
    parse(&text).ok_or_else(|| AuthError::Malformed(path.to_owned()))
}

/// The first line: `user:password`, or a token, in which a colon cannot occur (RFC 6750, b64token).
fn parse(text: &str) -> Option<HttpAuth> {
    let line = text.lines().next()?.trim_end_matches('\r');
    if line.is_empty() || line.chars().any(char::is_control) {
        return None;
    }
    match line.split_once(':') {
        Some(("", _)) => None,
        Some((user, password)) => Some(HttpAuth::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        None if line.contains(char::is_whitespace) => None,
        None => Some(HttpAuth::Bearer(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn basic(user: &str, password: &str) -> HttpAuth {
        HttpAuth::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn the_first_line_decides() {
        assert_eq!(parse("me:se:cret\nrest"), Some(basic("me", "se:cret")));
        assert_eq!(
            parse("token-1\r\n"),
            Some(HttpAuth::Bearer("token-1".into()))
        );
        for wrong in ["", "\n", ":password", "two words", "a\u{1b}b"] {
            assert_eq!(parse(wrong), None, "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth");
        std::fs::write(&path, "me:secret\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(
            http(Some(&path), Variables::default()),
            Err(AuthError::NotPrivate { mode: 0o644, .. })
        ));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(
            http(Some(&path), Variables::default()).unwrap(),
            basic("me", "secret")
        );
    }

    #[test]
    fn the_environment_must_be_whole_and_unambiguous() {
        let variables =
            |user: Option<&str>, password: Option<&str>, bearer: Option<&str>| Variables {
                user: user.map(Into::into),
                password: password.map(Into::into),
                bearer: bearer.map(Into::into),
            };
        let of = |u, p, b| http(None, variables(u, p, b));
        assert_eq!(of(None, None, None).unwrap(), HttpAuth::None);
        assert_eq!(of(Some("u"), Some("p"), None).unwrap(), basic("u", "p"));
        assert_eq!(
            of(None, None, Some("t")).unwrap(),
            HttpAuth::Bearer("t".into())
        );
        assert!(matches!(
            of(Some("u"), None, None),
            Err(AuthError::Half(..))
        ));
        assert!(matches!(
            of(None, Some("p"), None),
            Err(AuthError::Half(..))
        ));
        assert!(matches!(
            of(Some("u"), Some("p"), Some("t")),
            Err(AuthError::Ambiguous(..))
        ));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert!(!format!("{:?}", basic("me", "hunter2")).contains("hunter2"));
    }
}
