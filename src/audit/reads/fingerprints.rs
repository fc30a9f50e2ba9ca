//! Fingerprints of statements, kept for the texts that come again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::statement;

/// Texts that are kept, and the longest of them, in bytes. They hold what constants the application
/// writes into its statements, in the memory of its own session.
const MOST: usize = 128;
const LONGEST: usize = 4_096;

/// Whether backslashes escape in it, and the text.
type Text = (bool, Box<[u8]>);
type Known = HashMap<Text, Rc<str>>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    static LAST: RefCell<Option<(Text, Rc<str>)>> = const { RefCell::new(None) };
}

/// The fingerprint of a statement as it runs in this session.
pub(super) fn fingerprint(text: &[u8]) -> Rc<str> {
    // SAFETY: reads a setting.
    let backslashes = unsafe { !pg_sys::standard_conforming_strings };
    let last = LAST.with_borrow(|last| {
        let ((mode, known), fingerprint) = last.as_ref()?;
        (*mode == backslashes && **known == *text).then(|| Rc::clone(fingerprint))
    });
    if let Some(last) = last {
        return last;
    }
    if text.len() > LONGEST {
        return compute(text, backslashes);
    }
    let key: Box<[u8]> = text.into();
    let fingerprint = KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST {
            known.clear();
        }
        let entry = known.entry((backslashes, key.clone()));
        Rc::clone(entry.or_insert_with(|| compute(text, backslashes)))
    });
    LAST.set(Some(((backslashes, key), Rc::clone(&fingerprint))));
    fingerprint
}

fn compute(text: &[u8], backslashes: bool) -> Rc<str> {
    statement::fingerprint(&String::from_utf8_lossy(text), backslashes).into()
}

/// The fingerprint that reads of this statement have in the log.
#[pg_extern(sql = false)]
fn statement_fingerprint(statement: &str) -> String {
    statement::fingerprint(statement, false)
}
