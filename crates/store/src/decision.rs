//! What is made of the files found on disk: one table for every combination.
//!
//! Invariant: nothing counts as present unless record, data file and boot all speak for it.

/// What the record file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordState {
    /// There is none.
    Missing,
    /// Too short, of another version, or a checksum fails: the incarnation it spoke of is unknown.
    Torn,
    /// A whole record of another object.
    OtherKeys,
    /// Whole, and this object's.
    Whole,
}

/// What the data file named by the record is, against the blocks that count in this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataState {
    /// There is none.
    Missing,
    /// It ends before a block that counts.
    Short,
    /// It reaches behind every block that counts.
    Long,
}

/// What the record's last writer knew of this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BootState {
    /// Written in this boot.
    Same,
    /// Written in another boot, and the durable bitmap had been synced.
    OtherSynced,
    /// Written in another boot, and never synced: its bitmaps say nothing.
    OtherNeverSynced,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// The object is not in the cache.
    Absent,
    /// Unlink the record, and every data file of this object whatever its incarnation.
    DiscardAll,
    /// Unlink the data file (if any) and the record.
    Discard,
    /// Use it; the blocks present this boot count.
    KeepPresent,
    /// Use it; the durable blocks count.
    KeepDurable,
    /// Use its size and validator; no block counts.
    KeepEmpty,
}

/// The table.
pub(crate) fn decide(record: RecordState, data: DataState, boot: BootState) -> Decision {
    match record {
        RecordState::Missing => Decision::Absent,
        RecordState::Torn | RecordState::OtherKeys => Decision::DiscardAll,
        RecordState::Whole => match data {
            // Short: somebody cut the file (a daemon could). What a later write filled with zeros below its end
            // cannot be told from data, so none of it is believed.
            DataState::Missing | DataState::Short => Decision::Discard,
            DataState::Long => keep(boot),
        },
    }
}

/// Which blocks count in this boot, if the data file holds them.
pub(crate) fn keep(boot: BootState) -> Decision {
    match boot {
        BootState::Same => Decision::KeepPresent,
        BootState::OtherSynced => Decision::KeepDurable,
        BootState::OtherNeverSynced => Decision::KeepEmpty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_decided() {
        use {BootState as B, DataState as D, Decision as X, RecordState as R};
        let boots = [B::Same, B::OtherSynced, B::OtherNeverSynced];
        let rows = [
            (R::Missing, D::Missing, [X::Absent; 3]),
            (R::Missing, D::Short, [X::Absent; 3]),
            (R::Missing, D::Long, [X::Absent; 3]),
            (R::Torn, D::Missing, [X::DiscardAll; 3]),
            (R::Torn, D::Short, [X::DiscardAll; 3]),
            (R::Torn, D::Long, [X::DiscardAll; 3]),
            (R::OtherKeys, D::Missing, [X::DiscardAll; 3]),
            (R::OtherKeys, D::Short, [X::DiscardAll; 3]),
            (R::OtherKeys, D::Long, [X::DiscardAll; 3]),
            (R::Whole, D::Missing, [X::Discard; 3]),
            (R::Whole, D::Short, [X::Discard; 3]),
            (
                R::Whole,
                D::Long,
                [X::KeepPresent, X::KeepDurable, X::KeepEmpty],
            ),
        ];
        for (record, data, decisions) in rows {
            for (boot, decision) in boots.into_iter().zip(decisions) {
                assert_eq!(
                    decide(record, data, boot),
                    decision,
                    "{record:?} {data:?} {boot:?}"
                );
            }
        }
    }
}
