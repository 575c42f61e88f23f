//! Writing the manifest of a directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdfast_proto::key::RelativePath;
use serde::Serialize;

use super::{End, FILE_NAME, Head, Kind, Line, NAMES_MAX, VERSION, encoded};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The manifest.
    pub path: PathBuf,
    /// Names in it.
    pub names: usize,
    /// Sockets, pipes, devices and paths too long for Holdfast, left out.
    pub left_out: Vec<PathBuf>,
}

/// Why no manifest was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused to read a name or to write the manifest.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// More than [`NAMES_MAX`] names.
    #[error("{0}: more than 16 Mi names")]
    TooManyNames(PathBuf),
}

/// Writes `<dir>/.holdfast-manifest.jsonl`: [`write_to`] the place where mounts look for it.
///
/// # Errors
/// See [`WriteError`]; each variant says when. An older manifest is then left as it was.
pub fn write(dir: &Path) -> Result<Written, WriteError> {
    write_to(dir, &dir.join(FILE_NAME))
}

/// Writes the manifest of `dir` to `path`, replacing an older one at once and whole (by rename). Symbolic links are
/// written as links. Neither `path` itself nor a manifest at the usual place is described. Run it again after the
/// tree has changed.
///
/// # Errors
/// See [`WriteError`]; each variant says when. An older manifest is then left as it was.
pub fn write_to(dir: &Path, path: &Path) -> Result<Written, WriteError> {
    let io = |source| WriteError::Io {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io(io::ErrorKind::IsADirectory.into()))?;
    let file = tempfile::Builder::new()
        .prefix(FILE_NAME)
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(io)?;
    let mut walk = Walk {
        root: dir,
        left_alone: own_names(dir, folder, [Some(name), file.path().file_name()]).map_err(io)?,
        out: BufWriter::new(file),
        names: 0,
        left_out: Vec::new(),
    };
    walk.line(
        path,
        &Head {
            holdfast_manifest: VERSION,
        },
    )?;
    walk.tree()?;
    walk.line(path, &End { end: walk.names })?;
    let Walk {
        out,
        names,
        left_out,
        ..
    } = walk;
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(Written {
        path: path.to_owned(),
        names,
        left_out,
    })
}

/// Paths relative to `dir` that are the manifest's own: the usual place, and `names` in `folder` if that lies within.
fn own_names(dir: &Path, folder: &Path, names: [Option<&OsStr>; 2]) -> io::Result<Vec<PathBuf>> {
    let mut own = vec![PathBuf::from(FILE_NAME)];
    if let Ok(within) = fs::canonicalize(folder)?.strip_prefix(fs::canonicalize(dir)?) {
        own.extend(names.into_iter().flatten().map(|name| within.join(name)));
    }
    Ok(own)
}

struct Walk<'a> {
    root: &'a Path,
    left_alone: Vec<PathBuf>,
    out: BufWriter<tempfile::NamedTempFile>,
    names: usize,
    left_out: Vec<PathBuf>,
}

impl Walk<'_> {
    fn tree(&mut self) -> Result<(), WriteError> {
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for name in self.names(&directory)? {
                let relative = directory.join(&name);
                if self.left_alone.contains(&relative) {
                    continue;
                }
                if self.name(&relative)? {
                    directories.push(relative);
                }
            }
        }
        Ok(())
    }

    /// The names in a directory, sorted, so that the same tree gives the same manifest.
    fn names(&self, directory: &Path) -> Result<Vec<OsString>, WriteError> {
        let path = self.root.join(directory);
        let read = || {
            fs::read_dir(&path)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        };
        let mut names = read().map_err(|source| WriteError::Io {
            path: path.clone(),
            source,
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Writes one name's line; whether it is a directory to go down.
    fn name(&mut self, relative: &Path) -> Result<bool, WriteError> {
        let path = self.root.join(relative);
        let io = |source| WriteError::Io {
            path: path.clone(),
            source,
        };
        let metadata = fs::symlink_metadata(&path).map_err(io)?;
        let kind =
            kind(&metadata).filter(|_| RelativePath::new(relative.as_os_str().as_bytes()).is_ok());
        let Some(kind) = kind else {
            self.left_out.push(path);
            return Ok(false);
        };
        let target = match kind {
            Kind::Symlink => Some(encoded(
                fs::read_link(&path).map_err(io)?.as_os_str().as_bytes(),
            )),
            Kind::File | Kind::Directory => None,
        };
        let line = Line {
            path: encoded(relative.as_os_str().as_bytes()),
            size: matches!(kind, Kind::File).then_some(metadata.size()),
            mode: u16::try_from(metadata.mode() & 0o7777).ok(),
            mtime: u32::try_from(metadata.mtime_nsec())
                .ok()
                .map(|ns| (metadata.mtime(), ns)),
            target,
            kind,
        };
        self.names += 1;
        if self.names > NAMES_MAX {
            return Err(WriteError::TooManyNames(self.root.to_owned()));
        }
        self.line(&path, &line)?;
        Ok(metadata.is_dir())
    }

    fn line(&mut self, path: &Path, line: &impl Serialize) -> Result<(), WriteError> {
        let text = serde_json::to_vec(line).map_err(io::Error::from);
        text.and_then(|text| self.out.write_all(&text))
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|source| WriteError::Io {
                path: path.to_owned(),
                source,
            })
    }
}

fn kind(metadata: &Metadata) -> Option<Kind> {
    if metadata.is_file() {
        Some(Kind::File)
    } else if metadata.is_dir() {
        Some(Kind::Directory)
    } else if metadata.is_symlink() {
        Some(Kind::Symlink)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_written_where_one_wants_it_and_does_not_describe_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("file"), b"x").unwrap();
        let outside = tempfile::tempdir().unwrap();
        for file in [
            outside.path().join("list"),
            dir.path().join("sub/list"),
            dir.path().join("sub/list"),
        ] {
            let written = write_to(dir.path(), &file).unwrap();
            assert_eq!((written.names, &written.path), (2, &file));
        }
        fs::remove_file(dir.path().join("sub/list")).unwrap();
        // The comings and goings of `sub/list` have changed the time of `sub`.
        write_to(dir.path(), &outside.path().join("list")).unwrap();
        let usual = write(dir.path()).unwrap();
        assert_eq!(
            fs::read(usual.path).unwrap(),
            fs::read(outside.path().join("list")).unwrap()
        );
        assert!(write_to(dir.path(), Path::new("/")).is_err());
    }
}
