//! The device thread: accepts daemons, hands requests out, takes answers in, buries the dead.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::{LeaseId, SessionId};
use holdfast_proto::command::COMMAND_BYTES_MAX;
use rustix::event::{Timespec, epoll};

use crate::engine::Engine;
use crate::failovers::Cause;

use super::command;
use super::delivery::{self, NewLease, Round};
use super::session::{Binding, Lease, Session};
use super::socket::{self, Packet};

/// Packets taken from one socket before the others get their turn.
const PACKETS_PER_TURN: usize = 64;
/// Events taken from the kernel at once.
const EVENTS_PER_TURN: usize = 256;

/// What a number of the event loop stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Waker,
    Socket(SessionId),
    Process(SessionId),
    Lease(SessionId, LeaseId),
}

/// How much of a socket is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// One turn's worth.
    Turn,
    /// Everything that is there (H17).
    All,
}

/// See the module.
pub(crate) struct DeviceLoop {
    engine: Arc<Engine>,
    epoll: OwnedFd,
    listener: OwnedFd,
    sources: HashMap<u64, Source>,
    sessions: HashMap<SessionId, Session>,
    next_token: u64,
    buffer: Vec<u8>,
}

impl DeviceLoop {
    /// A loop that accepts daemons on `listener`.
    ///
    /// # Errors
    /// The system's, from epoll.
    pub(crate) fn new(engine: Arc<Engine>, listener: OwnedFd) -> io::Result<Self> {
        let mut this = Self {
            engine: Arc::clone(&engine),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listener,
            sources: HashMap::new(),
            sessions: HashMap::new(),
            next_token: 0,
            // A byte more than the longest command, so that a longer one is seen to be.
            buffer: vec![0; COMMAND_BYTES_MAX + 1],
        };
        let token = this.token(Source::Listener);
        this.watch(&this.listener, token)?;
        let token = this.token(Source::Waker);
        this.watch(&engine.waker, token)?;
        Ok(this)
    }

    /// Runs for ever.
    ///
    /// # Errors
    /// The system's, when epoll itself fails.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let event: &epoll::Event = event;
                let flags = event.flags;
                // A source may have gone by an earlier event of this turn.
                if let Some(source) = self.sources.get(&event.data.u64()).copied() {
                    self.on_event(source, flags);
                }
            }
            self.engine.with_hub(|hub| {
                let now = hub.now();
                hub.core.handle_timeout(now);
            });
            self.do_decided();
        }
    }

    fn on_event(&mut self, source: Source, flags: epoll::EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Waker => self.engine.waker.drain(),
            Source::Process(session) => self.end_session(session),
            Source::Socket(session) => {
                if flags.contains(epoll::EventFlags::OUT) {
                    self.on_writable(session);
                }
                if self.drain_socket(session, Extent::Turn) == Some(Packet::HungUp) {
                    self.end_session(session);
                }
            }
            Source::Lease(session, lease) => {
                if self.drain_lease(session, lease, Extent::Turn) == Some(Packet::HungUp) {
                    self.on_lease_hung_up(session, lease);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let socket = match socket::accept(&self.listener) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "a daemon cannot be accepted");
                    return;
                }
            };
            let peer = match socket::peer(&socket) {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(%error, "a daemon is refused");
                    continue;
                }
            };
            let pid = peer.pid.as_raw_nonzero().get();
            match self.admit(socket, peer) {
                Ok(()) => tracing::info!(pid, "a daemon connected"),
                Err(error) => tracing::error!(pid, %error, "a daemon cannot be watched"),
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, peer: socket::Peer) -> io::Result<()> {
        let id = self
            .engine
            .with_hub(|hub| hub.core.session_started(hub.now()));
        let tokens = [
            self.token(Source::Socket(id)),
            self.token(Source::Process(id)),
        ];
        let watched = self
            .watch(&socket, tokens[0])
            .and_then(|()| self.watch(&peer.pidfd, tokens[1]));
        if let Err(error) = watched {
            for token in tokens {
                self.sources.remove(&token);
            }
            self.engine
                .with_hub(|hub| hub.core.session_ended(hub.now(), id));
            return Err(error);
        }
        self.engine
            .sessions
            .started(id, peer.pid.as_raw_nonzero().get());
        let session = Session {
            id,
            socket,
            peer,
            binding: Binding::Unbound,
            commands: 0,
            tokens,
            leases: HashMap::new(),
        };
        self.sessions.insert(id, session);
        Ok(())
    }

    /// Reads commands of a session; returns what ended the reading, `None` for an unknown session.
    fn drain_socket(&mut self, id: SessionId, extent: Extent) -> Option<Packet> {
        let session = self.sessions.get_mut(&id)?;
        for _ in 0..turns(extent) {
            match socket::receive(&session.socket, &mut self.buffer) {
                Packet::Bytes(len) => {
                    let number = session.commands;
                    session.commands = session.commands.wrapping_add(1);
                    let text = &self.buffer[..len];
                    if let Err(errno) = command::on_device(&self.engine, session, text) {
                        let text = String::from_utf8_lossy(text);
                        tracing::debug!(command = %text, %errno, "a command failed");
                        delivery::reject(session, number, errno);
                    }
                }
                end @ (Packet::Empty | Packet::HungUp) => return Some(end),
            }
        }
        Some(Packet::Empty)
    }

    /// Reads commands on a lease; returns what ended the reading, `None` for an unknown lease.
    fn drain_lease(&mut self, id: SessionId, lease: LeaseId, extent: Extent) -> Option<Packet> {
        let held = self.sessions.get(&id)?.leases.get(&lease)?;
        for _ in 0..turns(extent) {
            match socket::receive(&held.socket, &mut self.buffer) {
                Packet::Bytes(len) => {
                    let text = &self.buffer[..len];
                    if let Err(errno) = command::on_lease(&self.engine, lease, &held.object, text) {
                        let text = String::from_utf8_lossy(text);
                        tracing::debug!(command = %text, %errno, "a command on a lease failed");
                    }
                }
                end @ (Packet::Empty | Packet::HungUp) => return Some(end),
            }
        }
        Some(Packet::Empty)
    }

    /// What the daemon said before it closed counts, on the lease and on its socket (H17).
    fn on_lease_hung_up(&mut self, session: SessionId, lease: LeaseId) {
        let dying = self
            .sessions
            .get(&session)
            .is_some_and(|session| socket::is_dying(&session.peer));
        if self.drain_socket(session, Extent::All) == Some(Packet::HungUp) || dying {
            // The process is dying and closes everything; the lease was only first.
            return self.end_session(session);
        }
        self.drain_lease(session, lease, Extent::All);
        let known = self.forget_lease(session, lease);
        if known {
            self.engine.failovers.count(Cause::LeaseClosed);
            self.engine
                .with_hub(|hub| hub.core.lease_closed(hub.now(), lease));
        }
    }

    fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let cause = if socket::is_dying(&session.peer) {
            Cause::DaemonDied
        } else {
            Cause::SessionHungUp
        };
        let pid = session.peer.pid.as_raw_nonzero().get();
        tracing::info!(
            pid,
            ?cause,
            leases = session.leases.len(),
            "a session ended"
        );
        // From here on the process executes nothing more; only then may others have its objects
        // (H05, H06). What it had said before counts (H17).
        socket::kill(&session.peer);
        let leases: Vec<LeaseId> = session.leases.keys().copied().collect();
        self.drain_socket(id, Extent::All);
        for lease in leases {
            self.drain_lease(id, lease, Extent::All);
        }
        self.engine.failovers.count(cause);
        self.engine.sessions.ended(id);
        if let Some(session) = self.sessions.remove(&id) {
            for token in session.tokens {
                self.sources.remove(&token);
            }
            for lease in session.leases.values() {
                self.sources.remove(&lease.token);
            }
        }
        self.engine
            .with_hub(|hub| hub.core.session_ended(hub.now(), id));
    }

    fn on_writable(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            let data = epoll::EventData::new_u64(session.tokens[0]);
            if let Err(error) = epoll::modify(&self.epoll, &session.socket, data, flags) {
                tracing::error!(%error, "a session cannot be watched");
            }
            self.engine
                .with_hub(|hub| hub.core.session_writable(hub.now(), id));
        }
    }

    /// Does what the core decided, until it decides nothing more.
    fn do_decided(&mut self) {
        loop {
            let (ready, ended) = {
                let mut hub = self.engine.hub();
                (
                    std::mem::take(&mut hub.ready_sessions),
                    std::mem::take(&mut hub.ended_leases),
                )
            };
            if ready.is_empty() && ended.is_empty() {
                return;
            }
            for lease in ended {
                let holder = self.engine.sessions.holder(lease);
                if let Some(session) = holder {
                    self.forget_lease(session, lease);
                }
            }
            for session in ready {
                self.deliver(session);
            }
        }
    }

    fn deliver(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let mut leases = Vec::new();
        let round = delivery::deliver(&self.engine, session, &mut leases);
        let full = matches!(round, Round::Full);
        if full {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT;
            let data = epoll::EventData::new_u64(session.tokens[0]);
            if let Err(error) = epoll::modify(&self.epoll, &session.socket, data, flags) {
                tracing::error!(%error, "a session cannot be watched");
            }
        }
        for lease in leases {
            self.add_lease(id, lease);
        }
    }

    fn add_lease(&mut self, id: SessionId, new: NewLease) {
        let token = self.token(Source::Lease(id, new.id));
        if let Err(error) = self.watch(&new.socket, token) {
            // Dropping our end hangs the lease up; the core hears of it as of any other.
            tracing::error!(%error, "a lease cannot be watched");
            self.sources.remove(&token);
            self.engine
                .with_hub(|hub| hub.core.lease_closed(hub.now(), new.id));
            return;
        }
        self.engine.sessions.lease_given(id, new.id);
        let lease = Lease {
            socket: new.socket,
            token,
            object: new.object,
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.leases.insert(new.id, lease);
        }
    }

    /// Closes our end of a lease; true if there was one.
    fn forget_lease(&mut self, id: SessionId, lease: LeaseId) -> bool {
        self.engine.sessions.lease_ended(id, lease);
        let held = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.leases.remove(&lease));
        held.is_some_and(|held| self.sources.remove(&held.token).is_some())
    }

    fn watch(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, fd, data, flags)?)
    }

    fn token(&mut self, source: Source) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.sources.insert(token, source);
        token
    }

    fn timeout(&self) -> Option<Timespec> {
        let left = self.engine.hub().set_alarm()?;
        // Rounded up: waking early would find nothing to do and come straight back.
        let left = left + Duration::from_millis(1);
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }
}

fn turns(extent: Extent) -> usize {
    match extent {
        Extent::Turn => PACKETS_PER_TURN,
        Extent::All => usize::MAX,
    }
}
