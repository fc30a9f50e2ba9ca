//! The statements of a data migration: taken apart, judged, and run.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use tenant_guard_core::migration;

use crate::error::Error;
use crate::versions;

/// At least one statement, none of which ends the transaction.
pub(super) struct Statements {
    each: Vec<CString>,
    hash: String,
}

impl Statements {
    /// Parses a text. Raises 42601 where it is not SQL.
    pub(super) fn parse(sql: &str) -> Result<Self, Error> {
        let text = CString::new(sql).expect("a PostgreSQL text holds no NUL");
        let mut each = Vec::new();
        // SAFETY: the parser returns a list of RawStmt in the current memory context, each with
        // the place of its text in `sql`: byte offsets of whole characters.
        unsafe {
            let mode = pg_sys::RawParseMode::RAW_PARSE_DEFAULT;
            let parsed = pg_sys::raw_parser(text.as_ptr(), mode);
            for raw in pgrx::PgList::<pg_sys::RawStmt>::from_pg(parsed).iter_ptr() {
                refuse_unfit((*raw).stmt)?;
                let start = (*raw).stmt_location.max(0) as usize;
                let end = match (*raw).stmt_len {
                    // The last one goes to the end.
                    0 => sql.len(),
                    length => start + length as usize,
                };
                let statement = CString::new(&sql.as_bytes()[start..end]);
                each.push(statement.expect("a PostgreSQL text holds no NUL"));
            }
        }
        if each.is_empty() {
            return Err(Error::EmptyArgument("sql"));
        }
        Ok(Self {
            each,
            hash: migration::statements_hash(sql),
        })
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Runs them with the caller's rights, and what was deferred to the end of the transaction.
    /// Returns how many rows they inserted, updated and deleted.
    pub(super) fn execute(&self) -> u64 {
        let rows = self.each.iter().map(|statement| execute(statement)).sum();
        // A failure at COMMIT could not be told from one of another account.
        execute(c"SET CONSTRAINTS ALL IMMEDIATE");
        rows
    }
}

/// # Safety
/// `statement` must be a parse tree.
unsafe fn refuse_unfit(statement: *mut pg_sys::Node) -> Result<(), Error> {
    // SAFETY: the caller vouches; the tag says which node it is.
    unsafe {
        match (*statement).type_ {
            pg_sys::NodeTag::T_TransactionStmt => Err(Error::TransactionControl),
            pg_sys::NodeTag::T_CopyStmt => {
                let copy = statement.cast::<pg_sys::CopyStmt>();
                match (*copy).filename.is_null() {
                    true => Err(Error::CopiesToClient),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Runs one statement; how many rows it changed. What it returns is thrown away.
fn execute(statement: &CStr) -> u64 {
    // SAFETY: SPI's protocol; on ERROR the subtransaction's abort disconnects. The receiver that
    // throws rows away is static.
    unsafe {
        let connected = pg_sys::SPI_connect();
        assert_eq!(
            connected,
            pg_sys::SPI_OK_CONNECT as i32,
            "SPI refuses a connection"
        );
        let options = pg_sys::SPIExecuteOptions {
            dest: pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
            ..Default::default()
        };
        let code = pg_sys::SPI_execute_extended(statement.as_ptr(), &options);
        if code < 0 {
            let name = CStr::from_ptr(pg_sys::SPI_result_code_string(code));
            Error::Unexecutable(name.to_str().unwrap_or_default()).raise();
        }
        let changes = [
            pg_sys::SPI_OK_INSERT,
            pg_sys::SPI_OK_UPDATE,
            pg_sys::SPI_OK_DELETE,
            versions::SPI_OK_MERGE,
            pg_sys::SPI_OK_INSERT_RETURNING,
            pg_sys::SPI_OK_UPDATE_RETURNING,
            pg_sys::SPI_OK_DELETE_RETURNING,
        ];
        let rows = if changes.contains(&(code as u32)) {
            pg_sys::SPI_processed
        } else {
            0
        };
        pg_sys::SPI_finish();
        rows
    }
}
