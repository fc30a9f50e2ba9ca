//! Data migrations under forced row security: statements run once for each account, in a
//! transaction of its own that is bound to that account.
//!
//! Native rather than PL/pgSQL: so nobody but this code can write the record of runs, and being
//! allowed to call it needs no right to `act_as` (docs/decisions.md).

mod accounts;
mod runs;
mod statements;

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::migration::{self, OnError};

use crate::catalog::role_name;
use crate::error::{Error, Failure, OrRaise};
use crate::identity::{authenticate, binding, doors};
use crate::random::random_bytes;
use crate::raw::raw_function;
use crate::subtransaction;
pub(crate) use runs::RunLock;
use statements::Statements;

/// Most accounts that an error names.
const LONGEST_LIST: usize = 20;

raw_function! {
    /// `for_each_account(sql text, reason text, run text, accounts text[], on_error text,
    /// subject text, roles text[])`.
    tenant_guard_for_each_account, pg_finfo_tenant_guard_for_each_account, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; sql/migration.sql gives the arguments these types.
        // They are copied: the call's own go with its first COMMIT.
        let (migration, accounts) = unsafe {
            if is_atomic(fcinfo) {
                Error::MigrationInBlock.raise();
            }
            (Migration::from_arguments(fcinfo).or_raise(), names(fcinfo, 3).or_raise())
        };
        authenticate::refuse_unbound_caller().or_raise();
        // SAFETY: SPI's protocol. The connection that may commit needs a CALL that may, as was
        // just checked; on ERROR the transaction's abort disconnects.
        unsafe {
            let connected = pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            assert_eq!(connected, pg_sys::SPI_OK_CONNECT as i32, "SPI refuses a connection");
            migration.carry_out(accounts.as_deref()).or_raise();
            pg_sys::SPI_finish();
        }
        pg_sys::Datum::from(0)
    }
}

/// Whether the procedure was called where it may not commit.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function.
pub(crate) unsafe fn is_atomic(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: the context of a call is a node or null; its tag says CallContext.
    unsafe {
        let context = (*fcinfo).context;
        context.is_null()
            || (*context).type_ != pg_sys::NodeTag::T_CallContext
            || (*context.cast::<pg_sys::CallContext>()).atomic
    }
}

/// The elements of the text[] argument `n`; `None` for SQL NULL.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the running function, whose argument `n` is a text[].
unsafe fn names(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> Result<Option<Vec<String>>, Error> {
    // SAFETY: the caller vouches.
    let names = unsafe { pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, n) };
    names
        .map(|names| names.into_iter().collect::<Option<_>>())
        .map(|names| names.ok_or(Error::NullArgument("an element of an array")))
        .transpose()
}

/// What is to be done in the name of each account.
struct Migration {
    statements: Statements,
    reason: String,
    run: Option<String>,
    on_error: OnError,
    subject: String,
    roles: Vec<String>,
}

/// The statements failed for an account.
struct Failed {
    failure: Failure,
    by_server: bool,
}

impl Migration {
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to `for_each_account`.
    unsafe fn from_arguments(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Error> {
        // SAFETY: the caller vouches; sql/migration.sql gives these arguments type text.
        let text = |n| unsafe { crate::raw::text_argument(fcinfo, n) };
        let reason = text(1).filter(|reason| !reason.trim().is_empty());
        let run = text(2);
        if run.as_ref().is_some_and(String::is_empty) {
            return Err(Error::EmptyArgument("run"));
        }
        let on_error = text(4).ok_or(Error::NullArgument("on_error"))?;
        Ok(Self {
            reason: reason.ok_or(Error::NoReason)?,
            run,
            on_error: OnError::from_name(&on_error).ok_or(Error::UnfitChoice)?,
            // SAFETY: backend-local state.
            subject: text(5).unwrap_or_else(|| role_name(unsafe { pg_sys::GetSessionUserId() })),
            // SAFETY: as above; argument 6 is a text[].
            roles: unsafe { names(fcinfo, 6) }?.ok_or(Error::NullArgument("roles"))?,
            statements: Statements::parse(&text(0).ok_or(Error::NullArgument("sql"))?)?,
        })
    }

    fn carry_out(&self, asked: Option<&[String]>) -> Result<(), Error> {
        let accounts: Vec<_> = accounts::chosen(asked)?.into_iter().collect();
        if accounts.is_empty() {
            notice!("there is no account to visit");
            return Ok(());
        }
        let run = match &self.run {
            Some(run) => run.clone(),
            None => {
                let run = new_name();
                notice!("the run is named \"{run}\"");
                run
            }
        };
        let lock = RunLock::take(&run)?;
        let total = accounts.len();
        let open = runs::begin(&run, self.statements.hash(), &self.reason, accounts)?;
        if open.is_empty() {
            notice!("run \"{run}\" is done already for each of {total} accounts");
        }
        let failures = self.visit(&run, &open, total)?;
        lock.release();
        match Failure::of_all(&run, failures, total) {
            None => Ok(()),
            Some(failure) => Err(Error::Migration(Box::new(failure))),
        }
    }

    /// Visits the accounts one after the other, each in a transaction of its own.
    ///
    /// That the turn of one has come is written by the transaction before it, so that others see
    /// it while it lasts.
    fn visit(&self, run: &str, open: &[AccountId], total: usize) -> Result<Vec<Failure>, Error> {
        if let Some(first) = open.first() {
            runs::start(run, first);
        }
        commit();
        // What is bound beyond a transaction is bound to one account.
        if binding::with_unchecked(|identity| identity.is_some()) {
            return Err(Error::SecondAccount);
        }
        let mut failures = Vec::new();
        for (n, account) in open.iter().enumerate() {
            pgrx::check_for_interrupts!();
            let outcome = self.attempt(run, account);
            let stops = outcome.is_err() && self.on_error == OnError::Stop;
            match &outcome {
                Ok(rows) => runs::finish(run, account, *rows),
                Err(failed) => runs::fail(run, account, &failed.failure, failed.by_server),
            }
            match open.get(n + 1) {
                Some(next) if !stops => runs::start(run, next),
                _ => {}
            }
            commit();
            let done = total - open.len() + n + 1;
            match outcome {
                Ok(rows) if migration::is_progress_due(done, total) => {
                    notice!(
                        "run \"{run}\": {done} of {total} accounts, \"{account}\" changed {rows} rows"
                    );
                }
                Ok(_) => {}
                Err(failed) => {
                    let failure = failed.failure.of_account(run, account);
                    if stops {
                        return Err(Error::Migration(Box::new(failure)));
                    }
                    warning!("{}", failure.message);
                    failures.push(failure);
                }
            }
        }
        Ok(failures)
    }

    /// Runs the statements for one account; how many rows they changed.
    fn attempt(&self, run: &str, account: &AccountId) -> Result<u64, Failed> {
        let attempt = subtransaction::attempt(|| {
            authenticate::refuse_unbound_caller().or_raise();
            doors::migrate_as(account, &self.subject, &self.roles, &self.reason, run).or_raise();
            self.statements.execute()
        });
        attempt.map_err(|report| Failed {
            // Files of the server's own languages are named after them: pl_exec.c, plpy_elog.c.
            by_server: report.file().ends_with(".c") && !report.file().starts_with("pl"),
            failure: Failure {
                code: report.sql_error_code(),
                message: report.message().to_owned(),
                detail: report.detail().map(str::to_owned),
                hint: report.hint().map(str::to_owned),
            },
        })
    }
}

impl Failure {
    fn of_account(self, run: &str, account: &AccountId) -> Self {
        let message = self.message;
        let again = go_on(run);
        Self {
            message: format!("run \"{run}\" failed for account \"{account}\": {message}"),
            hint: Some(match self.hint {
                Some(hint) => format!("{hint}\n{again}"),
                None => again,
            }),
            ..self
        }
    }

    /// One for all accounts that failed, with the SQLSTATE of the first.
    fn of_all(run: &str, failures: Vec<Self>, total: usize) -> Option<Self> {
        let first = failures.first()?;
        let told = failures.iter().take(LONGEST_LIST);
        let told: Vec<_> = told.map(|failure| failure.message.as_str()).collect();
        Some(Self {
            code: first.code,
            message: format!(
                "run \"{run}\" failed for {} of {total} accounts",
                failures.len()
            ),
            detail: Some(told.join("\n")),
            hint: Some(go_on(run)),
        })
    }
}

fn go_on(run: &str) -> String {
    format!("What is done stays. Call it again with run => '{run}' to go on.")
}

/// Ends the transaction and begins the next.
pub(crate) fn commit() {
    // SAFETY: the connection of `for_each_account` is the innermost one and may commit. The
    // snapshot that statements of ours read under must come anew.
    unsafe {
        pg_sys::SPI_commit();
        pg_sys::EnsurePortalSnapshotExists();
    }
}

/// A name that no other run has.
fn new_name() -> String {
    uuid::Builder::from_random_bytes(random_bytes())
        .into_uuid()
        .to_string()
}
