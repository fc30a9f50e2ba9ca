//! Triggers that hold a foreign key to the account where the key itself cannot.
//!
//! They see rows of all accounts, as the foreign key's own do: each relation is read as its owner, past
//! row security. Of two transactions, one that refers to a row and one that gives that row to another
//! account, the second waits for the first: it locks whoever refers against writers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::reference::{BIND, BOUND, trigger_name};

use super::values::column_number;
use crate::audit::text::qualified_name;
use crate::catalog::as_relation_owner;
use crate::error::{Error, OrRaise};
use crate::identity::membership::without_children;
use crate::isolation::{execute, lookup, registry};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::raw::{raw_function, trigger_data};
use crate::watch::Watch;

/// Whether a trigger of this name is one of ours.
pub(in crate::isolation) fn is_ours(name: &str) -> bool {
    name.starts_with(BIND) || name.starts_with(BOUND)
}

/// Whether a trigger under a name of ours does what one made by `bind_foreign_keys` does.
pub(in crate::isolation) fn is_as_made(trigger: pg_sys::Oid) -> bool {
    let found = registry::read(
        "SELECT t.tgname::text, convert_from(substring(t.tgargs FOR length(t.tgargs) - 1), 'UTF8'), \
             t.tgfoid = 'tenant_guard.check_binding'::regproc \
         FROM pg_trigger AS t \
         WHERE t.oid = $1 AND t.tgqual IS NULL AND t.tgattr = '' AND t.tgnargs = 1 \
             AND (t.tgfoid, t.tgtype) IN ( \
                 ('tenant_guard.check_binding'::regproc, 21), \
                 ('tenant_guard.check_bound'::regproc, 17))",
        &[trigger.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?, row.get::<bool>(3)?.unwrap_or(false)))
        },
    );
    found.into_iter().any(|(name, key, binds)| {
        let first = if binds { BIND } else { BOUND };
        trigger_name(first, &key) == name
    })
}

/// Whether a key of the relation, or to it, is held by a trigger of this name: one that is there and
/// does not pair the accounts itself.
pub(in crate::isolation) fn holds(relation: pg_sys::Oid, name: &str) -> bool {
    let keys = unpaired(relation).into_iter();
    { keys }.any(|key| {
        let first = if key.refers { BIND } else { BOUND };
        trigger_name(first, &key.name) == name
    })
}

/// Whether the trigger is there, and does what it is to do.
pub(super) fn has(relation: pg_sys::Oid, name: &str) -> bool {
    let found = registry::read(
        "SELECT t.oid FROM pg_trigger AS t WHERE t.tgrelid = $1 AND t.tgname = $2",
        &[relation.into(), name.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().flatten().any(is_as_made)
}

/// The relation and its partitions where the trigger is not always fired.
pub(super) fn silent(relation: pg_sys::Oid, name: &str) -> Vec<pg_sys::Oid> {
    registry::read(
        "SELECT t.tgrelid FROM pg_trigger AS t \
         WHERE t.tgname = $2 AND t.tgenabled <> 'A' AND (t.tgrelid = $1 OR t.tgrelid IN ( \
             SELECT p.relid FROM pg_partition_tree($1) AS p)) ORDER BY 1",
        &[relation.into(), name.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Triggers of ours on the relation that did not come from one above: their names.
pub(super) fn on(relation: pg_sys::Oid) -> Vec<String> {
    let names = registry::read(
        "SELECT t.tgname::text FROM pg_trigger AS t \
         WHERE t.tgrelid = $1 AND t.tgparentid = 0 AND t.tgfoid IN ( \
             'tenant_guard.check_binding'::regproc, 'tenant_guard.check_bound'::regproc) ORDER BY 1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    );
    names.into_iter().filter(|name| is_ours(name)).collect()
}

/// Takes the triggers off relations that are no longer protected.
pub(in crate::isolation) fn drop_of(relations: impl Iterator<Item = pg_sys::Oid>) {
    for relation in relations {
        let name = lookup::name_of(relation).unwrap_or_default();
        let drop = |trigger: String| format!("DROP TRIGGER {trigger} ON {name}");
        let statements: Vec<_> = on(relation).into_iter().map(drop).collect();
        execute(&statements);
    }
}

/// A foreign key that does not pair the accounts.
struct Unpaired {
    name: String,
    /// Whether the relation asked about is the one that refers.
    refers: bool,
    child: pg_sys::Oid,
    columns: Vec<String>,
    parent: pg_sys::Oid,
    parent_columns: Vec<String>,
}

/// The keys of and to a relation, and of and to the partitioned ones above it.
fn unpaired(relation: pg_sys::Oid) -> Vec<Unpaired> {
    registry::read(
        "WITH own AS ( \
             SELECT $1::oid AS relation UNION \
             SELECT a.relid FROM pg_partition_ancestors($1) AS a) \
         SELECT f.conname::text, r.refers, f.conrelid, \
             (SELECT array_agg(a.attname::text ORDER BY k.position) \
              FROM unnest(f.conkey) WITH ORDINALITY AS k (number, position) \
              JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.number), \
             f.confrelid, \
             (SELECT array_agg(a.attname::text ORDER BY k.position) \
              FROM unnest(f.confkey) WITH ORDINALITY AS k (number, position) \
              JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.number) \
         FROM pg_constraint AS f \
         LEFT JOIN tenant_guard.protection_member AS c ON c.relation = f.conrelid \
         LEFT JOIN tenant_guard.protection_member AS p ON p.relation = f.confrelid \
         LEFT JOIN pg_attribute AS ca ON ca.attrelid = f.conrelid AND ca.attname = c.account_column \
         LEFT JOIN pg_attribute AS pa ON pa.attrelid = f.confrelid AND pa.attname = p.account_column \
         CROSS JOIN LATERAL ( \
             SELECT true WHERE f.conrelid IN (SELECT o.relation FROM own AS o) UNION ALL \
             SELECT false WHERE f.confrelid IN (SELECT o.relation FROM own AS o)) AS r (refers) \
         WHERE f.contype = 'f' AND f.conparentid = 0 AND NOT EXISTS ( \
             SELECT FROM ROWS FROM (unnest(f.conkey), unnest(f.confkey)) AS pair (child, parent) \
             WHERE pair.child = ca.attnum AND pair.parent = pa.attnum) \
         ORDER BY f.oid",
        &[relation.into()],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok(Unpaired {
                name: row.get(1)?.unwrap_or_default(),
                refers: row.get(2)?.unwrap_or(false),
                child: oid(3)?,
                columns: row.get(4)?.unwrap_or_default(),
                parent: oid(5)?,
                parent_columns: row.get(6)?.unwrap_or_default(),
            })
        },
    )
}

/// How a row of one relation is read by its key, and what of it says its account.
struct Path {
    relation: pg_sys::Oid,
    query: CString,
    account: Account,
}

/// The place of a key among the columns read, the place and value of the kind that it is of, and how
/// the row it leads to is read.
type Link = (usize, Option<(usize, String)>, Path);

/// What says the account of a row.
enum Account {
    /// A column of its own, at this place among those read.
    Column(usize),
    /// The row it leads to.
    Links(Vec<Link>),
}

/// Columns that say the account of rows of a relation; none where nothing does.
fn account(root: pg_sys::Oid) -> Option<(Vec<String>, Account)> {
    let request = registry::registered(root)?;
    if request.archetype != Archetype::Child {
        return Some((vec![request.column?], Account::Column(0)));
    }
    let mut columns = Vec::new();
    let mut place = |column: String| {
        let known = columns.iter().position(|known| *known == column);
        known.unwrap_or_else(|| {
            columns.push(column);
            columns.len() - 1
        })
    };
    let mut links = Vec::new();
    for link in request.links {
        let kind = link.when.map(|(column, value)| (place(column), value));
        let key = std::slice::from_ref(&link.parent_key);
        links.push((
            place(link.via),
            kind,
            Path::to(link.parent, link.parent, key)?,
        ));
    }
    Some((columns, Account::Links(links)))
}

impl Path {
    /// How rows of a relation are read by these columns; none where it is not protected.
    fn to(relation: pg_sys::Oid, root: pg_sys::Oid, key: &[String]) -> Option<Self> {
        WATCH.add(relation);
        let (read, account) = account(root)?;
        Some(Self {
            relation,
            query: query(relation, &read, key)?,
            account,
        })
    }

    /// The accounts of the rows that have this key; of a row without one none.
    fn accounts(&self, key: &[String]) -> Vec<Option<String>> {
        self.rows(key)
            .iter()
            .map(|row| self.account.of(row))
            .collect()
    }

    /// What is read of the rows that have this key, each different row once.
    fn rows(&self, key: &[String]) -> Vec<Vec<Option<String>>> {
        let width = self.account.width();
        let arguments: Vec<_> = { key.iter() }
            .map(|value| (pg_sys::TEXTOID, value.as_str().into_datum()))
            .map(|(kind, value)| (kind, value.unwrap_or(pg_sys::Datum::from(0))))
            .collect();
        let mut rows: Vec<Vec<Option<String>>> = Vec::new();
        as_relation_owner(self.relation, || {
            with_latest_snapshot(|| {
                for_each_row(&self.query, &arguments, |row| {
                    let columns = 0..width;
                    let read = columns.map(|n| row.optional_text(n).map(str::to_owned));
                    rows.push(read.collect());
                });
            });
        })
        .or_raise();
        rows
    }
}

impl Account {
    /// How many columns are read.
    fn width(&self) -> usize {
        match self {
            Self::Column(place) => place + 1,
            Self::Links(links) => {
                let places = links
                    .iter()
                    .map(|(via, kind, _)| kind.as_ref().map_or(*via, |(place, _)| *via.max(place)));
                places.max().map_or(0, |last| last + 1)
            }
        }
    }

    /// The account of a row whose columns were read.
    fn of(&self, row: &[Option<String>]) -> Option<String> {
        match self {
            Self::Column(place) => {
                let text = row[*place].as_deref()?;
                AccountId::from_text(text)
                    .ok()
                    .map(|account| account.as_str().to_owned())
            }
            Self::Links(links) => links.iter().find_map(|(via, kind, path)| {
                if let Some((place, value)) = kind
                    && row[*place].as_ref() != Some(value)
                {
                    return None;
                }
                let key = row[*via].clone()?;
                path.accounts(&[key]).into_iter().next().flatten()
            }),
        }
    }
}

/// Reads columns of the rows with a key, each different row once.
fn query(relation: pg_sys::Oid, read: &[String], key: &[String]) -> Option<CString> {
    let read = lookup::quoted(read).into_iter();
    let read: Vec<_> = read
        .map(|column| format!("s.{column}::pg_catalog.text"))
        .collect();
    let mut conditions = Vec::new();
    for (n, (name, column)) in key.iter().zip(lookup::quoted(key)).enumerate() {
        let kind = type_name(relation, name)?;
        conditions.push(format!(
            "s.{column} OPERATOR(pg_catalog.=) ${}::{kind}",
            n + 1
        ));
    }
    let text = format!(
        "SELECT DISTINCT {} FROM {} AS s WHERE {}",
        read.join(", "),
        without_children(relation),
        conditions.join(" AND ")
    );
    CString::new(text).ok()
}

/// The type of a column, of a domain the one below, as a cast writes it.
fn type_name(relation: pg_sys::Oid, column: &str) -> Option<String> {
    let number = column_number(relation, column)?;
    // SAFETY: catalog look-ups by oid; the text is a terminated copy.
    unsafe {
        let kind = pg_sys::getBaseType(pg_sys::get_atttype(relation, number));
        let text = pg_sys::format_type_be_qualified(kind);
        Some(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

/// What a trigger compares.
enum Held {
    /// Rows of the relation refer by these columns.
    Refers {
        own: Own,
        columns: Vec<i16>,
        parent: Path,
    },
    /// Rows of the relation are referred to, by their values of these columns.
    Referred {
        own: Own,
        references: Vec<(Vec<i16>, pg_sys::Oid, Path)>,
    },
    /// A side that is not protected has no accounts.
    Nothing,
}

/// How the row in hand finds its account.
struct Own {
    columns: Vec<i16>,
    account: Account,
}

static WATCH: Watch = Watch::new(c"protection");

thread_local! {
    /// By trigger oid. Never dropped: at exit the server takes its memory back itself.
    static CACHE: ManuallyDrop<RefCell<HashMap<pg_sys::Oid, Rc<Held>>>> =
        ManuallyDrop::new(RefCell::default());
}

/// What a firing trigger compares, worked out once and again after a change.
///
/// # Safety
/// `trigger` must be what PostgreSQL passed to the running trigger function.
unsafe fn held(trigger: &pg_sys::TriggerData, refers: bool) -> Rc<Held> {
    if WATCH.is_stale() {
        CACHE.with(|cache| cache.borrow_mut().clear());
        WATCH.read(|| Ok::<_, Error>(())).or_raise();
        for table in [c"protection_member", c"protection_link"] {
            // SAFETY: catalog look-ups by static names.
            unsafe {
                let schema = pg_sys::get_namespace_oid(c"tenant_guard".as_ptr(), false);
                WATCH.add(pg_sys::get_relname_relid(table.as_ptr(), schema));
            }
        }
    }
    // SAFETY: a firing trigger has its catalog row in memory, with tgnargs terminated arguments.
    let (oid, relation, key) = unsafe {
        let definition = &*trigger.tg_trigger;
        let key = match definition.tgnargs {
            1 => CStr::from_ptr(*definition.tgargs)
                .to_string_lossy()
                .into_owned(),
            _ => String::new(),
        };
        (definition.tgoid, (*trigger.tg_relation).rd_id, key)
    };
    if let Some(known) = CACHE.with(|cache| cache.borrow().get(&oid).cloned()) {
        return known;
    }
    let held = Rc::new(work_out(relation, &key, refers).or_raise());
    CACHE.with(|cache| cache.borrow_mut().insert(oid, Rc::clone(&held)));
    held
}

fn work_out(relation: pg_sys::Oid, key: &str, refers: bool) -> Result<Held, Error> {
    WATCH.add(relation);
    let mut keys = unpaired(relation);
    keys.retain(|found| found.name == key && found.refers == refers);
    let own = || {
        let (columns, account) = account(registry::root_of(relation)?)?;
        let columns = numbers(relation, &columns)?;
        Some(Own { columns, account })
    };
    if refers {
        // Whoever renamed the key, or dropped it, is to say what holds now.
        let Some(found) = keys.into_iter().next() else {
            return Err(Error::StaleBinding(
                qualified_name(relation),
                key.to_owned(),
            ));
        };
        let path = registry::root_of(found.parent)
            .and_then(|root| Path::to(found.parent, root, &found.parent_columns));
        let held = own().zip(path).zip(numbers(relation, &found.columns));
        return Ok(
            held.map_or(Held::Nothing, |((own, parent), columns)| Held::Refers {
                own,
                columns,
                parent,
            }),
        );
    }
    let Some(own) = own() else {
        return Ok(Held::Nothing);
    };
    let bind = trigger_name(BIND, key);
    let reference = |found: Unpaired| {
        if !has(found.child, &bind) {
            return None;
        }
        let root = registry::root_of(found.child)?;
        let path = Path::to(found.child, root, &found.columns)?;
        Some((numbers(relation, &found.parent_columns)?, found.child, path))
    };
    let references = keys.into_iter().filter_map(reference).collect();
    Ok(Held::Referred { own, references })
}

fn numbers(relation: pg_sys::Oid, columns: &[String]) -> Option<Vec<i16>> {
    columns
        .iter()
        .map(|column| column_number(relation, column))
        .collect()
}

raw_function! {
    /// `check_binding() returns trigger`: a row refers to a row of its own account.
    tenant_guard_check_binding, pg_finfo_tenant_guard_check_binding, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the row lives through the call.
        unsafe {
            let trigger = trigger_data(fcinfo, "check_binding()");
            let row = Values::of(trigger, new_row(trigger));
            if let Held::Refers { own, columns, parent } = &*held(trigger, true)
                && let Some(key) = row.texts(columns)
            {
                // What the same command wrote is referred to, too.
                pg_sys::CommandCounterIncrement();
                let account = own.account(&row);
                let foreign = { parent.accounts(&key).into_iter() }
                    .flatten()
                    .any(|referred| Some(&referred) != account.as_ref());
                if foreign && row.still_stands() {
                    let parent = bare_name(parent.relation);
                    Error::ForeignAccount(row.bare_name(), row.key_name(), parent).raise();
                }
            }
        }
        pg_sys::Datum::from(0)
    }
}

raw_function! {
    /// `check_bound() returns trigger`: a row that is referred to stays in its account.
    tenant_guard_check_bound, pg_finfo_tenant_guard_check_bound, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the rows live through the call.
        unsafe {
            let trigger = trigger_data(fcinfo, "check_bound()");
            let row = Values::of(trigger, new_row(trigger));
            let old = Values::of(trigger, trigger.tg_trigtuple);
            if let Held::Referred { own, references } = &*held(trigger, false)
                && row.all(&own.columns) != old.all(&own.columns)
            {
                pg_sys::CommandCounterIncrement();
                // A row without an account is everybody's.
                if let Some(account) = own.account(&row) {
                    refuse_foreign(&row, &account, references);
                }
            }
        }
        pg_sys::Datum::from(0)
    }
}

/// Refuses a row that rows of another account than its new one refer to.
unsafe fn refuse_foreign(
    row: &Values,
    account: &str,
    references: &[(Vec<i16>, pg_sys::Oid, Path)],
) {
    for (columns, child, path) in references {
        // SAFETY: the row is of the relation whose columns these are.
        let Some(key) = (unsafe { row.texts(columns) }) else {
            continue;
        };
        for table in lookup::tree_of(*child) {
            // Whoever is about to refer to the row has this table locked to write it.
            // SAFETY: a lock on an oid; of a relation that is gone it is a lock on nothing.
            unsafe { pg_sys::LockRelationOid(table, pg_sys::ShareRowExclusiveLock as i32) };
        }
        let foreign = { path.accounts(&key).into_iter() }
            .flatten()
            .any(|referring| referring != account);
        // SAFETY: as above.
        if foreign && unsafe { row.still_stands() } {
            Error::BoundToAccount(row.bare_name(), row.key_name(), bare_name(*child)).raise();
        }
    }
}

/// The name of a relation as PostgreSQL's errors of foreign keys have it.
fn bare_name(relation: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up by oid: null or a terminated copy.
    unsafe {
        let name = pg_sys::get_rel_name(relation);
        if name.is_null() {
            return relation.to_u32().to_string();
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

fn new_row(trigger: &pg_sys::TriggerData) -> pg_sys::HeapTuple {
    match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_UPDATE => trigger.tg_newtuple,
        _ => trigger.tg_trigtuple,
    }
}

/// A row that a trigger was fired for.
struct Values<'a> {
    trigger: &'a pg_sys::TriggerData,
    row: pg_sys::HeapTuple,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl<'a> Values<'a> {
    /// # Safety
    /// The row must be one of the firing trigger's.
    unsafe fn of(trigger: &'a pg_sys::TriggerData, row: pg_sys::HeapTuple) -> Self {
        // SAFETY: the relation of a firing trigger is open; the arrays are as long as it is wide.
        unsafe {
            let descriptor = (*trigger.tg_relation).rd_att;
            let width = (*descriptor).natts as usize;
            let mut all = Self {
                trigger,
                row,
                values: vec![pg_sys::Datum::from(0); width],
                nulls: vec![true; width],
            };
            let (values, nulls) = (all.values.as_mut_ptr(), all.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(row, descriptor, values, nulls);
            all
        }
    }

    /// The text of a column.
    ///
    /// # Safety
    /// The number must be of a column of the trigger's relation.
    unsafe fn text(&self, number: i16) -> Option<String> {
        let at = number as usize - 1;
        if self.nulls[at] {
            return None;
        }
        // SAFETY: the value is of the column's type, whose output function gives a terminated text.
        unsafe {
            let relation = (*self.trigger.tg_relation).rd_id;
            let kind = pg_sys::getBaseType(pg_sys::get_atttype(relation, number));
            let (mut function, mut varlena) = (pg_sys::Oid::INVALID, false);
            pg_sys::getTypeOutputInfo(kind, &mut function, &mut varlena);
            let text = pg_sys::OidOutputFunctionCall(function, self.values[at]);
            Some(CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// The texts of these columns, null ones too.
    ///
    /// # Safety
    /// As of [`text`](Self::text).
    unsafe fn all(&self, numbers: &[i16]) -> Vec<Option<String>> {
        // SAFETY: the caller vouches.
        { numbers.iter() }
            .map(|number| unsafe { self.text(*number) })
            .collect()
    }

    /// The texts of these columns; none where one is null, as a key that is null refers to nothing.
    ///
    /// # Safety
    /// As of [`text`](Self::text).
    unsafe fn texts(&self, numbers: &[i16]) -> Option<Vec<String>> {
        // SAFETY: the caller vouches.
        unsafe { self.all(numbers) }.into_iter().collect()
    }

    /// Whether this version of the row is there. A deferred trigger may be fired for one that was
    /// changed again, and will be fired for that one too.
    ///
    /// # Safety
    /// The row must be stored.
    unsafe fn still_stands(&self) -> bool {
        // SAFETY: the relation is open; the tuple's own place lives as long as the tuple.
        unsafe {
            let relation = (*self.trigger.tg_relation).rd_id;
            let query = format!(
                "SELECT ''::pg_catalog.text FROM ONLY {} AS s WHERE s.ctid OPERATOR(pg_catalog.=) $1",
                qualified_name(relation)
            );
            let query = CString::new(query).expect("names of the catalog hold no NUL");
            let place = pg_sys::Datum::from(&raw mut (*self.row).t_self);
            let mut stands = false;
            as_relation_owner(relation, || {
                with_latest_snapshot(|| {
                    for_each_row(&query, &[(pg_sys::TIDOID, place)], |_| stands = true);
                });
            })
            .or_raise();
            stands
        }
    }

    fn bare_name(&self) -> String {
        // SAFETY: the relation of a firing trigger is open.
        bare_name(unsafe { (*self.trigger.tg_relation).rd_id })
    }

    fn key_name(&self) -> String {
        // SAFETY: `held` has read this very argument.
        unsafe {
            CStr::from_ptr(*(*self.trigger.tg_trigger).tgargs)
                .to_string_lossy()
                .into_owned()
        }
    }
}

impl Own {
    /// The account of a row.
    ///
    /// # Safety
    /// The row must be of the relation that this is of.
    unsafe fn account(&self, row: &Values<'_>) -> Option<String> {
        // SAFETY: the caller vouches.
        self.account.of(&unsafe { row.all(&self.columns) })
    }
}
