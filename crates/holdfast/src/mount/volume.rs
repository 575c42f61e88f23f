//! The volume of a mount: its source, with what daemons need to reach it.

use std::path::Path;

use super::MountError;
use super::auth::{self, HttpAuth};
use crate::adapter::source::{self, Settings, Source};
use crate::cli::mount::MountArgs;

/// A source and its settings.
pub struct Volume {
    source: Source,
    settings: Settings,
}

impl Volume {
    /// What the command line and the environment say.
    ///
    /// # Errors
    /// [`MountError::Source`], [`MountError::Auth`].
    pub fn new(args: &MountArgs) -> Result<Self, MountError> {
        let source = Source::parse(&args.source)?;
        let http = if source.is_http() {
            auth::http(
                args.auth_file.as_deref(),
                auth::Variables::of_this_process(),
            )?
        } else if args.auth_file.is_some() {
            return Err(source::SourceError::NotForHttp("--auth-file").into());
        } else {
            HttpAuth::None
        };
        if args.manifest.is_some() && !source.is_http() {
            return Err(source::SourceError::NotForHttp("--manifest").into());
        }
        Ok(Self {
            source,
            settings: Settings {
                http,
                manifest: args.manifest.clone(),
            },
        })
    }

    /// The volume key.
    #[must_use]
    pub fn key(&self) -> String {
        self.source.key()
    }

    /// The canonical local directory (or file) behind it, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.source.directory()
    }

    /// Writes the volume's file, which may hold secrets, into the run directory.
    ///
    /// # Errors
    /// [`MountError::Source`].
    pub fn write(&self, run_dir: &Path) -> Result<(), MountError> {
        Ok(source::write_volume(run_dir, &self.source, &self.settings)?)
    }
}
