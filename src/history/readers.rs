//! Which roles of the product read the log of their account.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::assurance;
use tenant_guard_core::identity::IdentityView;
use tenant_guard_core::permission::{Role, Roles};

use crate::audit::record::record_system;
use crate::catalog::{as_owner, our_table, write};
use crate::error::{Error, OrRaise};
use crate::identity::binding;
use crate::isolation::{is_admin, is_role};
use crate::ledger::rows::{for_each_row, with_catalog_snapshot};
use crate::raw::{raw_function, return_null};
use crate::watch::Watch;

static WATCH: Watch = Watch::new(c"log_reader");

/// The roles that read it, those that inherit one of them included, with the levels of assurance that
/// each asks for.
type Readers = Vec<(String, BTreeSet<String>)>;

thread_local! {
    static READERS: RefCell<Rc<Readers>> = RefCell::default();
    /// The last answer, with the identity it was about.
    static ANSWER: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
}

/// Lets a role of the product, and all that inherit it, read the log of their account.
#[pg_extern(sql = false)]
fn allow_log(role: Option<&str>) {
    let role = role.ok_or(Error::NullArgument("role")).or_raise();
    if !is_admin() {
        Error::NotAdmin.raise();
    }
    is_role(role).or_raise();
    let added = write(
        "INSERT INTO tenant_guard.log_reader (role) VALUES ($1) ON CONFLICT DO NOTHING",
        &[role.into()],
    );
    if added == 0 {
        notice!("role \"{role}\" reads the log of its account already");
        return;
    }
    record("allow_log", role);
}

/// Takes that back.
#[pg_extern(sql = false)]
fn disallow_log(role: Option<&str>) {
    let role = role.ok_or(Error::NullArgument("role")).or_raise();
    if !is_admin() {
        Error::NotAdmin.raise();
    }
    let removed = write(
        "DELETE FROM tenant_guard.log_reader WHERE role OPERATOR(pg_catalog.=) $1",
        &[role.into()],
    );
    if removed == 0 {
        notice!("role \"{role}\" is not let read the log of its account");
        return;
    }
    record("disallow_log", role);
}

fn record(action: &str, role: &str) {
    let data = serde_json::json!({ "role": role }).to_string();
    record_system(action, None, "", Some(&data));
}

raw_function! {
    /// `log_account() returns text`: the account whose log the current identity may read; null where
    /// none of its roles reads it.
    tenant_guard_log_account, pg_finfo_tenant_guard_log_account, |fcinfo| {
        let account = reads().then(binding::account_text).flatten();
        // SAFETY: PostgreSQL passed `fcinfo`.
        account.unwrap_or_else(|| unsafe { return_null(fcinfo) })
    }
}

/// The account whose log the current identity may read.
pub(crate) fn account() -> Option<String> {
    let own = reads().then(|| binding::with_current(|identity| identity.account.to_owned()));
    own.flatten()
}

/// Whether the current identity has a role that reads the log of its account. Follows
/// `tenant_guard.on_missing_identity`.
fn reads() -> bool {
    if WATCH.is_stale() {
        ANSWER.set(None);
        let loaded = Rc::new(WATCH.read(load).or_raise());
        READERS.replace(loaded);
    }
    let readers = READERS.with_borrow(Rc::clone);
    let answer = binding::test(ANSWER.get(), |identity| {
        readers.iter().any(|reader| fits(identity, reader))
    });
    ANSWER.set(answer.map(|answer| (binding::generation(), answer)));
    answer.unwrap_or(false)
}

fn fits(identity: &IdentityView<'_>, (role, levels): &(String, BTreeSet<String>)) -> bool {
    let stated = identity.assurance;
    let meets = |level: &String| stated.is_some_and(|stated| assurance::meets(stated, level));
    identity.roles.clone().any(|granted| granted == role) && levels.iter().all(meets)
}

/// Reads what is committed now, whatever snapshot the transaction reads under.
fn load() -> Result<Readers, Error> {
    let tables = [c"log_reader", c"product_role"].map(our_table);
    // Nothing is there once the extension is dropped.
    if tables.contains(&pg_sys::Oid::INVALID) {
        return Ok(Readers::new());
    }
    for table in tables {
        WATCH.add(table);
    }
    let (mut roles, mut readers) = (Vec::new(), Vec::new());
    as_owner(|| {
        with_catalog_snapshot(|| {
            for_each_row(
                c"SELECT r.name, r.inherits, r.assurance FROM tenant_guard.product_role AS r",
                &[],
                |row| {
                    let inherits = row.texts(1).unwrap_or_default().into_iter();
                    roles.push(Role {
                        name: row.text(0).to_owned(),
                        inherits: inherits.map(str::to_owned).collect(),
                        assurance: row.optional_text(2).map(str::to_owned),
                    });
                },
            );
            for_each_row(
                c"SELECT r.role FROM tenant_guard.log_reader AS r",
                &[],
                |row| readers.push(row.text(0).to_owned()),
            );
        });
    });
    let roles = Roles::new(roles)?;
    let holders = readers.iter().flat_map(|reader| roles.holders(reader));
    Ok(holders
        .map(|(role, levels)| (role.to_owned(), levels))
        .collect())
}
