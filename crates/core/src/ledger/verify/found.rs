//! What was found so far.

use crate::ledger::finding::{Code, Finding};

/// So many findings are listed: a ledger in which every row is damaged must not fill the memory of
/// whoever verifies it.
pub(super) const MOST_FINDINGS: usize = 100_000;

/// The findings, of which no more than [`MOST_FINDINGS`] are ever kept.
#[derive(Default)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    /// Those listed that were taken.
    taken: usize,
    /// Those beyond, which are counted only, and what the last of them was.
    unlisted: usize,
    last: Option<Code>,
}

/// How many there were at some moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    listed: usize,
    unlisted: usize,
    last: Option<Code>,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.push_with(finding.code, || finding);
    }

    /// Adds one that need not be made where it is counted only.
    pub(super) fn push_with(&mut self, code: Code, finding: impl FnOnce() -> Finding) {
        if self.taken + self.listed.len() < MOST_FINDINGS {
            self.listed.push(finding());
        } else {
            self.unlisted += 1;
            self.last = Some(code);
        }
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.push(finding);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            listed: self.taken + self.listed.len(),
            unlisted: self.unlisted,
            last: self.last,
        }
    }

    /// Forgets those since `mark`, none of which was taken.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.listed.truncate(mark.listed.saturating_sub(self.taken));
        (self.unlisted, self.last) = (mark.unlisted, mark.last);
    }

    pub(super) fn take(&mut self) -> Vec<Finding> {
        self.taken += self.listed.len();
        std::mem::take(&mut self.listed)
    }

    /// Says, as a last one, how many are not listed.
    pub(super) fn close(&mut self) {
        if let Some(code) = self.last.take() {
            let count = self.unlisted;
            let detail = format!("and {count} more findings, of this and other kinds");
            self.listed.push(Finding::new(code, detail));
        }
    }
}
