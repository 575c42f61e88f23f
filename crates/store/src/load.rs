//! What is on disk of an object, found and put right.
//!
//! Invariant: after [`load`] the files say for this boot exactly what the result says.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use holdfast_proto::BLOCK_BYTES;

use crate::boot::BootId;
use crate::decision::{BootState, DataState, Decision, RecordState, decide, keep};
use crate::files::{Files, RecordFile, open_data, unlink, unlink_all};
use crate::layout::ObjectName;
use crate::presence;
use crate::record::{BitmapPlace, Identity, State, Synced, parse};

/// An object as it was found.
pub(crate) struct Loaded {
    pub(crate) identity: Identity,
    pub(crate) state: State,
    /// The blocks that count.
    pub(crate) words: Vec<u64>,
    /// Whether all of them are durable.
    pub(crate) durable: bool,
    pub(crate) files: Files,
}

/// What was found, and what became of it.
pub(crate) enum Found {
    /// There is no such object.
    Absent,
    /// There was one of no use; its files are unlinked. Its blocks that had counted, if that is known.
    Discarded(Option<(Identity, Vec<u64>)>),
    /// It is usable.
    Usable(Box<Loaded>),
}

/// Looks at the record and the data file, decides, and acts. Costs one failed open when there is no record, else two opens, one read,
/// one `fstat`; two small writes more at the first time in a boot.
///
/// # Errors
/// What the kernel said to opening, reading, writing or unlinking, but for "no such file".
pub(crate) fn load(
    objects: &OwnedFd,
    name: &ObjectName,
    keys: (&[u8], &[u8]),
    boot: BootId,
) -> io::Result<Found> {
    let record = match RecordFile::open(objects, name) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return useless(objects, name, RecordState::Missing);
        }
        Err(error) => return Err(error),
    };
    let image = record.read_start()?;
    let (identity, state) = match parse(&image) {
        Some((identity, state)) if (&*identity.volume_key, &*identity.cookie_key) == keys => {
            (identity, state)
        }
        other => {
            let record_state = other.map_or(RecordState::Torn, |_| RecordState::OtherKeys);
            return useless(objects, name, record_state);
        }
    };
    let boot_state = boot_state(&state, boot);
    let words = counting_words(&record, &image, identity.bitmap_place(), boot_state)?;
    let (data_state, data) = data_state(objects, name, &identity, &words)?;
    match (decide(RecordState::Whole, data_state, boot_state), data) {
        (Decision::Absent | Decision::DiscardAll | Decision::Discard, _) | (_, None) => {
            unlink(objects, name, identity.incarnation)?;
            Ok(Found::Discarded(Some((identity, words))))
        }
        (Decision::KeepPresent, Some(data)) => {
            let durable = is_durable(&record, &image, &identity, &state, &words)?;
            Ok(usable(
                identity,
                state,
                words,
                durable,
                Files { data, record },
            ))
        }
        (Decision::KeepDurable | Decision::KeepEmpty, Some(data)) => {
            let state = adopt(
                &record,
                identity.bitmap_place(),
                state,
                boot_state,
                boot,
                &words,
            )?;
            Ok(usable(identity, state, words, true, Files { data, record }))
        }
    }
}

/// Acts where no record names a data file.
fn useless(objects: &OwnedFd, name: &ObjectName, record: RecordState) -> io::Result<Found> {
    match decide(record, DataState::Missing, BootState::OtherNeverSynced) {
        Decision::Absent => Ok(Found::Absent),
        Decision::DiscardAll | Decision::Discard => {
            unlink_all(objects, name)?;
            Ok(Found::Discarded(None))
        }
        Decision::KeepPresent | Decision::KeepDurable | Decision::KeepEmpty => {
            unreachable!("nothing is kept without a record")
        }
    }
}

fn usable(identity: Identity, state: State, words: Vec<u64>, durable: bool, files: Files) -> Found {
    Found::Usable(Box::new(Loaded {
        identity,
        state,
        words,
        durable,
        files,
    }))
}

fn boot_state(state: &State, boot: BootId) -> BootState {
    if state.boot == boot {
        return BootState::Same;
    }
    match state.synced {
        Synced::Once => BootState::OtherSynced,
        Synced::Never => BootState::OtherNeverSynced,
    }
}

/// The bitmap that counts in this boot.
fn counting_words(
    record: &RecordFile,
    image: &[u8],
    place: BitmapPlace,
    boot: BootState,
) -> io::Result<Vec<u64>> {
    match keep(boot) {
        Decision::KeepPresent => record.bitmap(image, place.present_offset(0), place),
        Decision::KeepDurable => record.bitmap(image, place.durable_offset(0), place),
        Decision::KeepEmpty => Ok(vec![0; usize::try_from(place.words).unwrap_or(0)]),
        Decision::Absent | Decision::DiscardAll | Decision::Discard => unreachable!("keep() keeps"),
    }
}

fn data_state(
    objects: &OwnedFd,
    name: &ObjectName,
    identity: &Identity,
    words: &[u64],
) -> io::Result<(DataState, Option<File>)> {
    let data = match open_data(objects, name, identity.incarnation) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((DataState::Missing, None));
        }
        Err(error) => return Err(error),
    };
    let needed_bytes =
        (presence::end_block(words) * BLOCK_BYTES).min(identity.size_bytes.unwrap_or(0));
    let state = if data.metadata()?.len() < needed_bytes {
        DataState::Short
    } else {
        DataState::Long
    };
    Ok((state, Some(data)))
}

fn is_durable(
    record: &RecordFile,
    image: &[u8],
    identity: &Identity,
    state: &State,
    words: &[u64],
) -> io::Result<bool> {
    let place = identity.bitmap_place();
    Ok(match state.synced {
        Synced::Never => words.iter().all(|word| *word == 0),
        Synced::Once => record.bitmap(image, place.durable_offset(0), place)? == words,
    })
}

/// Makes a record of another boot one of this boot: first the bitmaps, then the boot id that makes them count.
fn adopt(
    record: &RecordFile,
    place: BitmapPlace,
    state: State,
    was: BootState,
    boot: BootId,
    words: &[u64],
) -> io::Result<State> {
    record.write_words(place.present_offset(0), words)?;
    match was {
        BootState::Same | BootState::OtherSynced => {}
        // It may hold anything: it never reached the disk for certain.
        BootState::OtherNeverSynced => record.write_words(place.durable_offset(0), words)?,
    }
    let state = State {
        sequence: state.sequence + 1,
        boot,
        ..state
    };
    record.write_state(&state)?;
    Ok(state)
}
