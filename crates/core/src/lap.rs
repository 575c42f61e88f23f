//! Whose turn it is: numbers are served in cyclic order, one lap after the other.
//!
//! The kernel's cursor (`req_id_next`) alone lets old numbers starve: while new requests keep coming there is always one
//! ahead of the cursor, and what a `restore` or a death made new again, behind it, is never reached. So a lap ends at
//! the newest number there was when it began; the next lap begins with the oldest.

use holdfast_proto::MessageId;

use crate::request::successor;

/// How many numbers there are.
const WHOLE: u64 = 1 << 32;

/// A position in a lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lap {
    /// The number from which selection goes on.
    pub(crate) cursor: MessageId,
    /// How many numbers from the cursor on belong to this lap.
    left: u64,
}

impl Default for Lap {
    fn default() -> Self {
        Self {
            cursor: MessageId(0),
            left: 0,
        }
    }
}

/// A whole lap that begins with the oldest number, given the one that will be given out next.
impl From<MessageId> for Lap {
    fn from(newest: MessageId) -> Self {
        Self {
            cursor: newest,
            left: WHOLE,
        }
    }
}

impl Lap {
    /// The position after `id` was served; `None` when `id` is not of this lap any more.
    pub(crate) fn after(self, id: MessageId) -> Option<Self> {
        let passed = u64::from(id.0.wrapping_sub(self.cursor.0)) + 1;
        Some(Self {
            cursor: successor(id),
            left: self.left.checked_sub(passed)?,
        })
    }

    /// The position before `id`, which was served last, or some time before, in vain.
    pub(crate) fn back_to(self, id: MessageId) -> Self {
        let back = u64::from(self.cursor.0.wrapping_sub(id.0));
        Self {
            cursor: id,
            left: (self.left + back).min(WHOLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_has_every_number_once() {
        let lap = Lap::from(MessageId(5));
        let lap = lap.after(MessageId(7)).unwrap();
        let lap = lap.after(MessageId(u32::MAX)).unwrap();
        let lap = lap.after(MessageId(3)).unwrap();
        assert_eq!(lap.after(MessageId(2)), None, "behind");
        assert_eq!(lap.after(MessageId(5)), None, "newer than the lap");
        let end = lap.after(MessageId(4)).unwrap();
        assert_eq!(end.after(MessageId(5)), None);
        assert_eq!(end.back_to(MessageId(4)), lap);
    }
}
