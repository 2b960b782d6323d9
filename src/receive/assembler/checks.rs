//! Files that came to their end: named, or put by where blocks differ. One that was gone on with
//! waits for that until what was here before has been compared.

use std::time::Duration;

use super::named::Named;
use super::{Assembler, Take};
use crate::control;
use crate::protocol::pages::HASH_LEN;
use crate::protocol::reason::Reason;
use crate::protocol::session::{OUT_OF_TURN, Stop};
use crate::receive::blocks::Damage;
use crate::receive::writer::FileWriter;

/// A file whose content came to its end.
pub(super) struct Ended {
    pub(super) index: u32,
    pub(super) writer: FileWriter,
    pub(super) hash: [u8; HASH_LEN],
    /// Blocks that came and differ from the state behind them.
    pub(super) damage: Damage,
}

impl Assembler<'_> {
    /// Names the files of which all is compared by now. Waits a moment where more than `most` are
    /// left; tells whether no more are.
    pub fn settle_checks(&mut self, most: usize) -> Take<bool> {
        control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
        let mut wait = if self.ended.len() > most { control::SLICE } else { Duration::ZERO };
        let mut at = 0;
        while let Some((check, _)) = self.ended.get(at) {
            let found = check.found_within(std::mem::take(&mut wait));
            // What it found when it was stopped says nothing.
            control::check().map_err(|error| Stop::Own(Reason::Interrupted, error))?;
            match found {
                Some(found) => {
                    let (_, mut ended) = self.ended.remove(at);
                    ended.damage.join(found);
                    self.conclude_whole(ended)?;
                }
                None => at += 1,
            }
        }
        Ok(self.ended.len() <= most)
    }

    /// Names a file that came, or keeps it until what differs came again.
    pub(super) fn conclude_whole(&mut self, ended: Ended) -> Take {
        let Ended { index, writer, hash, damage } = ended;
        let entry = self.tree.manifest.get(index).ok_or(OUT_OF_TURN)?;
        // Where the disk is full now, the next run goes on with what is here.
        self.going.insert(index, writer.states().to_vec());
        self.let_go(index)?;
        let arrived = match self.damage_of(damage, &writer, (entry, hash)) {
            Some(damage) if damage.is_empty() => self.name(index, entry, writer, hash),
            Some(damage) => self.put_by(index, entry, writer, (hash, damage)),
            None => {
                self.tree.discard(index, entry, writer);
                Ok(Named::Again)
            }
        };
        let arrived = self.survive(index, arrived)?;
        self.going.remove(&index);
        self.settled(index, entry, hash, arrived);
        Ok(())
    }
}
