//! Whether the file system's reports of holes can be believed, and their use.
//!
//! Source: `lseek(2)`, SEEK_DATA and SEEK_HOLE: a file system may report no holes at all, may turn blocks of zeros into
//! holes, or may not see what is only in the page cache. A hole reported where data was written would make it absent
//! for ever, so the reports are tried on the very file system before they are believed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use holdfast_proto::BLOCK_BYTES;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// What a file system's reports of holes are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoleReports {
    /// A reported hole was never written, and holes of many blocks are reported.
    Trusted,
    /// They are not used: only the data file's length is checked.
    Ignored,
}

const PROBE_GAP_BYTES: u64 = 1 << 20;

impl HoleReports {
    /// What is known of the file system that holds `dir`: remembered from an earlier try, else tried now.
    ///
    /// It is remembered so that a start neither waits for the disk nor needs room on it; a full disk on which nothing
    /// was ever tried gives [`HoleReports::Ignored`].
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let device = dir.metadata()?.dev();
        let memory = dir.join("holes");
        let verdicts =
            [Self::Trusted, Self::Ignored].map(|verdict| (verdict, verdict.remembered(device)));
        if let Ok(text) = std::fs::read_to_string(&memory)
            && let Some((verdict, _)) = verdicts.iter().find(|(_, known)| *known == text)
        {
            return Ok(*verdict);
        }
        match Self::probe(dir) {
            Ok(verdict) => {
                // Half a text is no verdict, so nothing is lost when this fails.
                let _ = std::fs::write(&memory, verdict.remembered(device));
                Ok(verdict)
            }
            Err(error) if is_full(&error) => Ok(Self::Ignored),
            Err(error) => Err(error),
        }
    }

    fn remembered(self, device: u64) -> String {
        let word = match self {
            Self::Trusted => "trusted",
            Self::Ignored => "ignored",
        };
        format!("{word} on device {device}\n")
    }

    /// Tries the file system that holds `dir` on a small file, which is removed again.
    fn probe(dir: &Path) -> io::Result<Self> {
        let path = dir.join("probe");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let verdict = Self::probe_file(&file);
        std::fs::remove_file(&path)?;
        verdict
    }

    /// One block of zeros and one of ones behind a gap, looked at while dirty and again when on disk.
    fn probe_file(file: &File) -> io::Result<Self> {
        let block = BLOCK_BYTES as usize;
        file.write_all_at(&vec![0; block], PROBE_GAP_BYTES)?;
        file.write_all_at(&vec![0xff; block], PROBE_GAP_BYTES + BLOCK_BYTES)?;
        let written_end = PROBE_GAP_BYTES + 2 * BLOCK_BYTES;
        for synced in [false, true] {
            if synced {
                file.sync_data()?;
            }
            let hole_seen = first_hole(file, 0)? < PROBE_GAP_BYTES;
            let data_seen = first_hole(file, PROBE_GAP_BYTES)? >= written_end;
            if !(hole_seen && data_seen) {
                return Ok(Self::Ignored);
            }
        }
        Ok(Self::Trusted)
    }

    /// The first byte of `start..end` that the data file certainly lacks.
    pub(crate) fn first_missing(
        self,
        data: &File,
        start: u64,
        end: u64,
    ) -> io::Result<Option<u64>> {
        let reached = match self {
            Self::Trusted => first_hole(data, start)?,
            Self::Ignored => data.metadata()?.len().max(start),
        };
        Ok((reached < end).then_some(reached))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// The first byte at or behind `offset` that lies in a hole or behind the end; `offset` itself when the file is shorter.
fn first_hole(file: &File, offset: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(offset)) {
        Ok(hole) => Ok(hole),
        Err(Errno::NXIO) => Ok(offset),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_remembered_for_its_file_system_only() {
        let dir = tempfile::tempdir().unwrap();
        let tried = HoleReports::of(dir.path()).unwrap();
        let device = dir.path().metadata().unwrap().dev();
        let memory = dir.path().join("holes");
        assert_eq!(
            std::fs::read_to_string(&memory).unwrap(),
            tried.remembered(device)
        );
        std::fs::write(&memory, HoleReports::Ignored.remembered(device)).unwrap();
        assert_eq!(HoleReports::of(dir.path()).unwrap(), HoleReports::Ignored);
        std::fs::write(&memory, HoleReports::Ignored.remembered(device + 1)).unwrap();
        assert_eq!(HoleReports::of(dir.path()).unwrap(), tried);
    }

    #[test]
    fn a_probe_leaves_nothing_and_holes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let reports = HoleReports::probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = File::create(dir.path().join("data")).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        let end = (1 << 20) + 4096;
        assert_eq!(reports.first_missing(&file, 1 << 20, end).unwrap(), None);
        assert_eq!(
            reports.first_missing(&file, 1 << 20, end + 1).unwrap(),
            Some(end)
        );
        assert_eq!(
            reports
                .first_missing(&file, end + 4096, end + 8192)
                .unwrap(),
            Some(end + 4096)
        );
        if reports == HoleReports::Trusted {
            assert_eq!(reports.first_missing(&file, 0, 4096).unwrap(), Some(0));
        }
    }
}
