//! A serving process: this test binary once more, running only its entry point `serving_child`, with the device as its
//! standard input. It takes the session over, asks for what its predecessor left, and serves until it dies.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use holdfast_fuse::{Connection, Negotiated, Operation, ReceiveBuffer, Received, ReplyBuffer};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use serde_json::json;

use super::Mounted;
use super::pattern;

const SIGKILL: i32 = 9;
const ROLE: &str = "HOLDFAST_FUSE_TEST_CHILD";

/// When a child kills itself.
#[derive(Clone, Copy)]
pub enum Death {
    /// With its n-th READ received (and those before answered), that one not answered.
    AtRead(u64),
    /// When its parent kills it.
    FromOutside,
}

/// A running server; killed on drop.
pub struct Server(Child);

impl Server {
    /// Starts one with `threads` serving threads and waits until it serves.
    pub fn start(mounted: &Mounted, death: Death, threads: u32) -> Self {
        let die_at_read = match death {
            Death::AtRead(read) => read,
            Death::FromOutside => 0,
        };
        let role = json!({
            "negotiated": mounted.negotiated,
            "die_at_read": die_at_read,
            "threads": threads,
        });
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "serving_child", "--ignored", "--nocapture"])
            .env(ROLE, role.to_string())
            .stdin(Stdio::from(mounted.device()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        // It says so among the words of the test harness; the end of its output means that it died before.
        let stdout = child.stdout.as_mut().expect("piped");
        let _ = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.ends_with("SERVING"));
        Self(child)
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().expect("kill");
        self.wait_for_death();
    }

    /// Waits until it was killed by SIGKILL.
    pub fn wait_for_death(mut self) {
        let status = self.0.wait().expect("wait");
        assert_eq!(status.signal(), Some(SIGKILL), "a real death: {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child's side: call it from a test `serving_child` that is `#[ignore]`d.
pub fn serve_if_child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let role: serde_json::Value = serde_json::from_str(&role).expect("a role");
    let negotiated: Negotiated =
        serde_json::from_value(role["negotiated"].clone()).expect("negotiated");
    let die_at_read = role["die_at_read"].as_u64().expect("a number");
    let threads = role["threads"].as_u64().expect("a number");
    // Nobody serves for a test that is no more.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    let device = std::io::stdin().as_fd().try_clone_to_owned().expect("dup");
    let connection = Connection::take_over(device, negotiated);
    connection.notify_resend().expect("resend");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| serve(&connection, die_at_read));
        }
        println!("SERVING");
    });
}

fn serve(connection: &Connection, die_at_read: u64) {
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    let mut payload = ReplyBuffer::new().expect("a buffer");
    let mut reads = 0;
    while let Received::Request(request) = connection.receive(&mut buffer).expect("a request") {
        if let Operation::Read { .. } = request.operation {
            reads += 1;
            if reads == die_at_read {
                kill_process(getpid(), Signal::KILL).expect("to die");
            }
        }
        let _ = pattern::answer(connection, &request, &mut payload).expect("a reply");
    }
}
