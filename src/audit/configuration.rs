//! What is captured now, by which triggers, and who could change that: each block of the ledger
//! carries the hash of this text.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::configuration::{
    Alteration, Captured, Configuration, Guard, Holder, LedgerGuard, View,
};

use super::pinned::Settings;
use super::text::qualified;
use crate::ledger::rows::{Row, for_each_row};
use crate::watch;

thread_local! {
    /// What was read, and the changes this backend knew of before it took the snapshot to read under.
    static KNOWN: RefCell<Option<(Changes, String)>> = const { RefCell::new(None) };
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// How many changes of the catalog this backend had been told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes(u64);

impl Changes {
    /// Asks what there is to be told. Comes before the snapshot that [`current`] reads under: of a
    /// change that is heard of later nobody can say whether the snapshot saw it.
    pub(crate) fn so_far() -> Self {
        register_callbacks();
        // SAFETY: a transaction is running; the callbacks of this backend do not raise.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        Self(CHANGES.get())
    }
}

/// The configuration as the active snapshot sees it, which was taken after `changes` was asked for;
/// call it as the extension's owner.
///
/// Reading it visits all triggers of the database, so a backend that seals again and again keeps it
/// until the catalog changes.
pub(crate) fn current(changes: Changes) -> String {
    let now = Changes(CHANGES.get());
    let known = KNOWN.with_borrow(|known| known.clone().filter(|(known, _)| *known == now));
    known.map(|(_, text)| text).unwrap_or_else(|| {
        // Reading may fail, and what was known before must not pass for the present then.
        KNOWN.set(None);
        let text = read().into_text();
        KNOWN.set(Some((changes, text.clone())));
        text
    })
}

/// Triggers of ours on relations that somebody else made. Those of partitions come from their
/// parents, and each can be switched off by itself.
const CAPTURED: &CStr = c"SELECT n.nspname::text, c.relname::text, t.tgname::text, \
        t.tgenabled::text, t.tgargs \
    FROM pg_catalog.pg_trigger AS t \
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE t.tgfoid IN ('tenant_guard.capture()'::regprocedure, \
        'tenant_guard.capture_truncate()'::regprocedure) \
    UNION ALL \
    SELECT m.schema::text, c.relname::text, NULL, NULL, NULL \
    FROM tenant_guard.protected_member AS m \
    JOIN tenant_guard.protection AS p ON p.relation = m.root AND p.audit \
    JOIN pg_catalog.pg_class AS c ON c.oid = m.relation \
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = m.relation \
        AND t.tgfoid = 'tenant_guard.capture()'::regprocedure)";

const GUARDS: &CStr = c"SELECT evtname::text, evtenabled::text FROM pg_catalog.pg_event_trigger \
    WHERE evtfoid IN ('tenant_guard.guard_command_start()'::regprocedure, \
        'tenant_guard.guard_command_end()'::regprocedure, \
        'tenant_guard.guard_dropped()'::regprocedure)";

const LEDGER: &CStr = c"SELECT c.relname::text, t.tgname::text, t.tgenabled::text \
    FROM pg_catalog.pg_class AS c \
    LEFT JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid \
        AND t.tgfoid = 'tenant_guard.guard_ledger()'::regprocedure \
    WHERE c.relnamespace = 'tenant_guard'::regnamespace \
        AND c.relname ~ '^(ledger_|audit_(log|context)($|_))' AND c.relkind IN ('r', 'p')";

const VIEWS: &CStr = c"SELECT c.relname::text, r.rolname::text, \
        COALESCE(pg_catalog.array_to_string(c.reloptions, ','), ''), \
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to( \
            pg_catalog.pg_get_viewdef(c.oid), 'UTF8')), 'hex') \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner \
    WHERE c.relnamespace = 'tenant_guard'::regnamespace AND c.relkind = 'v'";

const ALTERATIONS: &CStr = c"SELECT c.relname::text, a.what FROM pg_catalog.pg_class AS c \
    CROSS JOIN LATERAL ( \
        SELECT 'row security' WHERE c.relrowsecurity \
        UNION ALL SELECT 'owner ' || r.rolname FROM pg_catalog.pg_roles AS r \
            WHERE r.oid = c.relowner AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension AS e \
                WHERE e.extname = 'tenant_guard' AND e.extowner = c.relowner) \
        UNION ALL SELECT 'policy ' || p.polname FROM pg_catalog.pg_policy AS p \
            WHERE p.polrelid = c.oid \
        UNION ALL SELECT 'rule ' || w.rulename FROM pg_catalog.pg_rewrite AS w \
            WHERE w.ev_class = c.oid \
        UNION ALL SELECT 'trigger ' || t.tgname FROM pg_catalog.pg_trigger AS t \
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal \
                AND t.tgfoid <> 'tenant_guard.guard_ledger()'::regprocedure \
    ) AS a (what) \
    WHERE c.relnamespace = 'tenant_guard'::regnamespace \
        AND c.relname ~ '^(ledger_|audit_(log|context)($|_))' AND c.relkind IN ('r', 'p')";

const ROLES: &CStr = c"SELECT r.rolname::text, h.holds FROM pg_catalog.pg_roles AS r \
    CROSS JOIN LATERAL (VALUES ('superuser', r.rolsuper), \
        ('bypassrls', r.rolbypassrls AND NOT r.rolsuper), \
        ('tenant_guard_admin', NOT r.rolsuper AND r.rolname <> 'tenant_guard_admin' \
            AND pg_catalog.pg_has_role(r.oid, 'tenant_guard_admin', 'MEMBER')), \
        ('tenant_guard_auditor', NOT r.rolsuper AND r.rolname <> 'tenant_guard_auditor' \
            AND pg_catalog.pg_has_role(r.oid, 'tenant_guard_auditor', 'MEMBER'))) \
        AS h (holds, does) \
    WHERE h.does";

const READS: &CStr = c"SELECT n.nspname::text, c.relname::text FROM tenant_guard.read_audit AS r \
    JOIN pg_catalog.pg_class AS c ON c.oid = r.relation \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";

const LOG_READERS: &CStr = c"SELECT r.role FROM tenant_guard.log_reader AS r";

const EXTENSION: &CStr =
    c"SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'tenant_guard'";

fn read() -> Configuration {
    let _settings = Settings::for_catalog();
    let mut found = Configuration::default();
    for_each_row(EXTENSION, &[], |row| {
        found.extension = row.text(0).to_owned()
    });
    for_each_row(CAPTURED, &[], |row| {
        found.relations.push(Captured {
            relation: qualified(row.text(0), row.text(1)),
            trigger: owned(row, 2),
            enabled: enabled(row, 3),
            arguments: arguments(row.optional_bytes(4).unwrap_or_default()),
        });
    });
    for_each_row(GUARDS, &[], |row| {
        found.guards.push(Guard {
            trigger: row.text(0).to_owned(),
            enabled: enabled(row, 1).unwrap_or_default(),
        });
    });
    for_each_row(LEDGER, &[], |row| {
        found.ledger.push(LedgerGuard {
            table: row.text(0).to_owned(),
            trigger: owned(row, 1),
            enabled: enabled(row, 2),
        });
    });
    for_each_row(ROLES, &[], |row| {
        found.roles.push(Holder {
            role: row.text(0).to_owned(),
            holds: row.text(1).to_owned(),
        });
    });
    for_each_row(READS, &[], |row| {
        found.reads.push(qualified(row.text(0), row.text(1)));
    });
    for_each_row(LOG_READERS, &[], |row| {
        found.log_readers.push(row.text(0).to_owned());
    });
    for_each_row(VIEWS, &[], |row| {
        found.views.push(View {
            view: row.text(0).to_owned(),
            owner: row.text(1).to_owned(),
            options: row.text(2).to_owned(),
            definition: row.text(3).to_owned(),
        });
    });
    for_each_row(ALTERATIONS, &[], |row| {
        found.alterations.push(Alteration {
            table: row.text(0).to_owned(),
            what: row.text(1).to_owned(),
        });
    });
    found
}

fn owned(row: &Row<'_>, column: usize) -> Option<String> {
    row.optional_text(column).map(str::to_owned)
}

/// `pg_trigger.tgenabled` in words.
fn enabled(row: &Row<'_>, column: usize) -> Option<String> {
    let word = match row.optional_text(column)? {
        "A" => "always",
        "O" => "origin",
        "R" => "replica",
        _ => "disabled",
    };
    Some(word.to_owned())
}

/// The arguments of a trigger, each ended by a zero byte.
pub(crate) fn arguments(stored: &[u8]) -> Vec<String> {
    let stored = stored.strip_suffix(&[0]).unwrap_or(stored);
    let parts = stored
        .split(|byte| *byte == 0)
        .filter(|_| !stored.is_empty());
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

fn register_callbacks() {
    if REGISTERED.replace(true) {
        return;
    }
    watch::listen(|_| CHANGES.set(CHANGES.get() + 1));
    // SAFETY: the callback lives as long as the library and never raises.
    unsafe {
        for cache in [
            pg_sys::SysCacheIdentifier::AUTHOID,
            pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM,
            pg_sys::SysCacheIdentifier::EVENTTRIGGEROID,
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::RULERELNAME,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(catalog_changed),
                pg_sys::Datum::from(0),
            );
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn catalog_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    CHANGES.set(CHANGES.get() + 1);
}
