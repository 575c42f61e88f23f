//! The state machine that decides whether a reader ever sees an error.
//!
//! It plays the part of Linux's `fs/cachefiles/ondemand.c` (6.12) without doing any input or output: calls
//! say what happened (a reader wants bytes, a daemon answered, a session died, time passed), and
//! [`Core::next_delivery`] and [`Core::poll_event`] say what the shell around it must do. There is no
//! clock, thread, file, socket, hash map or random source in here, so the same calls give the same
//! outputs, and every interleaving can be checked.
//!
//! # The parts
//! * an **object** is one backing file: CLOSE, OPEN, REOPENING or DROPPING ([`ObjectState`]);
//! * a **request** (OPEN, READ, CLOSE) is *new*, in *back-off* or *delivered* until it is answered;
//! * a **reader** waits for ranges of an object, and gets exactly one [`Event`];
//! * a **session** is one daemon's connection. It holds **leases**: an object that is OPEN belongs to the one
//!   session that holds its lease.
//!
//! # Invariants (checked by [`Core::check_invariants`])
//! * Every missing byte that a reader waits for lies in exactly one READ of its object; the READs of an object
//!   are disjoint, so a range is asked for once however many want it.
//! * An object with a READ is OPEN, or has exactly one OPEN request under way. So no READ waits for nobody.
//! * A request stands in a ready queue exactly when some session may take it now; a READ of an object that is
//!   being reopened stands in none and costs nobody anything.
//! * An object has at most one live lease, and a delivered request names a lease that lives. Losing the lease or
//!   its session makes the request new again; an answer that names anything else is refused.
//! * A session that can take something has been told so by [`Event::SessionReady`].
//!
//! # Costs
//! Every call is O(log n) in the number of objects, requests and readers, plus what it changes. Idle objects,
//! waiting readers and skipped requests are never scanned. Work is linear in the number of *sessions* where
//! all must be told of an OPEN, in the READs of *one object* when its lease is lost or regained, and in the number of *wanted objects* when the last serving session ends.
//!
//! # Example
//! A reader wants a block; the first daemon dies with the request, the second one serves it.
//! ```
//! use core::time::Duration;
//! use holdfast_core::{Config, Core, DeliveryBody, Event, OutagePolicy, ReaderId};
//! use holdfast_proto::ByteRange;
//!
//! let (mut core, now) = (Core::new(Config::default()), Duration::ZERO);
//! let object = core.insert_object(OutagePolicy::Wait);
//! core.read(now, object, ReaderId(1), &[ByteRange::new(0, 4096).unwrap()]);
//! let dying = core.session_started(now);
//! core.grant_credits(now, dying, 1);
//! core.next_delivery(now, dying).expect("an OPEN");
//! core.session_ended(now, dying);
//!
//! let session = core.session_started(now);
//! core.grant_credits(now, session, 2);
//! let open = core.next_delivery(now, session).expect("the same OPEN, with a fresh lease");
//! core.copen(now, session, open.msg_id, Ok(4096)).expect("it was handed to this session");
//! let read = core.next_delivery(now, session).expect("the READ");
//! let DeliveryBody::Read { lease, .. } = read.body else { panic!("{read:?}") };
//! core.cread(now, lease, read.msg_id, Ok(())).expect("it was handed out with this lease");
//! let events: Vec<Event> = std::iter::from_fn(|| core.poll_event()).collect();
//! assert!(events.contains(&Event::ReaderReady { reader: ReaderId(1) }));
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod counters;
mod event;
#[cfg(test)]
mod footprint;
mod id;
mod lap;
mod lease;
mod machine;
mod moment;
mod object;
mod read_table;
mod reply;
mod request;
mod session;
mod share;
mod timer;
mod waiter;

pub use config::{Config, OutagePolicy};
pub use counters::{Counters, ObjectCounts};
pub use event::{Delivery, DeliveryBody, DeliveryRetry, Event};
pub use id::{LeaseId, ObjectId, ReaderId, SessionId};
pub use machine::Core;
pub use object::ObjectState;
pub use reply::ReplyError;
