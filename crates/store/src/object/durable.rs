//! From *present this boot* to *durable*.
//!
//! Invariant: a block's durable bit reaches the record only after a sync that proves its bytes are on disk.

use std::sync::Arc;

use super::{History, Object, Record};
use crate::error::{DurableError, RecordError};
use crate::files::Files;
use crate::handles::lock;
use crate::presence::Presence;
use crate::record::{State, Synced};

impl Object {
    /// Makes what is present now survive a power cut: syncs the data, then records it, then syncs the record.
    ///
    /// Blocks marked meanwhile stay present this boot only. Costs one `fdatasync` of each file (two of the record the first
    /// time); marks and reads go on meanwhile.
    ///
    /// # Errors
    /// [`DurableError::SizeUnknown`]; [`DurableError::Unprovable`] when the files were closed since the first write (too many others
    /// were in use, or the process that opened them ended); [`DurableError::SyncFailed`]: all that was not durable is absent now;
    /// [`DurableError::Record`] when the record could not be written or synced, or the incarnation was unlinked: durable is what was.
    pub fn make_durable(&self) -> Result<(), DurableError> {
        let presence = self.presence.get().ok_or(DurableError::SizeUnknown)?;
        let _syncing = lock(&self.syncing);
        let (files, snapshot) = {
            let record = lock(&self.record);
            record.check_linked()?;
            let files = match &record.history {
                History::Clean => return Ok(()),
                History::Since(files) => files.upgrade().ok_or(DurableError::Unprovable)?,
                History::Broken => return Err(DurableError::Unprovable),
            };
            (files, presence.load(0..record.place.words))
        };
        if let Err(error) = files.data.sync_data() {
            self.revert(&files, presence)?;
            return Err(DurableError::SyncFailed(error));
        }
        let mut record = lock(&self.record);
        record.check_linked()?;
        record.promote(&files, presence, &snapshot)?;
        Ok(())
    }

    /// Goes back to what is durable: the bytes of the rest may be lost though the page cache still has them.
    fn revert(&self, files: &Arc<Files>, presence: &Presence) -> Result<(), RecordError> {
        let record = lock(&self.record);
        let durable = match record.state.synced {
            Synced::Once => files
                .record
                .read_words(record.place.durable_offset(0), record.place.words),
            Synced::Never => Ok(Vec::new()),
        };
        // Unreadable counts as nothing durable: less present is always safe.
        let mut durable = durable.unwrap_or_default();
        self.retain(&record, presence, &durable);
        durable.resize(usize::try_from(record.place.words).unwrap_or(0), 0);
        Ok(files
            .record
            .write_words(record.place.present_offset(0), &durable)?)
    }
}

impl Record {
    /// Adds the blocks of `snapshot` that are still present to the durable bitmap.
    fn promote(
        &mut self,
        files: &Files,
        presence: &Presence,
        snapshot: &[u64],
    ) -> Result<(), RecordError> {
        let present = presence.load(0..self.place.words);
        // All that was durable before is still present, and was in the snapshot; what was taken back is in neither.
        let durable: Vec<u64> = present
            .iter()
            .zip(snapshot)
            .map(|(now, then)| now & then)
            .collect();
        files
            .record
            .write_words(self.place.durable_offset(0), &durable)?;
        files.record.sync()?;
        match self.state.synced {
            Synced::Once => Ok(()),
            Synced::Never => {
                // Only now: before the sync above, a power cut could leave anything where the bitmap is.
                self.write_state(
                    files,
                    State {
                        synced: Synced::Once,
                        ..self.state
                    },
                )?;
                Ok(files.record.sync()?)
            }
        }
    }
}
