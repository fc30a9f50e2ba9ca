//! Accounts of persons: tokens that name nobody's account, and the list of accounts that exist.
//!
//! Both stand in tables of the product, declared once. They are read as the owner of each table,
//! past its row security, so they may be protected themselves.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::audit::push_identifier;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::token::{Accepted, Membership, Refusal};

use crate::audit::record::record_system;
use crate::audit::text::qualified_name;
use crate::catalog::{as_owner, as_relation_owner, write};
use crate::error::{Error, OrRaise};
use crate::kept_plan::KeptPlan;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::watch::Watch;

/// The identity an accepted token gives: in an account of its own, or else of the person's.
pub(super) fn identity(accepted: &Accepted, chosen: Option<&str>) -> Result<Identity, Error> {
    settled(|sources| {
        let identity = match (&accepted.accounts, &sources.membership) {
            (None, Some(source)) => {
                let subject = accepted.subject.as_deref().ok_or(Refusal::NotAMember)?;
                accepted.member_identity(&source.memberships(subject)?, chosen)?
            }
            _ => accepted.identity(chosen)?,
        };
        require_active(sources, &identity.account)?;
        Ok(identity)
    })
}

/// The accounts of the declared relation, suspended ones too, in canonical text; `None` where
/// none is declared.
pub(crate) fn accounts() -> Result<Option<Vec<String>>, Error> {
    settled(|sources| sources.account.as_ref().map(Source::keys).transpose())
}

/// Runs `look_up` until nothing changed meanwhile. PostgreSQL reads relations by name, and the
/// schema in a name is not locked: another relation could have come by the name.
fn settled<T>(look_up: impl Fn(&Sources) -> Result<T, Error>) -> Result<T, Error> {
    loop {
        let result = look_up(&sources());
        // SAFETY: runs inside a transaction.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        if !WATCH.is_stale() {
            return result;
        }
    }
}

fn require_active(sources: &Sources, account: &AccountId) -> Result<(), Error> {
    match &sources.account {
        Some(source) if !source.is_active(account)? => Err(Refusal::InactiveAccount.into()),
        _ => Ok(()),
    }
}

/// What was declared with `set_membership` and `set_account_relation`.
#[derive(Default)]
struct Sources {
    membership: Option<Source>,
    account: Option<Source>,
}

/// A declared relation and the look-up in it.
struct Source {
    relation: pg_sys::Oid,
    key: KeyType,
    plan: KeptPlan,
    /// Lists all keys.
    listing: String,
}

/// Account and role of a row, where the declaration names columns for them.
type Found = (Option<String>, Option<String>);

/// Type of the column that is looked up.
#[derive(Clone, Copy)]
enum KeyType {
    Uuid,
    Bigint,
    Text,
}

static WATCH: Watch = Watch::new(c"identity_source");

thread_local! {
    /// Never dropped: at exit the server takes its memory back itself.
    static SOURCES: ManuallyDrop<RefCell<Rc<Sources>>> = ManuallyDrop::new(RefCell::default());
}

/// What is declared now. Its relations are locked against changes until the transaction ends: a
/// column that became one of another type could bring along its owner's code.
fn sources() -> Rc<Sources> {
    loop {
        if WATCH.is_stale() {
            let loaded = Rc::new(WATCH.read(load).or_raise());
            SOURCES.with(|known| known.replace(loaded));
        }
        let sources = SOURCES.with(|known| Rc::clone(&known.borrow()));
        for source in [&sources.membership, &sources.account]
            .into_iter()
            .flatten()
        {
            // SAFETY: a lock on an oid; of a relation that is gone it is a lock on nothing.
            unsafe { pg_sys::LockRelationOid(source.relation, pg_sys::AccessShareLock as i32) };
        }
        // Taking a lock makes pending changes known.
        if !WATCH.is_stale() {
            return sources;
        }
    }
}

/// One declaration.
struct Declared {
    relation: pg_sys::Oid,
    key_column: String,
    account_column: Option<String>,
    role_column: Option<String>,
    active_column: Option<String>,
}

fn load() -> Result<Sources, Error> {
    let mut sources = Sources::default();
    let mut declared = Vec::new();
    as_owner(|| {
        with_latest_snapshot(|| {
            for_each_row(
                c"SELECT s.purpose, s.relation::pg_catalog.int8, s.key_column::pg_catalog.text, \
                  s.account_column::pg_catalog.text, s.role_column::pg_catalog.text, \
                  s.active_column::pg_catalog.text FROM tenant_guard.identity_source AS s",
                &[],
                |row| {
                    let name = |column| row.optional_text(column).map(str::to_owned);
                    let source = Declared {
                        relation: pg_sys::Oid::from(row.bigint(1) as u32),
                        key_column: row.text(2).to_owned(),
                        account_column: name(3),
                        role_column: name(4),
                        active_column: name(5),
                    };
                    declared.push((row.text(0) == "membership", source));
                },
            );
        });
    });
    for (is_membership, source) in declared {
        WATCH.add(source.relation);
        let function = match is_membership {
            true => "set_membership",
            false => "set_account_relation",
        };
        let prepared = source.prepare().map_err(|error| match error {
            Error::NoColumn(column, relation) => Error::SourceAltered(column, relation, function),
            other => other,
        });
        let prepared = Some(prepared?);
        if is_membership {
            sources.membership = prepared;
        } else {
            sources.account = prepared;
        }
    }
    Ok(sources)
}

impl Declared {
    /// Checks that the relation still is what it was declared as, and prepares the look-up.
    ///
    /// Only tables are read, and only columns of types whose code is PostgreSQL's: nothing else
    /// could be told to give the rows that were declared.
    fn prepare(&self) -> Result<Source, Error> {
        refuse_other_than_table(self.relation)?;
        let key = match self.column_type(&self.key_column)? {
            pg_sys::UUIDOID => KeyType::Uuid,
            pg_sys::INT4OID | pg_sys::INT8OID => KeyType::Bigint,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => KeyType::Text,
            _ => return Err(self.unfit(&self.key_column, "uuid, bigint, integer or text")),
        };
        if let Some(account) = &self.account_column {
            use pg_sys::{INT4OID, INT8OID, TEXTOID, UUIDOID, VARCHAROID};
            let kind = self.column_type(account)?;
            if ![UUIDOID, INT4OID, INT8OID, TEXTOID, VARCHAROID].contains(&kind) {
                return Err(self.unfit(account, "uuid, bigint, integer or text"));
            }
        }
        if let Some(role) = &self.role_column
            && ![pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&self.column_type(role)?)
            && !is_enum(self.column_type(role)?)
        {
            return Err(self.unfit(role, "text or an enum"));
        }
        if let Some(active) = &self.active_column
            && self.column_type(active)? != pg_sys::BOOLOID
        {
            return Err(self.unfit(active, "boolean"));
        }
        let (query, parameter) = (self.query(key), key.parameter());
        let query = CString::new(query).expect("names of the catalog hold no NUL");
        let prepare = || KeptPlan::of(&query, &[parameter], 2);
        Ok(Source {
            relation: self.relation,
            key,
            plan: as_relation_owner(self.relation, prepare)?,
            listing: listing(self.relation, &self.key_column),
        })
    }

    fn query(&self, key: KeyType) -> String {
        let column = |name: &str| {
            let mut quoted = String::from("s.");
            push_identifier(&mut quoted, name);
            quoted
        };
        let text = |name: &Option<String>| match name {
            Some(name) => format!("{}::pg_catalog.text", column(name)),
            None => "NULL::pg_catalog.text".to_owned(),
        };
        let active = match &self.active_column {
            Some(name) => format!(" AND {}", column(name)),
            None => String::new(),
        };
        // The index serves the column's own equality; a collation may call more texts equal.
        let exactly = match key {
            KeyType::Text => format!(
                " AND {}::pg_catalog.text OPERATOR(pg_catalog.=) $1 COLLATE pg_catalog.\"C\"",
                column(&self.key_column),
            ),
            KeyType::Uuid | KeyType::Bigint => String::new(),
        };
        format!(
            "SELECT {}, {} FROM {} AS s WHERE {} OPERATOR(pg_catalog.=) $1::{}\
             {exactly}{active}",
            text(&self.account_column),
            text(&self.role_column),
            without_children(self.relation),
            column(&self.key_column),
            key.sql(),
        )
    }

    fn relation_name(&self) -> String {
        qualified_name(self.relation)
    }

    /// The type of a column of the relation; 42703 where there is no such column.
    fn column_type(&self, name: &str) -> Result<pg_sys::Oid, Error> {
        let missing = || Error::NoColumn(name.to_owned(), self.relation_name());
        let c_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: catalog look-ups by oid and name.
        unsafe {
            let number = pg_sys::get_attnum(self.relation, c_name.as_ptr());
            if number <= 0 {
                return Err(missing());
            }
            Ok(pg_sys::get_atttype(self.relation, number))
        }
    }

    fn unfit(&self, column: &str, wanted: &'static str) -> Error {
        Error::UnfitColumn(column.to_owned(), self.relation_name(), wanted)
    }
}

/// What FROM reads a relation by. A child of another owner is none of what was declared.
pub(crate) fn without_children(relation: pg_sys::Oid) -> String {
    // SAFETY: a catalog look-up by oid.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    let only = if kind == pg_sys::RELKIND_PARTITIONED_TABLE {
        ""
    } else {
        "ONLY "
    };
    format!("{only}{}", qualified_name(relation))
}

/// The query for the different values of a column, as text.
fn listing(relation: pg_sys::Oid, column: &str) -> String {
    let mut text = String::from("SELECT DISTINCT s.");
    push_identifier(&mut text, column);
    let from = without_children(relation);
    text + &format!("::pg_catalog.text FROM {from} AS s")
}

/// The accounts that a column of a relation names, read with the rights of the relation's owner and
/// past its row security.
pub(crate) fn accounts_in(relation: pg_sys::Oid, column: &str) -> Result<Vec<String>, Error> {
    texts(relation, &listing(relation, column))
}

fn texts(relation: pg_sys::Oid, query: &str) -> Result<Vec<String>, Error> {
    let query = CString::new(query).expect("names of the catalog hold no NUL");
    let mut texts = Vec::new();
    as_relation_owner(relation, || {
        with_latest_snapshot(|| {
            for_each_row(&query, &[], |row| {
                texts.extend(row.optional_text(0).map(str::to_owned));
            });
        });
    })?;
    Ok(texts)
}

fn refuse_other_than_table(relation: pg_sys::Oid) -> Result<(), Error> {
    // SAFETY: a catalog look-up by oid, 0 for one that does not exist.
    match unsafe { pg_sys::get_rel_relkind(relation) } as u8 {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE => Ok(()),
        0 => Err(Error::SourceGone(relation.to_u32().to_string())),
        _ => Err(Error::NotATable(qualified_name(relation))),
    }
}

fn is_enum(type_id: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by oid.
    unsafe { pg_sys::type_is_enum(type_id) }
}

impl KeyType {
    fn parameter(self) -> pg_sys::Oid {
        match self {
            Self::Uuid => pg_sys::UUIDOID,
            Self::Bigint => pg_sys::INT8OID,
            Self::Text => pg_sys::TEXTOID,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Uuid => "pg_catalog.uuid",
            Self::Bigint => "pg_catalog.int8",
            Self::Text => "pg_catalog.text",
        }
    }
}

impl Source {
    /// The person's memberships.
    fn memberships(&self, subject: &str) -> Result<Vec<Membership>, Error> {
        let Ok(subject) = AccountId::from_text(subject) else {
            return Ok(Vec::new());
        };
        let rows = self.look_up(&subject)?;
        // A row without a usable account makes nobody a member of anything.
        Ok(rows
            .into_iter()
            .filter_map(|(account, role)| {
                let account = AccountId::from_text(&account?).ok()?;
                let role = role.filter(|role| !role.is_empty());
                Some(Membership { account, role })
            })
            .collect())
    }

    fn keys(&self) -> Result<Vec<String>, Error> {
        texts(self.relation, &self.listing)
    }

    fn is_active(&self, account: &AccountId) -> Result<bool, Error> {
        Ok(!self.look_up(account)?.is_empty())
    }

    /// Rows whose key is `key`; none where it is not of the column's type.
    fn look_up(&self, key: &AccountId) -> Result<Vec<Found>, Error> {
        let argument = match self.key {
            KeyType::Uuid => key
                .as_uuid()
                .and_then(|uuid| pgrx::Uuid::from_bytes(uuid).into_datum()),
            KeyType::Bigint => key.as_bigint().and_then(IntoDatum::into_datum),
            KeyType::Text => key.as_str().into_datum(),
        };
        let Some(argument) = argument else {
            return Ok(Vec::new());
        };
        let rows = as_relation_owner(self.relation, || {
            with_latest_snapshot(|| self.plan.rows(vec![argument]))
        })?;
        let found = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter();
            (columns.next().flatten(), columns.next().flatten())
        };
        Ok(rows.into_iter().map(found).collect())
    }
}

/// Declares where memberships stand, or, with no relation, that they stand nowhere.
#[pg_extern(sql = false)]
fn set_membership(
    relation: Option<pg_sys::Oid>,
    subject_column: Option<&CStr>,
    account_column: Option<&CStr>,
    role_column: Option<&CStr>,
    active_column: Option<&CStr>,
) {
    let declared = relation.map(|relation| Declared {
        relation,
        key_column: required(subject_column, "subject_column"),
        account_column: Some(required(account_column, "account_column")),
        role_column: role_column.map(name),
        active_column: active_column.map(name),
    });
    declare("membership", declared).or_raise();
}

/// Declares the relation of accounts, or, with no relation, that every account exists.
#[pg_extern(sql = false)]
fn set_account_relation(
    relation: Option<pg_sys::Oid>,
    key_column: Option<&CStr>,
    active_column: Option<&CStr>,
) {
    let declared = relation.map(|relation| Declared {
        relation,
        key_column: required(key_column, "key_column"),
        account_column: None,
        role_column: None,
        active_column: active_column.map(name),
    });
    declare("account", declared).or_raise();
}

fn declare(purpose: &str, declared: Option<Declared>) -> Result<(), Error> {
    let mut data = serde_json::Map::new();
    if let Some(declared) = &declared {
        refuse_unreadable(declared)?;
        declared.prepare()?;
        data.insert("relation".into(), declared.relation_name().into());
    }
    let forget = "DELETE FROM tenant_guard.identity_source \
                  WHERE purpose OPERATOR(pg_catalog.=) $1";
    write(forget, &[purpose.into()]);
    write(
        "DELETE FROM tenant_guard.identity_source_column WHERE purpose OPERATOR(pg_catalog.=) $1",
        &[purpose.into()],
    );
    if let Some(declared) = declared {
        write(
            "INSERT INTO tenant_guard.identity_source \
             (purpose, relation, key_column, account_column, role_column, active_column) \
             VALUES ($1, $2::pg_catalog.regclass, $3::pg_catalog.text::pg_catalog.name, \
                $4::pg_catalog.text::pg_catalog.name, $5::pg_catalog.text::pg_catalog.name, \
                $6::pg_catalog.text::pg_catalog.name)",
            &[
                purpose.into(),
                declared.relation.into(),
                declared.key_column.into(),
                declared.account_column.into(),
                declared.role_column.into(),
                declared.active_column.into(),
            ],
        );
        write(
            "INSERT INTO tenant_guard.identity_source_column (purpose, name, number) \
             SELECT DISTINCT s.purpose, a.attname, a.attnum FROM tenant_guard.identity_source AS s \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) s.relation \
                 AND a.attname OPERATOR(pg_catalog.=) ANY ( \
                     ARRAY[s.key_column, s.account_column, s.role_column, s.active_column]) \
             WHERE s.purpose OPERATOR(pg_catalog.=) $1",
            &[purpose.into()],
        );
    }
    let data = serde_json::Value::Object(data).to_string();
    record_system(&format!("set {purpose} relation"), None, "", Some(&data));
    Ok(())
}

/// Whoever declares a relation has us read it, so they must be allowed to read it themselves.
fn refuse_unreadable(declared: &Declared) -> Result<(), Error> {
    // SAFETY: a privilege look-up for the current role.
    let readable = unsafe {
        pg_sys::pg_class_aclcheck(
            declared.relation,
            pg_sys::GetUserId(),
            pg_sys::ACL_SELECT as pg_sys::AclMode,
        ) == pg_sys::AclResult::ACLCHECK_OK
    };
    match readable {
        true => Ok(()),
        false => Err(Error::NotReadable(declared.relation_name())),
    }
}

fn required(argument: Option<&CStr>, what: &'static str) -> String {
    name(argument.ok_or(Error::NullArgument(what)).or_raise())
}

fn name(argument: &CStr) -> String {
    argument.to_string_lossy().into_owned()
}
