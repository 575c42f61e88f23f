//! Readers that wait for an origin that does not answer: they can be killed, and see no
//! EINTR, and the mount can be taken away under them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast_demo::origin::{Fault, FaultRule, Origin, Scope};
use rustix::process::{Pid, Signal, kill_process};

use crate::origins::{put, serve_plainly};
use crate::support::{Site, can_mount, eventually, has_program};

/// Child processes, killed at the end whatever happens.
pub struct Readers(pub Vec<Child>);

impl Readers {
    /// One reader of 4 KiB at each of the block numbers.
    pub fn of_blocks(path: &Path, blocks: impl Iterator<Item = usize>) -> Self {
        let spawn = |block: usize| {
            Command::new("dd")
                .arg(format!("if={}", path.display()))
                .args(["of=/dev/null", "bs=4096", "count=1", "iflag=direct"])
                .arg(format!("skip={block}"))
                .stderr(Stdio::null())
                .spawn()
                .expect("dd starts")
        };
        Self(blocks.map(spawn).collect())
    }

    /// The same, with the default action for each signal: dd handles SIGINT, and a handler cannot
    /// run before read(2) returns.
    fn without_handlers(path: &Path, blocks: impl Iterator<Item = usize>) -> Self {
        let script = "import os,signal,sys\n\
            signal.signal(signal.SIGINT,signal.SIG_DFL)\n\
            fd=os.open(sys.argv[1],os.O_RDONLY|os.O_DIRECT)\n\
            os.pread(fd,4096,int(sys.argv[2])*4096)\n";
        let spawn = |block: usize| {
            Command::new("python3")
                .args(["-c", script])
                .arg(path)
                .arg(block.to_string())
                .stderr(Stdio::null())
                .spawn()
                .expect("python3 starts")
        };
        Self(blocks.map(spawn).collect())
    }

    fn signal(&self, signal: Signal) {
        for child in &self.0 {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a pid"), signal).expect("a child of ours");
        }
    }

    /// Their ends, in order; panics when one does not end.
    pub fn wait_for_all(&mut self, what: &str) -> Vec<std::process::ExitStatus> {
        let mut ended = vec![None; self.0.len()];
        eventually(what, || {
            for (child, ended) in self.0.iter_mut().zip(&mut ended) {
                *ended = child.try_wait().expect("a child of ours");
            }
            ended.iter().all(Option::is_some)
        });
        ended.into_iter().flatten().collect()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
    }
}

/// Readers that the engine lets wait.
pub fn blocked(site: &Site) -> u64 {
    let sum = |instance: &serde_json::Value| instance["readers"]["blocked"].as_u64();
    site.instances().iter().filter_map(sum).sum()
}

/// No request for this file is answered from now on. It is looked up before: while a lookup waits,
/// the kernel lets further readers of that name wait in the kernel.
pub fn stall(site: &Site, origin: &Origin, name: &str) {
    let metadata = std::fs::metadata(site.mount_point().join(name));
    assert!(metadata.expect("stats").is_file());
    let rule = FaultRule::always(Fault::Stall).on(Scope::Path(name.into()));
    origin.faults().add(rule);
}

/// What was asked for in such a reader's name may still be fetched, but it ends.
fn through_the_page_cache(path: &Path) {
    for signal in [Signal::INT, Signal::KILL] {
        let spawn = |_| Command::new("cat").arg(path).spawn().expect("cat starts");
        let mut readers = Readers((0..5).map(spawn).collect());
        eventually("all wait", || {
            readers.0.iter().all(|child| waits(child.id()))
        });
        readers.signal(signal);
        let ended = readers.wait_for_all("killed readers end");
        assert!(ended.iter().all(|status| !status.success()), "{ended:?}");
    }
}

/// Whether a process is `cat` or `dd` in state D, which it is nowhere but in its read.
pub fn waits(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(cat) D") || stat.contains("(dd) D")
}

#[test]
fn h10_killed_while_blocked_readers_end_at_once_and_leave_nothing() {
    let test = "h10_killed_while_blocked_readers_end_at_once_and_leave_nothing";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let site = Site::new();
    put(&site, b"stuck", 1, 4 << 20);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    stall(&site, &origin, "stuck");
    let path = site.mount_point().join("stuck");
    for signal in [Signal::INT, Signal::KILL, Signal::TERM] {
        let mut readers = Readers::without_handlers(&path, (0..20).map(|n| n * 16));
        eventually("all are blocked", || blocked(&site) == 20);
        readers.signal(signal);
        let ended = readers.wait_for_all("killed readers end");
        assert!(ended.iter().all(|status| !status.success()), "{ended:?}");
        eventually("none is blocked", || blocked(&site) == 0);
    }
    through_the_page_cache(&path);
    origin.faults().clear();
    origin.drop_connections();
    site.umount();
}

#[test]
fn h10_a_reader_with_sa_restart_and_an_alarm_clock_never_sees_eintr() {
    let test = "h10_a_reader_with_sa_restart_and_an_alarm_clock_never_sees_eintr";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"slow", 1, 2 << 20);
    let origin = serve_plainly(&site);
    let slow = FaultRule::always(Fault::Latency(Duration::from_millis(150)));
    origin.faults().add(slow.on(Scope::Path(b"slow".to_vec())));
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    // libc's own read: Python's would repeat after EINTR by itself.
    let script = "import ctypes,os,signal,sys\n\
        libc=ctypes.CDLL(None,use_errno=True); libc.read.restype=ctypes.c_ssize_t\n\
        count=[0]\n\
        def alarm(*_): count[0]+=1\n\
        signal.signal(signal.SIGALRM,alarm); signal.siginterrupt(signal.SIGALRM,False)\n\
        signal.setitimer(signal.ITIMER_REAL,0.003,0.003)\n\
        fd=os.open(sys.argv[1],os.O_RDONLY|os.O_DIRECT); out=open(sys.argv[2],'wb')\n\
        buf=ctypes.create_string_buffer(131072)\n\
        while True:\n\
        \x20n=libc.read(fd,buf,len(buf))\n\
        \x20if n<0: sys.exit('errno %d'%ctypes.get_errno())\n\
        \x20if n==0: break\n\
        \x20out.write(buf.raw[:n])\n\
        signal.setitimer(signal.ITIMER_REAL,0)\n\
        print(count[0])\n";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(site.mount_point().join("slow"))
        .arg(site.path("seen"))
        .output()
        .expect("python3 runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let alarms: usize = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a count");
    assert!(alarms > 10, "{alarms} alarms prove nothing");
    assert!(std::fs::read(site.path("seen")).expect("reads") == bytes);
    site.umount();
}

#[test]
fn a_mount_with_blocked_readers_can_be_unmounted() {
    if !can_mount("a_mount_with_blocked_readers_can_be_unmounted") {
        return;
    }
    let site = Site::new();
    put(&site, b"stuck", 1, 1 << 20);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &[]);
    stall(&site, &origin, "stuck");
    let mut readers = Readers::of_blocks(&site.mount_point().join("stuck"), 0..3);
    eventually("all are blocked", || blocked(&site) == 3);
    let umount = |options: &[&str]| {
        let mut command = site.holdfast();
        command.arg("umount").args(options).arg(site.mount_point());
        command.output().expect("holdfast runs")
    };
    let refused = umount(&[]);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        words.contains("in use") && words.contains("--lazy"),
        "{words}"
    );
    assert!(umount(&["--lazy"]).status.success());
    assert!(!site.mount_point().join("stuck").exists());
    // Detached, they may still get their bytes; killed, they end, and with them the instance.
    for child in &mut readers.0 {
        child.kill().expect("a child of ours");
    }
    readers.wait_for_all("killed readers end");
    eventually("the instance winds down", || site.instances().is_empty());
}
