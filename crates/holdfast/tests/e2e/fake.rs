//! Daemons that misbehave (`fake_daemon.py`), as processes: the engine kills who hangs up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::Site;

/// A daemon that misbehaves in one way (`fake_daemon.py`), on the site's device.
pub struct Fake {
    child: Child,
    deeds: PathBuf,
}

impl Fake {
    /// Starts one that serves the site's source in the way called `mode`.
    pub fn start(site: &Site, mode: &str) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let deeds = tempfile_in(site, mode);
        let child = Command::new("python3")
            .arg("-B")
            .arg(tests.join("tests/e2e/fake_daemon.py"))
            .arg(tests.join("../../examples/daemon.py"))
            .arg(site.run_dir().join("device.sock"))
            .arg(site.source())
            .arg(mode)
            .stdin(Stdio::null())
            .stdout(File::create(&deeds).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        Self { child, deeds }
    }

    /// How often it misbehaved so far.
    pub fn deeds(&self) -> usize {
        std::fs::read_to_string(&self.deeds).map_or(0, |text| text.lines().count())
    }

    /// Whether it has not ended.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tempfile_in(site: &Site, mode: &str) -> PathBuf {
    (0..)
        .map(|number| site.path(&format!("deeds-{mode}-{number}")))
        .find(|path| !path.exists())
        .expect("numbers do not end")
}
