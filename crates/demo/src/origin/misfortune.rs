//! What one request meets: the sum of the faults that apply to it.

use std::time::Duration;

use super::faults::Fault;

/// How a file differs from the one on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// XORed into every byte of the body.
    pub content_xor: u8,
    /// Goes into the entity tag and, in seconds, onto `Last-Modified`.
    pub validator_step: u32,
}

/// What one request meets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Misfortune {
    pub latency: Duration,
    pub instead: Option<Instead>,
    pub body: Option<BodyFault>,
    pub content_length_delta_bytes: i64,
    pub range_delta_bytes: u64,
    pub throttle_bytes_per_second: Option<u64>,
}

/// What comes instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instead {
    Stall,
    Drop,
    Status(u16),
    Redirect(String),
}

/// What ends a body early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    Stall { after_bytes: u64 },
    Drop { after_bytes: u64 },
}

impl Misfortune {
    pub(super) fn suffer(&mut self, fault: &Fault) {
        let mut instead = |what: Instead| {
            self.instead.get_or_insert(what);
        };
        match fault {
            Fault::Latency(time) => self.latency += *time,
            Fault::Stall => instead(Instead::Stall),
            Fault::Drop => instead(Instead::Drop),
            Fault::Status { code } => instead(Instead::Status(*code)),
            Fault::Redirect { location } => instead(Instead::Redirect(location.clone())),
            Fault::StallInBody { after_bytes } => {
                self.body.get_or_insert(BodyFault::Stall {
                    after_bytes: *after_bytes,
                });
            }
            Fault::DropInBody { after_bytes } => {
                self.body.get_or_insert(BodyFault::Drop {
                    after_bytes: *after_bytes,
                });
            }
            Fault::ContentLengthOffBy { delta_bytes } => {
                self.content_length_delta_bytes += delta_bytes
            }
            Fault::RangeOffBy { delta_bytes } => self.range_delta_bytes += delta_bytes,
            Fault::Throttle { bytes_per_second } => {
                self.throttle_bytes_per_second
                    .get_or_insert(*bytes_per_second);
            }
        }
    }
}
