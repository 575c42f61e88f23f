//! Sockets and threads of an origin.
//!
//! Invariants: a second socket is bound to the port for as long as the origin lives, so that nobody takes the port while
//! connections are refused; connections are tasks of one set, so that they can all be closed at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::handler::Handler;
use super::{OriginConfig, StartError};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// After accept(2) failed (no descriptors left, mostly) it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

enum Command {
    SetListening(bool, blocking::SyncSender<()>),
    DropConnections(blocking::SyncSender<()>),
    Stop,
}

/// The way to tell the server's thread something.
#[derive(Debug)]
pub(super) struct Commands {
    sender: mpsc::UnboundedSender<Command>,
}

pub(super) struct Started {
    pub addr: SocketAddr,
    pub commands: Commands,
    pub thread: JoinHandle<()>,
}

impl Commands {
    pub fn set_listening(&self, listening: bool) {
        self.ask(|done| Command::SetListening(listening, done));
    }

    pub fn drop_connections(&self) {
        self.ask(Command::DropConnections);
    }

    pub fn stop(&self) {
        // An error means that the thread is gone already.
        let _ = self.sender.send(Command::Stop);
    }

    fn ask(&self, command: impl FnOnce(blocking::SyncSender<()>) -> Command) {
        let (done, wait) = blocking::sync_channel(1);
        if self.sender.send(command(done)).is_ok() {
            // An error means that the thread ended meanwhile: then nothing listens and nothing is connected.
            let _ = wait.recv();
        }
    }
}

/// Starts the thread and waits until it listens.
pub(super) fn start(config: &OriginConfig, handler: Handler) -> Result<Started, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.max(1))
        .thread_name("origin")
        .enable_all()
        .build()
        .map_err(StartError::Threads)?;
    let (port_keeper, listener) = {
        let _context = runtime.enter();
        bind(config.port).map_err(|source| StartError::Listen {
            port: config.port,
            source,
        })?
    };
    let addr = listener.local_addr().map_err(|source| StartError::Listen {
        port: config.port,
        source,
    })?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let serve = move || {
        runtime.block_on(serve(listener, addr, receiver, Arc::new(handler)));
        drop(port_keeper);
        // Not waiting for threads inside a read of a disk; they hold nothing that matters.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new()
        .name("origin-accept".into())
        .spawn(serve)
        .map_err(StartError::Threads)?;
    Ok(Started {
        addr,
        commands: Commands { sender },
        thread,
    })
}

/// The socket that keeps the port, and one that listens on it.
fn bind(port: u16) -> io::Result<(TcpSocket, TcpListener)> {
    let keeper = bound_socket(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = bound_socket(keeper.local_addr()?)?.listen(BACKLOG)?;
    Ok((keeper, listener))
}

fn bound_socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Both, for both sockets: a listening and a keeping socket share the port, and closed connections do not hold it.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

async fn serve(
    listener: TcpListener,
    addr: SocketAddr,
    mut commands: mpsc::UnboundedReceiver<Command>,
    handler: Arc<Handler>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None | Some(Command::Stop) => break,
                Some(Command::DropConnections(done)) => {
                    connections.shutdown().await;
                    // The asker may have gone; nobody needs to know then.
                    let _ = done.send(());
                }
                Some(Command::SetListening(false, done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(());
                }
                Some(Command::SetListening(true, done)) => {
                    if listener.is_none() {
                        listener = listen_again(addr).await;
                    }
                    let _ = done.send(());
                }
            },
            accepted = accept(listener.as_ref()) => {
                handler.count_connection();
                connections.spawn(connection(accepted, Arc::clone(&handler)));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    connections.shutdown().await;
}

/// Listens on the port that the other socket kept; retried, because descriptors may be short for a moment.
async fn listen_again(addr: SocketAddr) -> Option<TcpListener> {
    for _ in 0..500 {
        match bound_socket(addr).and_then(|socket| socket.listen(BACKLOG)) {
            Ok(listener) => return Some(listener),
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
    None
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn connection(stream: TcpStream, handler: Arc<Handler>) {
    // Without it the last small segment of a response could wait for an acknowledgement; it is no more than slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handler.handle(request));
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // Clients that hang up and faults that close connections end here; the counters tell what was served.
    drop(served);
}
