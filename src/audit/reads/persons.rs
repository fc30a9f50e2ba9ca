//! Who acts, kept for as long as it cannot change.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys;
use tenant_guard_core::reads::Who;

use crate::audit::transaction;
use crate::identity::binding;
use crate::versions;

struct Known {
    transaction: u32,
    identity: u64,
    roles: (pg_sys::Oid, pg_sys::Oid),
    who: Rc<Who>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Who acts now. Needs a transaction that has not failed.
pub(super) fn present() -> Rc<Who> {
    let (transaction, identity) = (versions::local_transaction(), binding::generation());
    let known = KNOWN.with_borrow(|known| {
        let known = known.as_ref()?;
        let same = known.transaction == transaction
            && known.identity == identity
            && transaction::is_current(&known.who, known.roles);
        same.then(|| Rc::clone(&known.who))
    });
    known.unwrap_or_else(|| {
        let who = Rc::new(transaction::who());
        // SAFETY: reads backend-local state.
        let roles = unsafe { (pg_sys::GetSessionUserId(), pg_sys::GetUserId()) };
        KNOWN.set(Some(Known {
            transaction,
            identity,
            roles,
            who: Rc::clone(&who),
        }));
        who
    })
}
