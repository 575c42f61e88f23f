//! Descriptors outlive the process that stored them.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use holdfast_keeper::Role;
use holdfast_keeper::status::ProcessState;
use libtest_mimic::{Failed, Trial};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, sendmsg_addr,
    socket,
};
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::harness::{Keeper, signal};
use crate::keeper_process::RoleSpec;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "descriptors_come_back_under_their_names_with_their_content",
            come_back,
        ),
        Trial::test(
            "a_descriptor_sent_in_the_last_instant_of_a_life_is_kept",
            last_will,
        ),
        Trial::test(
            "h16_descriptors_lost_on_the_way_are_noticed_and_harm_nobody",
            truncated,
        ),
        Trial::test("a_process_that_is_no_child_is_not_heard", foreign_sender),
        Trial::test("removed_descriptors_are_gone_and_others_stay", removed),
        Trial::test("a_daemon_inherits_only_what_its_role_names", named),
    ]
}

fn ready_engine(keeper: &Keeper, restarts: u64) -> u32 {
    let slot = keeper.until_slot(0, "a ready engine", |slot| {
        slot.state == ProcessState::Ready && slot.restarts == restarts
    });
    slot.pid.expect("a ready process")
}

fn come_back() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "stores")]);
    for life in 0..30 {
        let pid = ready_engine(&keeper, life);
        let status = keeper.status();
        assert_eq!(
            status.stored_descriptors,
            ["journal", "journal", "listener"],
            "stored once, though offered again"
        );
        assert_eq!(status.processes[0].status_text, "all stored");
        let seen = keeper.seen().pop().expect("it lives");
        if life == 0 {
            assert_eq!((seen.inherited.len(), seen.listen_pid), (0, None));
        } else {
            assert_eq!(
                seen.listen_pid,
                Some(pid.to_string()),
                "LISTEN_PID is the child's own"
            );
            let names: Vec<&str> = seen
                .inherited
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(names, ["journal", "journal", "listener"]);
            assert_eq!(
                seen.inherited[0].1,
                format!("one{}", "+".repeat(life as usize - 1))
            );
            assert_eq!(seen.inherited[1].1, "two");
            assert_eq!(seen.others, Vec::<String>::new(), "nothing else leaks");
        }
        // Connects while the engine does not accept, and is answered by its successor.
        let mut client = UnixStream::connect(keeper.dir().join("listener"))?;
        signal(pid, Signal::KILL);
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        assert_ne!(answer, pid.to_string());
        assert_eq!(answer, ready_engine(&keeper, life + 1).to_string());
    }
    Ok(())
}

fn last_will() -> Result<(), Failed> {
    for _ in 0..20 {
        let keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "stores_and_dies")]);
        ready_engine(&keeper, 1);
        let seen = keeper.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            seen[1].inherited,
            [("will".to_owned(), "last will".to_owned())]
        );
    }
    Ok(())
}

fn truncated() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "stores_many")]);
    let pid = ready_engine(&keeper, 0);
    let limit = Rlimit {
        current: Some(40),
        maximum: Some(40),
    };
    prlimit(Some(keeper.pid()), Resource::Nofile, limit)?;
    std::fs::write(keeper.dir().join("send"), "")?;
    keeper.until_slot(0, "the barriers are passed", |slot| {
        slot.status_text == "sent"
    });
    assert_eq!(
        keeper.status().stored_descriptors,
        ["one"],
        "the message that lost descriptors counts for nothing"
    );
    assert!(
        keeper.log().contains("did not all arrive"),
        "{}",
        keeper.log()
    );
    let open = std::fs::read_dir(format!("/proc/{}/fd", keeper.pid().as_raw_pid()))?.count();
    assert!(open < 30, "the keeper kept {open} descriptors open");
    std::fs::remove_file(keeper.dir().join("send"))?;
    signal(pid, Signal::KILL);
    ready_engine(&keeper, 1);
    assert_eq!(
        keeper.seen().pop().expect("it lives").inherited,
        [("one".to_owned(), "many".to_owned())]
    );
    Ok(())
}

/// Sends as the test program itself, which is no child of the keeper.
fn send(keeper: &Keeper, text: &str, descriptor: &OwnedFd) -> Result<(), Failed> {
    let sender = socket(rustix::net::AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let address = SocketAddrUnix::new(keeper.run_dir().join("notify.sock"))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [descriptor.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    let text = [std::io::IoSlice::new(text.as_bytes())];
    sendmsg_addr(&sender, &address, &text, &mut control, SendFlags::empty())?;
    Ok(())
}

fn foreign_sender() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "never_ready")]);
    let slot = keeper.until_slot(0, "a process", |slot| slot.pid.is_some());
    let descriptor = memfd_create("foreign", MemfdFlags::CLOEXEC)?;
    send(&keeper, "FDSTORE=1\nFDNAME=foreign", &descriptor)?;
    let (mut reader, writer) = std::io::pipe()?;
    // MAINPID is what the text says; the kernel says who sent it.
    send(
        &keeper,
        &format!(
            "READY=1\nSTOPPING=1\nMAINPID={}",
            slot.pid.expect("checked")
        ),
        &writer.into(),
    )?;
    assert_eq!(
        reader.read(&mut [0])?,
        0,
        "the keeper closed the descriptor"
    );
    assert_eq!(keeper.status().stored_descriptors, Vec::<String>::new());
    assert_eq!(keeper.status().processes[0].state, ProcessState::Starting);
    assert_eq!(keeper.log().matches("no child").count(), 2);
    Ok(())
}

fn removed() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "removes")]);
    let pid = ready_engine(&keeper, 0);
    assert_eq!(keeper.status().stored_descriptors, ["kept"]);
    signal(pid, Signal::KILL);
    ready_engine(&keeper, 1);
    assert_eq!(
        keeper.seen().pop().expect("it lives").inherited,
        [("kept".to_owned(), "3".to_owned())]
    );
    Ok(())
}

fn named() -> Result<(), Failed> {
    let mut listening = RoleSpec::new(Role::Daemon, "ready");
    listening.inherits = Some(vec!["listener".to_owned()]);
    let roles = vec![
        RoleSpec::new(Role::Engine, "stores"),
        listening,
        RoleSpec::new(Role::Daemon, "ready"),
    ];
    let keeper = Keeper::start(roles);
    ready_engine(&keeper, 0);
    for (slot, expected) in [(1, vec!["listener"]), (2, vec![])] {
        let first = keeper.until_slot(slot, "a ready daemon", |slot| {
            slot.state == ProcessState::Ready
        });
        signal(first.pid.expect("ready"), Signal::KILL);
        let next = keeper.until_slot(slot, "its successor", |slot| {
            slot.restarts == 1 && slot.state == ProcessState::Ready
        });
        let seen = keeper
            .seen()
            .into_iter()
            .find(|seen| Some(seen.pid) == next.pid)
            .expect("it is ready");
        let names: Vec<&str> = seen
            .inherited
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, expected);
    }
    Ok(())
}
