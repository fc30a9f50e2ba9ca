//! Expressions of policies, compiled as `CREATE POLICY` compiles them.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use pgrx::prelude::*;

/// The expression over columns of `relation` as a tree, in the current memory context.
///
/// Everything in `sql` is qualified, so no search path decides what it names.
pub(super) fn compile(relation: pg_sys::Oid, sql: &str) -> *mut pg_sys::Node {
    let text = CString::new(sql).expect("names and constants of the catalog hold no NUL");
    // SAFETY: the parser returns a list with one statement, a SELECT of one target, for any text it
    // accepts as an expression, and raises otherwise. The relation stays open for the analysis; the
    // lock is kept to the end of the transaction, as the analysis keeps those it takes itself.
    unsafe {
        let parsed =
            pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let statement = (*pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>()).stmt;
        let select = statement.cast::<pg_sys::SelectStmt>();
        let target = pg_sys::list_nth((*select).targetList, 0).cast::<pg_sys::ResTarget>();

        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = text.as_ptr();
        let lock = pg_sys::AccessShareLock as i32;
        let table = pg_sys::table_open(relation, lock);
        let item = pg_sys::addRangeTableEntryForRelation(
            state,
            table,
            lock,
            std::ptr::null_mut(),
            false,
            false,
        );
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let kind = pg_sys::ParseExprKind::EXPR_KIND_POLICY;
        let expression = pg_sys::transformExpr(state, (*target).val, kind);
        let condition = pg_sys::coerce_to_boolean(state, expression, c"POLICY".as_ptr());
        pg_sys::assign_expr_collations(state, condition);
        pg_sys::free_parsestate(state);
        pg_sys::table_close(table, pg_sys::NoLock as i32);
        condition
    }
}

/// The expression as the catalog would print it, had a policy of `relation` been made with it.
pub(super) fn printed(relation: pg_sys::Oid, sql: &str) -> String {
    let tree = compile(relation, sql);
    // SAFETY: a tree has a text form, which is what a catalog holds of it and pg_get_expr takes.
    unsafe {
        let stored = CStr::from_ptr(pg_sys::nodeToString(tree.cast()));
        let stored = pg_sys::cstring_to_text(stored.as_ptr());
        pgrx::direct_function_call::<String>(
            pg_sys::pg_get_expr,
            &[Some(stored.into()), relation.into_datum()],
        )
        .unwrap_or_default()
    }
}
