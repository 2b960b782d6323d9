//! What was decided in a run about the offers of one sender, and what has to be decided next.
//! Values only: whoever looks at the disk and asks is `decide`.

use super::consent::{OnConflict, Policy};
use super::options::{Conflict, ReceiveOptions};
use crate::files::folder::Found;
use crate::files::path::RelPath;
use crate::protocol::pages::HASH_LEN;

/// Tells one offer from another.
pub type Fingerprint = [u8; HASH_LEN];

/// What becomes of what an interrupted run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    /// Nobody has said.
    Undecided,
    /// It is gone on with.
    Resume,
    /// Somebody was asked, and said no.
    Declined,
    /// It was never wanted: `--fresh`.
    Ignore,
}

/// What was decided: by options at first, then by answers. It outlives a connection, so that
/// nothing is asked twice, but not the run, and belongs to no other sender.
#[derive(Debug, Clone)]
pub struct Decisions {
    on_conflict: Option<Conflict>,
    policy: Policy,
    leftovers: Leftovers,
    /// The offer that somebody has said yes to.
    taken: Option<Fingerprint>,
}

/// What a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The offer, if somebody is there to be asked about it.
    pub asked_about: Option<Fingerprint>,
    /// Whether an interrupted run left something of it.
    pub has_leftovers: bool,
    /// Names that are taken and that nothing was agreed about.
    pub open: u64,
    /// How many of all that are taken are so for certain, whatever the content is.
    pub certain: u64,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask whether to go on with what an interrupted run left.
    AskResume,
    /// Ask what to do about names that are taken.
    AskConflict,
    /// Ask whether to take it at all.
    AskTake {
        /// Everything, though something of it is here.
        anew: bool,
    },
    /// Refuse: names are taken, and that was to be the end.
    Refuse,
    /// Take it.
    Take {
        /// So many get another name, which nobody was asked about.
        unasked: u64,
    },
}

impl Decisions {
    /// What the command line has decided already.
    pub fn new(options: &ReceiveOptions) -> Self {
        let policy = match options.on_conflict {
            Some(Conflict::Go(policy)) => policy,
            Some(Conflict::Fail) | None => OnConflict::Rename,
        };
        Self {
            on_conflict: options.on_conflict,
            policy: policy.into(),
            leftovers: if options.fresh { Leftovers::Ignore } else { Leftovers::Undecided },
            taken: None,
        }
    }

    /// What happens next. Nothing is asked twice, and no answer holds for what was not shown.
    pub fn next(&self, facts: &Facts) -> Next {
        let is_person = facts.asked_about.is_some();
        if is_person && facts.has_leftovers && self.leftovers == Leftovers::Undecided {
            return Next::AskResume;
        }
        let unasked = match self.on_conflict {
            _ if facts.open == 0 => 0,
            Some(Conflict::Go(_)) => 0,
            Some(Conflict::Fail) => return Next::Refuse,
            None if is_person => return Next::AskConflict,
            // Of others the content decides.
            None => facts.certain,
        };
        if self.is_new(facts.asked_about) {
            let anew = facts.has_leftovers && self.leftovers == Leftovers::Declined;
            return Next::AskTake { anew };
        }
        Next::Take { unasked }
    }

    /// Whether this offer, if somebody is asked at all, has not been said yes to. A sender that
    /// comes back with something else is asked about again.
    pub fn is_new(&self, offer: Option<Fingerprint>) -> bool {
        offer.is_some() && self.taken != offer
    }

    /// Whether anything has been said yes to.
    pub fn has_taken(&self) -> bool {
        self.taken.is_some()
    }

    /// Whether everything is to come anew.
    pub fn is_fresh(&self) -> bool {
        matches!(self.leftovers, Leftovers::Declined | Leftovers::Ignore)
    }

    /// About names that are taken.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The answer to [`Next::AskResume`]. Whoever goes on with an offer has taken it before.
    pub fn resume(&mut self, yes: bool, offer: Option<Fingerprint>) {
        if yes {
            (self.leftovers, self.taken) = (Leftovers::Resume, offer);
        } else {
            self.leftovers = Leftovers::Declined;
        }
    }

    /// An answer to [`Next::AskConflict`], about one name; another could have been to take nothing.
    pub fn agree(&mut self, path: &RelPath, found: Option<&Found>, answer: OnConflict) {
        self.policy.agree(path, found, answer);
    }

    /// The answer to [`Next::AskTake`], or what another one implies.
    pub fn take(&mut self, offer: Option<Fingerprint>) {
        self.taken = offer;
    }

    /// The plan is made: after a reconnection what was sent anew is not sent again.
    pub fn planned(&mut self) {
        self.leftovers = Leftovers::Resume;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Next::{AskConflict, AskResume, AskTake, Refuse, Take};

    const OFFER: Fingerprint = [1; HASH_LEN];
    const OTHER: Fingerprint = [2; HASH_LEN];

    /// What is decided next, in every case that the options, the disk and the answers make.
    #[test]
    fn what_is_decided_next() {
        let go = Some(Conflict::Go(OnConflict::Skip));
        let fail = Some(Conflict::Fail);
        let decided = |on_conflict, leftovers, taken| Decisions {
            on_conflict,
            policy: OnConflict::Rename.into(),
            leftovers,
            taken,
        };
        let (undecided, resume) = (Leftovers::Undecided, Leftovers::Resume);
        let (declined, ignore) = (Leftovers::Declined, Leftovers::Ignore);
        let (no_one, person) = (None, Some(OFFER));
        let (take, anew) = (AskTake { anew: false }, AskTake { anew: true });
        let (yes, here, taken) = (Take { unasked: 0 }, Some(OFFER), Some(OTHER));
        #[rustfmt::skip]
        let rows = [
            // options, leftovers, taken; who is asked, left, open, certain; what is next
            ((None, undecided, None), (person, false, 0, 0), take),
            ((None, undecided, None), (no_one, false, 0, 0), yes),
            // What an interrupted run left is the first question, and is asked once.
            ((None, undecided, None), (person, true, 3, 3), AskResume),
            ((fail, undecided, None), (person, true, 3, 3), AskResume),
            ((None, undecided, None), (no_one, true, 0, 0), yes),
            ((None, resume, here), (person, true, 0, 0), yes),
            ((None, declined, None), (person, true, 0, 0), anew),
            ((None, ignore, None), (person, true, 0, 0), take),
            ((None, ignore, None), (no_one, true, 0, 0), yes),
            // Names that are taken.
            ((None, undecided, None), (person, false, 3, 1), AskConflict),
            ((None, declined, None), (person, true, 3, 1), AskConflict),
            ((None, resume, here), (person, true, 3, 1), AskConflict),
            ((None, undecided, None), (no_one, false, 3, 1), Take { unasked: 1 }),
            ((None, undecided, None), (no_one, false, 3, 0), yes),
            ((None, undecided, None), (no_one, false, 0, 1), yes),
            ((go, undecided, None), (person, false, 3, 3), take),
            ((go, undecided, None), (no_one, false, 3, 3), yes),
            ((fail, undecided, None), (person, false, 3, 3), Refuse),
            ((fail, undecided, None), (no_one, false, 1, 0), Refuse),
            ((fail, undecided, None), (no_one, false, 0, 1), yes),
            // A yes holds for what it was said to.
            ((None, resume, here), (person, false, 0, 0), yes),
            ((None, resume, taken), (person, false, 0, 0), take),
            ((None, resume, taken), (person, true, 0, 0), take),
        ];
        for (row, ((told, left, taken), (asked_about, has_leftovers, open, certain), expected)) in
            rows.into_iter().enumerate()
        {
            let facts = Facts { asked_about, has_leftovers, open, certain };
            assert_eq!(decided(told, left, taken).next(&facts), expected, "row {row}: {facts:?}");
        }
    }

    /// Whoever has answered is not asked again, nor after a reconnection.
    #[test]
    fn answers_lead_on() {
        let offer = Some(OFFER);
        let facts = Facts { asked_about: offer, has_leftovers: true, open: 0, certain: 0 };
        let begun = Decisions {
            on_conflict: None,
            policy: OnConflict::Rename.into(),
            leftovers: Leftovers::Undecided,
            taken: None,
        };
        let mut goes_on = begun.clone();
        goes_on.resume(true, offer);
        assert_eq!(goes_on.next(&facts), Take { unasked: 0 });
        assert!(!goes_on.is_fresh());

        let mut anew = begun;
        anew.resume(false, offer);
        assert!(anew.is_fresh() && !anew.has_taken());
        assert_eq!(anew.next(&facts), AskTake { anew: true });
        anew.take(offer);
        assert_eq!(anew.next(&facts), Take { unasked: 0 });
        anew.planned();
        assert!(!anew.is_fresh(), "what was sent anew is not sent again");
        assert_eq!(anew.next(&facts), Take { unasked: 0 });
        assert_eq!(
            anew.next(&Facts { asked_about: Some(OTHER), ..facts }),
            AskTake { anew: false }
        );
    }
}
