//! What a command is made from, noted before it begins: by its end PostgreSQL has resolved LIKE clauses
//! away and planned the query of CREATE TABLE AS in its place.

use std::cell::RefCell;

use pgrx::pg_sys::{self, CmdType, NodeTag};

use super::command::{Command, pointers, relation_named, text};

/// What is noted of a command.
#[derive(Default)]
pub(super) struct Noted {
    /// The tables it is to make, each with a relation it is to be like.
    pub(super) likened: Likened,
    /// The relations its query names, views not looked into; none where they cannot be told.
    pub(super) read: Option<Vec<pg_sys::Oid>>,
}

type Likened = Vec<(String, pg_sys::Oid)>;

/// A command that has begun, by its statement and the start of its transaction.
struct Begun {
    statement: usize,
    transaction: pg_sys::TimestampTz,
    noted: Noted,
}

thread_local! {
    static BEGUN: RefCell<Vec<Begun>> = const { RefCell::new(Vec::new()) };
}

/// Notes what a command is to make tables from.
pub(super) fn note(command: &Command) {
    // SAFETY: each statement is read as what its tag says; the elements of a schema are nodes, and
    // the query of an analyzed CREATE TABLE AS is a Query.
    let noted = unsafe {
        match command.node() {
            NodeTag::T_CreateStmt => Noted {
                likened: likened(command.statement()),
                ..Noted::default()
            },
            NodeTag::T_CreateSchemaStmt => {
                let statement: &pg_sys::CreateSchemaStmt = command.statement();
                let tables = pointers::<pg_sys::Node>(statement.schemaElts)
                    .filter(|element| element.type_ == NodeTag::T_CreateStmt)
                    .map(|element| &*std::ptr::from_ref(element).cast::<pg_sys::CreateStmt>());
                Noted {
                    likened: tables.flat_map(|table| likened(table)).collect(),
                    ..Noted::default()
                }
            }
            NodeTag::T_CreateTableAsStmt => {
                let statement: &pg_sys::CreateTableAsStmt = command.statement();
                if is_temporary((*statement.into).rel) {
                    return;
                }
                Noted {
                    read: relations_read(statement.query),
                    ..Noted::default()
                }
            }
            _ => return,
        }
    };
    BEGUN.with_borrow_mut(|begun| {
        // SAFETY: reads the state of the running transaction.
        let transaction = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
        let statement = command.address();
        // What failed in this transaction may have left its statement's address to this one.
        begun.retain(|old| old.transaction == transaction && old.statement != statement);
        if !noted.likened.is_empty() || noted.read.is_some() {
            begun.push(Begun {
                statement,
                transaction,
                noted,
            });
        }
    });
}

/// What was noted when the command began.
pub(super) fn take(command: &Command) -> Option<Noted> {
    BEGUN.with_borrow_mut(|begun| {
        let at = begun
            .iter()
            .position(|begun| begun.statement == command.address())?;
        Some(begun.swap_remove(at).noted)
    })
}

/// Whether a table of this name is made temporary.
///
/// # Safety
/// It must be the name in a statement that makes a table.
pub(super) unsafe fn is_temporary(name: *const pg_sys::RangeVar) -> bool {
    // SAFETY: the caller vouches.
    unsafe { (*name).relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char }
}

/// The relations a query names, views not looked into; none where a prepared statement is gone.
unsafe fn relations_read(query: *mut pg_sys::Node) -> Option<Vec<pg_sys::Oid>> {
    // SAFETY: the caller passes an analyzed Query that was not planned yet; the lists are read at
    // once.
    unsafe {
        if let Some(executed) = relations_executed(query) {
            return executed;
        }
        let mut relations = std::ptr::null_mut();
        let mut others = std::ptr::null_mut();
        let mut row_security = false;
        pg_sys::extract_query_dependencies(query, &mut relations, &mut others, &mut row_security);
        let relations = pgrx::PgList::<pg_sys::Oid>::from_pg(relations);
        Some(relations.iter_oid().collect())
    }
}

/// Where a query executes a prepared statement, what that reads, or none where it is gone.
///
/// # Safety
/// `query` must be the Query of a CREATE TABLE AS.
pub(super) unsafe fn relations_executed(
    query: *mut pg_sys::Node,
) -> Option<Option<Vec<pg_sys::Oid>>> {
    // SAFETY: the caller vouches for the query; planning leaves a utility statement in it alone. A
    // prepared statement keeps the relations of its rewritten queries.
    unsafe {
        let analyzed = &*query.cast::<pg_sys::Query>();
        if analyzed.commandType != CmdType::CMD_UTILITY {
            return None;
        }
        let execute = analyzed.utilityStmt;
        if (*execute).type_ != NodeTag::T_ExecuteStmt {
            return Some(None);
        }
        let name = (*execute.cast::<pg_sys::ExecuteStmt>()).name;
        let prepared = pg_sys::FetchPreparedStatement(name, false);
        if prepared.is_null() {
            return Some(None);
        }
        let relations = (*(*prepared).plansource).relationOids;
        let relations = pgrx::PgList::<pg_sys::Oid>::from_pg(relations);
        Some(Some(relations.iter_oid().collect()))
    }
}

/// The table a statement makes with each relation it names in LIKE.
unsafe fn likened(statement: &pg_sys::CreateStmt) -> Likened {
    // SAFETY: the elements of a table are nodes; those with this tag are LIKE clauses, which name
    // a relation.
    unsafe {
        let table = text((*statement.relation).relname);
        pointers::<pg_sys::Node>(statement.tableElts)
            .filter(|element| element.type_ == NodeTag::T_TableLikeClause)
            .filter_map(|element| {
                let clause = std::ptr::from_ref(element).cast::<pg_sys::TableLikeClause>();
                let source = relation_named((*clause).relation);
                (source != pg_sys::Oid::INVALID).then(|| (table.clone(), source))
            })
            .collect()
    }
}
