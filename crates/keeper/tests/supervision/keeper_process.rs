//! The keeper's part: reads a [`Spec`] from its environment and runs.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_keeper::{ExitReason, InheritedDescriptors, KeeperConfig, Role, RoleConfig, run};
use serde::{Deserialize, Serialize};

use crate::child::BEHAVIOUR_VARIABLE;

/// Holds the JSON of a [`Spec`].
pub const SPEC_VARIABLE: &str = "HOLDFAST_TEST_KEEPER";

/// What a test's keeper runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    pub run_dir: PathBuf,
    pub roles: Vec<RoleSpec>,
    pub stop_grace_ms: u64,
}

/// A role whose processes are this binary with a behaviour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoleSpec {
    pub role: Role,
    pub behaviour: String,
    pub count: u32,
    pub watchdog_ms: Option<u64>,
    /// `None`: the role's default.
    pub inherits: Option<Vec<String>>,
    /// `None`: this binary.
    pub program: Option<PathBuf>,
}

impl RoleSpec {
    pub fn new(role: Role, behaviour: &str) -> RoleSpec {
        RoleSpec {
            role,
            behaviour: behaviour.to_owned(),
            count: 1,
            watchdog_ms: None,
            inherits: None,
            program: None,
        }
    }

    fn config(self) -> RoleConfig {
        let own = || std::env::current_exe().expect("own path");
        let program = self.program.unwrap_or_else(own);
        let mut config = RoleConfig::new(self.role, vec![program.into_os_string()]);
        config.count = self.count;
        config.env = vec![
            (BEHAVIOUR_VARIABLE.into(), self.behaviour.into()),
            // These must never reach a child.
            ("LISTEN_FDS".into(), "77".into()),
            ("WATCHDOG_PID".into(), "1".into()),
        ];
        config.watchdog = self.watchdog_ms.map(Duration::from_millis);
        config.inherits = self
            .inherits
            .map_or(config.inherits, InheritedDescriptors::Named);
        config
    }
}

/// Exit code 10 = wound down, 11 = terminated, 12 = error.
pub fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let spec = std::env::var(SPEC_VARIABLE).expect("a spec is set");
    let spec: Spec = serde_json::from_str(&spec).expect("a valid spec");
    let roles = spec.roles.into_iter().map(RoleSpec::config).collect();
    let mut config = KeeperConfig::new(spec.run_dir, roles);
    config.stop_grace = Duration::from_millis(spec.stop_grace_ms);
    // Children must not take themselves for keepers.
    // SAFETY: the process has one thread here.
    #[allow(unsafe_code)]
    unsafe {
        std::env::remove_var(SPEC_VARIABLE);
    }
    std::process::exit(match run(config) {
        Ok(ExitReason::WoundDown) => 10,
        Ok(ExitReason::Terminated) => 11,
        Err(error) => {
            eprintln!("{error}");
            12
        }
    });
}
