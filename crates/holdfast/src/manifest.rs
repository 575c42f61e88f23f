//! `holdfast manifest`: describes a directory so that a plain web server can serve it exactly.

use crate::adapter::source::{self, ManifestError};
use crate::cli::ManifestArgs;
use crate::output;

/// Runs the command; names what could not be described.
///
/// # Errors
/// See [`ManifestError`].
pub fn run(args: &ManifestArgs) -> Result<(), ManifestError> {
    let written = source::write_manifest(&args.dir, args.output.as_deref())?;
    for path in &written.left_out {
        output::remark(&format!(
            "left out (no file, directory or link, or too long): {}",
            path.display()
        ));
    }
    let report = format!("{}: {} names\n", written.path.display(), written.names);
    // The manifest is written, whoever reads this.
    let _ = output::print(report.as_bytes());
    Ok(())
}
