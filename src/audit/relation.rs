//! What capture knows of a protected relation, worked out once and kept until the catalog changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::account::{AccountError, AccountId};
use tenant_guard_core::audit::push_json_string;
use tenant_guard_core::keyed_hash::KeyedHash;
use tenant_guard_core::trigger::CaptureRule;

use super::hash_key;
use super::text::{checked, name, qualified_name, relation_name};
use super::values::{Form, follows_settings, with_varlena};
use crate::error::Error;
use crate::identity::binding;
use crate::isolation::registered::Registry;
use crate::memory::Memory;
use crate::versions;
use crate::watch;

/// A relation as one capture trigger sees it.
pub(super) struct Relation {
    /// Schema-qualified name; of a partition its topmost ancestor's.
    pub(super) name: String,
    /// Schema-qualified name of the partition itself.
    pub(super) leaf_name: Option<String>,
    /// By attribute number; `None` where a column was dropped, or is computed when it is read: what a
    /// trigger is handed has no value of it.
    pub(super) columns: Vec<Option<Column>>,
    /// Positions in `columns` of the primary key, in the key's order; empty without one.
    pub(super) key: Vec<usize>,
    /// Position in `columns` of the account; none where rows carry none of their own.
    pub(super) account: Option<usize>,
    /// Whether some column's text follows settings that cost time to pin.
    pub(super) follows_settings: bool,
    /// Hashes the values of columns that are hashed.
    pub(super) keyed_hash: Option<KeyedHash>,
    /// Whether an UPDATE that changes no captured column leaves no event.
    pub(super) skip_unchanged: bool,
    /// Whether TRUNCATE leaves an event for each row.
    pub(super) truncate_rows: bool,
    /// Oids whose changes make this description stale.
    depends: Vec<pg_sys::Oid>,
    /// Holds the function look-ups of the columns.
    _memory: Memory,
}

/// What of a column stands in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Its value.
    Plain,
    /// A keyed hash of its value, and its name in `hashed`.
    Hashed,
    /// Its value, apart from those of other columns.
    Personal,
    /// Its name in `redacted`.
    Redacted,
    /// Nothing.
    Not,
}

/// A column of a captured relation.
pub(super) struct Column {
    pub(super) name: String,
    /// `"name":`, ready to stand before the value.
    pub(super) member: Vec<u8>,
    pub(super) form: Form,
    pub(super) shown: Shown,
    pub(super) by_value: bool,
    pub(super) length: i16,
}

impl Relation {
    /// The columns that still exist, by position.
    pub(super) fn live_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        let indexed = self.columns.iter().enumerate();
        indexed.filter_map(|(i, column)| column.as_ref().map(|column| (i, column)))
    }

    /// Replaces the content of `out` by the account of a row in canonical text; empty, the system
    /// account, where the row has none.
    ///
    /// A row without an account column of its own belongs to the account that could write it, which
    /// is the bound one: its parent may be gone by now, so it cannot be asked.
    ///
    /// # Safety
    /// `values` and `nulls` must be those of a row of this relation.
    pub(super) unsafe fn account_of(
        &self,
        values: &[pg_sys::Datum],
        nulls: &[bool],
        out: &mut Vec<u8>,
    ) {
        out.clear();
        let Some(position) = self.account else {
            return binding::with_unchecked(|identity| {
                out.extend_from_slice(identity.map_or("", |identity| identity.account).as_bytes());
            });
        };
        let (value, is_null) = (values[position], nulls[position]);
        let Some(column) = self.columns[position].as_ref().filter(|_| !is_null) else {
            return;
        };
        // SAFETY: the caller vouches for the value; `build` admits no other form.
        unsafe {
            match column.form {
                Form::Uuid => {
                    column.form.push(out, value);
                    out.pop();
                    out.remove(0);
                }
                Form::Text => with_varlena(value, |text| {
                    match AccountId::from_text(checked(text)) {
                        Ok(account) => out.extend_from_slice(account.as_str().as_bytes()),
                        // Sealing could not keep it, and would stop for every account.
                        Err(AccountError::TooLong) => {
                            Error::AccountTooLong(self.name.clone()).raise()
                        }
                        // PostgreSQL's text holds no null character, so this is the empty one.
                        Err(AccountError::Empty | AccountError::Nul) => {}
                    }
                }),
                _ => column.form.push(out, value),
            }
        }
    }
}

thread_local! {
    /// By trigger oid. Never dropped: at exit the server takes its memory back itself.
    static CACHE: ManuallyDrop<RefCell<HashMap<pg_sys::Oid, Rc<Relation>>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
    /// Counts the changes of the catalog that concerned something cached.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The description of the relation that fired `trigger`.
///
/// # Safety
/// `trigger` must be what PostgreSQL passed to the running trigger function.
pub(super) unsafe fn of(trigger: &pg_sys::TriggerData) -> Rc<Relation> {
    // SAFETY: a firing trigger has its catalog row in memory.
    let oid = unsafe { (*trigger.tg_trigger).tgoid };
    if let Some(found) = CACHE.with(|cache| cache.borrow().get(&oid).cloned()) {
        return found;
    }
    register_callbacks();
    let before = CHANGES.get();
    // SAFETY: the caller vouches for `trigger`.
    let built = Rc::new(unsafe { build(trigger) });
    // A change that arrived while it was built may have made it stale already.
    if before == CHANGES.get() {
        CACHE.with(|cache| cache.borrow_mut().insert(oid, built.clone()));
    }
    built
}

unsafe fn build(trigger: &pg_sys::TriggerData) -> Relation {
    // SAFETY: the relation of a firing trigger is open and locked, its descriptor holds natts
    // attributes.
    unsafe {
        let relation = trigger.tg_relation;
        let oid = (*relation).rd_id;
        let (account_name, rule) = arguments(trigger);
        let memory = Memory::new(c"tenant_guard captured relation");
        let mut depends = vec![oid];
        let mut follows = false;

        let attributes = versions::attributes((*relation).rd_att);
        let numbers = |names: &[String]| -> Vec<i16> {
            let live = attributes
                .iter()
                .filter(|attribute| !attribute.attisdropped);
            let named =
                live.filter(|attribute| names.contains(&name(attribute.attname.data.as_ptr())));
            named.map(|attribute| attribute.attnum).collect()
        };
        let [redacted, hashed, personal] =
            [&rule.redact, &rule.hash, &rule.personal].map(|names| numbers(names));
        let shown = |attribute: &pg_sys::FormData_pg_attribute, name: &String| {
            let is_of = |secret: &[i16]| {
                secret.contains(&attribute.attnum) || is_generated_from(relation, attribute, secret)
            };
            let is_personal = is_of(&personal);
            if is_of(&redacted) {
                Shown::Redacted
            } else if !is_personal && is_of(&hashed) {
                Shown::Hashed
            } else if rule.exclude.contains(name)
                || rule
                    .include
                    .as_ref()
                    .is_some_and(|only| !only.contains(name))
            {
                Shown::Not
            } else if is_personal {
                Shown::Personal
            } else {
                Shown::Plain
            }
        };
        let columns: Vec<Option<Column>> = attributes
            .iter()
            .map(|attribute| {
                if attribute.attisdropped || versions::is_virtual(attribute) {
                    return None;
                }
                let name = name(attribute.attname.data.as_ptr());
                let shown = shown(attribute, &name);
                follows |= matches!(shown, Shown::Plain | Shown::Hashed | Shown::Personal)
                    && follows_settings(attribute.atttypid, &mut depends);
                let mut member = Vec::new();
                push_json_string(&mut member, name.as_bytes());
                member.push(b':');
                Some(Column {
                    form: memory.within(|| Form::of(attribute.atttypid)),
                    name,
                    member,
                    shown,
                    by_value: attribute.attbyval,
                    length: attribute.attlen,
                })
            })
            .collect();

        let stale = |column: &str| -> ! {
            Error::StaleTrigger(relation_name(relation), column.to_owned()).raise()
        };
        let position = |wanted: &str| {
            let named = |column: &Option<Column>| {
                column.as_ref().is_some_and(|column| column.name == wanted)
            };
            columns
                .iter()
                .position(named)
                .unwrap_or_else(|| stale(wanted))
        };
        let left_out = |wanted: &str| {
            let named = |attribute: &&pg_sys::FormData_pg_attribute| {
                name(attribute.attname.data.as_ptr()) == wanted
            };
            let found = attributes.iter().find(named);
            found
                .is_some_and(|attribute| versions::is_virtual(attribute) && !attribute.attisdropped)
        };
        let lists = [&rule.redact, &rule.hash, &rule.personal, &rule.exclude];
        for name in lists
            .into_iter()
            .flatten()
            .chain(rule.include.iter().flatten())
        {
            if !left_out(name) {
                position(name);
            }
        }
        let account = (!account_name.is_empty()).then(|| position(&account_name));
        // Under the name may stand another column by now, and events would go to its account.
        let registry = Registry::find();
        if let Some(registry) = &registry {
            let (stray, above) = registry.strayed(oid);
            depends.extend(above);
            if let Some(name) = stray {
                stale(&name);
            }
        }
        let registered = registry.and_then(|registry| registry.account_number(oid));
        if let (Some(position), Some(number)) = (account, registered)
            && position + 1 != number as usize
        {
            stale(&account_name);
        }
        let key = primary_key(relation);
        for &i in key.iter().chain(&account) {
            let hidden = |column: &Column| {
                let shown = column.shown;
                matches!(shown, Shown::Redacted | Shown::Hashed | Shown::Personal)
            };
            if columns[i].as_ref().is_some_and(hidden) {
                stale(
                    &columns[i]
                        .as_ref()
                        .map_or(String::new(), |column| column.name.clone()),
                );
            }
        }
        let account_form = account.and_then(|i| columns[i].as_ref().map(|column| column.form));
        if account.is_some()
            && !matches!(
                account_form,
                Some(Form::Uuid | Form::Int2 | Form::Int4 | Form::Int8 | Form::Text)
            )
        {
            stale(&account_name);
        }

        let ancestors = if (*(*relation).rd_rel).relispartition {
            partition_ancestors(oid)
        } else {
            Vec::new()
        };
        depends.extend_from_slice(&ancestors);
        if !hashed.is_empty() {
            depends.push(hash_key::table());
        }
        let own_name = qualified_name(oid);
        let (name, leaf_name) = match ancestors.last() {
            Some(&root) => (qualified_name(root), Some(own_name)),
            None => (own_name, None),
        };
        Relation {
            name,
            leaf_name,
            columns,
            key,
            account,
            follows_settings: follows,
            keyed_hash: (!hashed.is_empty()).then(hash_key::keyed_hash),
            skip_unchanged: rule.skip_unchanged,
            truncate_rows: rule.truncate_rows,
            depends,
            _memory: memory,
        }
    }
}

/// The trigger's arguments: the account column, empty where there is none, and how to capture.
unsafe fn arguments(trigger: &pg_sys::TriggerData) -> (String, CaptureRule) {
    // SAFETY: tgargs holds tgnargs terminated strings. array_in takes the text of an array, the
    // type of its elements and a modifier.
    unsafe {
        let definition = &*trigger.tg_trigger;
        let unfit = || -> ! {
            Error::StaleTrigger(relation_name(trigger.tg_relation), String::new()).raise()
        };
        if !matches!(definition.tgnargs, 2 | 3) {
            unfit();
        }
        let redacted = pg_sys::OidInputFunctionCall(
            pg_sys::Oid::from(pg_sys::F_ARRAY_IN),
            *definition.tgargs.add(1),
            pg_sys::TEXTOID,
            -1,
        );
        let redacted = Vec::<Option<String>>::from_datum(redacted, false).unwrap_or_default();
        let more = (definition.tgnargs == 3).then(|| name(*definition.tgargs.add(2)));
        let rule = CaptureRule::read(redacted.into_iter().flatten().collect(), more.as_deref());
        let rule = rule.unwrap_or_else(|_| unfit());
        (name(*definition.tgargs), rule)
    }
}

/// Whether a column is generated from one of those numbered in `secret`, whose values it would give
/// away. One step is enough: PostgreSQL lets no generated column read another.
unsafe fn is_generated_from(
    relation: pg_sys::Relation,
    attribute: &pg_sys::FormData_pg_attribute,
    secret: &[i16],
) -> bool {
    if attribute.attgenerated == 0 || secret.is_empty() {
        return false;
    }
    // SAFETY: the relation is open and has the attribute, whose expression is a tree over columns of
    // this one relation; sets of columns count from the lowest system column.
    unsafe {
        let expression = pg_sys::build_column_default(relation, attribute.attnum.into());
        let mut read = std::ptr::null_mut();
        pg_sys::pull_varattnos(expression, 1, &mut read);
        secret.iter().any(|&number| {
            let member = i32::from(number) - pg_sys::FirstLowInvalidHeapAttributeNumber;
            pg_sys::bms_is_member(member, read)
        })
    }
}

/// Positions of the primary key's columns, in its order; empty without a primary key.
unsafe fn primary_key(relation: pg_sys::Relation) -> Vec<usize> {
    // SAFETY: the relation is open; its index is opened and closed here, and indkey has indnatts
    // entries, of which the first indnkeyatts are the key.
    unsafe {
        let oid = versions::primary_key_index(relation);
        if oid == pg_sys::Oid::INVALID {
            return Vec::new();
        }
        let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
        let definition = &*(*index).rd_index;
        let numbers = definition
            .indkey
            .values
            .as_slice(definition.indnkeyatts as usize);
        let key = numbers.iter().map(|&number| number as usize - 1).collect();
        pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        key
    }
}

fn partition_ancestors(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    unsafe extern "C-unwind" {
        /// Of `catalog/partition.h`, which pgrx does not bind: ancestors from parent to root.
        fn get_partition_ancestors(relid: pg_sys::Oid) -> *mut pg_sys::List;
    }
    // SAFETY: the function returns a list of oids in the current context; the boundary turns an
    // error it raises into an unwinding one.
    unsafe {
        let list = pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_ancestors(relation));
        pgrx::PgList::<pg_sys::Oid>::from_pg(list)
            .iter_oid()
            .collect()
    }
}

fn register_callbacks() {
    if REGISTERED.replace(true) {
        return;
    }
    watch::listen(relation_changed);
    // SAFETY: the callback lives as long as the library and never raises.
    unsafe {
        for cache in [
            pg_sys::SysCacheIdentifier::NAMESPACEOID,
            pg_sys::SysCacheIdentifier::TYPEOID,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(catalog_changed),
                pg_sys::Datum::from(0),
            );
        }
    }
}

/// Forgets what depends on a relation, or everything when PostgreSQL names none.
fn relation_changed(relation: pg_sys::Oid) {
    forget(|cached| relation == pg_sys::Oid::INVALID || cached.depends.contains(&relation));
}

/// Names of schemas and properties of types stand in every description.
#[pg_guard]
unsafe extern "C-unwind" fn catalog_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    forget(|_| true);
}

fn forget(stale: impl Fn(&Relation) -> bool) {
    CHANGES.set(CHANGES.get() + 1);
    // Nothing that can call back into the server runs while the map is borrowed; the descriptions
    // are released after that, because releasing one calls the server.
    let gone: Vec<_> = CACHE.with(|cache| {
        let mut cache = cache.borrow_mut();
        cache.extract_if(|_, relation| stale(relation)).collect()
    });
    drop(gone);
}
