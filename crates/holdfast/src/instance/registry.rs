//! All instances of this user: the run directories under the run root.

use std::fs;
use std::io;
use std::path::Path;

use super::{Instance, InstanceId, private_dir};

/// The instances under `run_root`, in the order of their ids; dead ones too. Entries that are no run
/// directories of ours are passed over.
///
/// # Errors
/// If the run root cannot be listed.
pub fn instances(run_root: &Path) -> io::Result<Vec<Instance>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(run_root)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(InstanceId::parse) else {
            continue;
        };
        // One that others could have made says nothing about us.
        if private_dir::check(&entry.path()).is_ok() {
            found.push(Instance {
                id,
                run_root: run_root.to_owned(),
            });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_private_run_directories_are_instances() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::of_cache_dir(root.path(), Path::new("/c")).unwrap();
        instance.create_run_dir().unwrap();
        let open = root.path().join("00000000000000aa");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(root.path().join("something")).unwrap();
        fs::write(
            root.path()
                .join(format!("{}.start.lock", instance.id.as_str())),
            b"",
        )
        .unwrap();
        let found = instances(root.path()).unwrap();
        assert_eq!(
            found.iter().map(|found| &found.id).collect::<Vec<_>>(),
            [&instance.id]
        );
    }
}
