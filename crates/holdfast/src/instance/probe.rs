//! Who is alive in a run directory.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::lock::KeeperLock;

/// Name of the keeper's status socket in the run directory.
pub const KEEPER_SOCKET: &str = "keeper.sock";
/// Name of the engine's control socket in the run directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What lives in a run directory. A socket that accepts connections is held open by a process; a
/// stale socket file refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Keeper and engine listen.
    Whole,
    /// The keeper lives (it listens or holds its lock) and no engine listens now.
    EngineDown,
    /// An engine listens, the keeper is dead: nothing will restart what dies next.
    KeeperDown,
    /// Nobody lives there: leftovers.
    Dead,
}

/// Looks who lives in `run_dir`.
#[must_use]
pub fn life(run_dir: &Path) -> Life {
    let keeper = listens(&run_dir.join(KEEPER_SOCKET)) || KeeperLock::is_held(run_dir);
    let engine = listens(&run_dir.join(CONTROL_SOCKET));
    match (keeper, engine) {
        (true, true) => Life::Whole,
        (true, false) => Life::EngineDown,
        (false, true) => Life::KeeperDown,
        (false, false) => Life::Dead,
    }
}

/// Whether a process holds a listening socket at `path`.
fn listens(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        // Its backlog is full: somebody holds it, however busy.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn the_living_are_told_from_their_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert_eq!(life(path), Life::Dead);
        let keeper = UnixListener::bind(path.join(KEEPER_SOCKET)).unwrap();
        assert_eq!(life(path), Life::EngineDown);
        let engine = UnixListener::bind(path.join(CONTROL_SOCKET)).unwrap();
        assert_eq!(life(path), Life::Whole);
        drop(keeper);
        assert_eq!(life(path), Life::KeeperDown);
        drop(engine);
        assert!(path.join(KEEPER_SOCKET).exists(), "the leftover is there");
        assert_eq!(life(path), Life::Dead);
    }

    #[test]
    fn a_keeper_that_does_not_listen_yet_lives() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = KeeperLock::acquire(dir.path(), Duration::ZERO).unwrap();
        assert_eq!(life(dir.path()), Life::EngineDown);
    }
}
