//! `holdfast status`: every instance of this user, from its keeper and its engine.

mod collect;
pub mod document;
mod table;

use std::io;
use std::path::PathBuf;

use crate::cli::StatusArgs;
use crate::instance::private_dir::PrivateDirError;
use crate::instance::run_root::{self, Surroundings};
use crate::instance::{Instance, InstanceError, registry};
use crate::output;
use document::Document;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The run root is not ours.
    #[error(transparent)]
    PrivateDir(#[from] PrivateDirError),
    /// The run root's path is unusable.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The run root cannot be listed.
    #[error("cannot list the run directories in {}: {source}", .path.display())]
    List {
        /// The run root.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cache directory asked for does not exist.
    #[error("the cache directory {}: {source}", .path.display())]
    CacheDir {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write the status: {0}")]
    Output(io::Error),
}

/// Runs the command. That nothing runs is a status too, not a failure.
///
/// # Errors
/// See [`StatusError`].
pub fn run(args: &StatusArgs) -> Result<(), StatusError> {
    let instances = chosen(args)?;
    let document = Document {
        instances: instances.iter().map(collect::instance).collect(),
    };
    let text = if args.json {
        let mut text =
            serde_json::to_string(&document).expect("strings and numbers always serialise");
        text.push('\n');
        text
    } else {
        table::render(&document)
    };
    output::print(text.as_bytes()).map_err(StatusError::Output)
}

fn chosen(args: &StatusArgs) -> Result<Vec<Instance>, StatusError> {
    let Some(root) = run_root::existing(&Surroundings::of_this_process())? else {
        return Ok(Vec::new());
    };
    let Some(path) = &args.cache_dir else {
        return registry::instances(&root)
            .map_err(|source| StatusError::List { path: root, source });
    };
    let canonical = path
        .canonicalize()
        .map_err(|source| StatusError::CacheDir {
            path: path.clone(),
            source,
        })?;
    let instance = Instance::of_cache_dir(&root, &canonical)?;
    Ok(if instance.run_dir().is_dir() {
        vec![instance]
    } else {
        Vec::new()
    })
}
