//! Checks of events by themselves, for whoever takes some of them out of the log.

use std::collections::BTreeSet;

use super::events::{Contexts, check_event, named};
use super::found::Findings;
use super::retained::OWN_DATA_GONE;
use crate::event::{Context, EventKey, Kind};
use crate::ledger::finding::{Code, Finding};
use crate::ledger::stored::{Opening, StoredEvent};

/// Checks events and the contexts that they name, each transaction's contexts before its events. What
/// damage it finds is what a verification would find of them.
pub struct EventChecks {
    contexts: Contexts,
    buffer: Vec<u8>,
    findings: Findings,
    gone: BTreeSet<(String, EventKey)>,
}

impl EventChecks {
    /// Begins. With `all`, all events of each transaction are given, so that each context is named.
    pub fn new(all: bool) -> Self {
        Self {
            contexts: Contexts::new(all),
            buffer: Vec::with_capacity(1024),
            findings: Findings::default(),
            gone: BTreeSet::new(),
        }
    }

    /// Takes a context and the hash that is stored with it.
    pub fn context(&mut self, context: &Context<'_>, hash: &[u8]) {
        self.contexts.add(context, hash, &mut self.findings);
    }

    /// Takes an event.
    pub fn event(&mut self, event: &StoredEvent<'_>) {
        let (contexts, findings) = (&mut self.contexts, &mut self.findings);
        check_event(event, None, contexts, &mut self.buffer, findings);
        if event.is_pruned() && event.entry.kind == Kind::System.as_str() {
            findings.push(named(event, None, Code::DataMissing, OWN_DATA_GONE));
        }
        if event.opening() == Opening::Gone && !event.is_pruned() {
            let account = event.entry.account.to_owned();
            self.gone.insert((account, event.entry.key));
        }
    }

    /// Ends, with what was found, and the accounts and keys of events whose personal values an erasure must
    /// account for.
    pub fn finish(mut self) -> (Vec<Finding>, BTreeSet<(String, EventKey)>) {
        self.contexts.leave(&mut self.findings);
        self.findings.close();
        (self.findings.take(), self.gone)
    }
}
