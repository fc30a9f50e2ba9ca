//! `check_data` piece by piece: a commit after each, so that others see how far it has come, and a run
//! that was cut off goes on where it stopped.
//!
//! A piece is some blocks of a table, under a snapshot of its own. What its rows refer to is kept in
//! memory from piece to piece and so may be older; where something is found with that, the piece is
//! examined again with what is there now.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::data;
use super::examine::{Examiner, Outcome, Part, Referred};
use super::rows;
use super::subjects::{self, Examined, Finding};
use crate::catalog::write;
use crate::error::{Error, OrRaise};
use crate::isolation::{lookup, registry, require_admin};
use crate::migration::{RunLock, commit, is_atomic};
use crate::raw::raw_function;

raw_function! {
    /// `check_data_in_pieces(schemas name[], resume boolean, blocks integer)`.
    tenant_guard_check_data_in_pieces, pg_finfo_tenant_guard_check_data_in_pieces, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; sql/integrity.sql gives the arguments these types. They
        // are copied: the call's own go with its first COMMIT.
        let (schemas, resume, blocks) = unsafe {
            if is_atomic(fcinfo) {
                Error::PiecesInBlock.raise();
            }
            (
                pgrx::fcinfo::pg_getarg::<pgrx::Array<'_, &CStr>>(fcinfo, 0)
                    .map(|names| lookup::known_schemas(&names).or_raise()),
                pgrx::fcinfo::pg_getarg::<bool>(fcinfo, 1),
                pgrx::fcinfo::pg_getarg::<i32>(fcinfo, 2),
            )
        };
        let resume = resume.ok_or(Error::NullArgument("resume")).or_raise();
        let blocks = blocks.ok_or(Error::NullArgument("blocks")).or_raise();
        let fits = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0);
        let fits = fits.ok_or(Error::UnfitArgument("blocks", "a piece has at least one"));
        let blocks = fits.or_raise();
        require_admin().or_raise();
        // SAFETY: SPI's protocol. The connection that may commit needs a CALL that may, as was
        // just checked; on ERROR the transaction's abort disconnects.
        unsafe {
            let connected = pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            assert_eq!(connected, pg_sys::SPI_OK_CONNECT as i32, "SPI refuses a connection");
            run(schemas.as_deref(), resume, blocks);
            pg_sys::SPI_finish();
        }
        pg_sys::Datum::from(0)
    }
}

fn run(schemas: Option<&[String]>, resume: bool, blocks: u32) {
    let lock = RunLock::take("check_data").or_raise();
    if !resume {
        write("DELETE FROM tenant_guard.data_check", &[]);
        write("DELETE FROM tenant_guard.data_check_finding", &[]);
    }
    for examined in subjects::of(schemas) {
        for table in rows::tables_of(examined.subject.relation) {
            let all = i64::from(rows::blocks(table));
            write(
                "INSERT INTO tenant_guard.data_check (relation, part_of, blocks) \
                 VALUES ($1, $2, $3) ON CONFLICT (relation) DO NOTHING",
                &[table.into(), examined.subject.relation.into(), all.into()],
            );
        }
    }
    let mut examiner = data::examiner();
    examiner.let_go();
    commit();
    // What changes between two pieces is read anew with each relation.
    for examined in subjects::of(schemas) {
        examine(&mut examiner, &examined, blocks);
    }
    examiner.renew();
    for finding in data::required_rows(&mut examiner, schemas) {
        keep(finding, true);
    }
    examiner.let_go();
    commit();
    lock.release();
}

/// How far a table has come.
struct Progress {
    table: pg_sys::Oid,
    blocks: i64,
    /// Of all parts together.
    done: i64,
    parts: i64,
}

fn progress(examined: &Examined) -> Vec<Progress> {
    registry::read(
        "SELECT d.relation::oid, d.blocks, d.done, d.parts FROM tenant_guard.data_check AS d \
         JOIN pg_class AS c ON c.oid = d.relation \
         WHERE d.part_of = $1 AND NOT d.finished ORDER BY d.relation",
        &[examined.subject.relation.into()],
        |row| {
            let number = |n| row.get::<i64>(n).map(|number| number.unwrap_or(0));
            Ok(Progress {
                table: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                blocks: number(2)?,
                done: number(3)?,
                parts: number(4)?,
            })
        },
    )
}

fn examine(examiner: &mut Examiner, examined: &Examined, blocks: u32) {
    for of in progress(examined) {
        examiner.renew();
        data::lock(examined);
        let (mut done, mut parts) = (of.done, of.parts);
        let mut referred = None;
        // A run that goes on has its parts already.
        while referred.is_none() && done == 0 {
            referred = examiner.referred(&examined.subject, Part::first(parts as u64));
            parts *= if referred.is_none() { 2 } else { 1 };
        }
        while done < of.blocks * parts {
            let (number, first) = (done / of.blocks, done % of.blocks);
            let part = Part::first(parts as u64).at(number as u64);
            let length = i64::from(blocks).min(of.blocks - first);
            let of_part = match referred.take() {
                Some(known) if first > 0 || number == 0 => known,
                _ => examiner.all_referred(&examined.subject, part),
            };
            // What VACUUM gave back meanwhile had no rows.
            let left = match rows::tables_of(examined.subject.relation).contains(&of.table) {
                true => i64::from(rows::blocks(of.table)) - first,
                false => 0,
            };
            referred = Some(match left {
                1.. => {
                    let place = (first as u32, length.min(left) as u32);
                    piece(examiner, examined, of_part, part, of.table, place)
                }
                _ => of_part,
            });
            done += length;
            write(
                "UPDATE tenant_guard.data_check SET done = $2, parts = $3, finished = $4 \
                 WHERE relation = $1",
                &[
                    of.table.into(),
                    done.into(),
                    parts.into(),
                    (done >= of.blocks * parts).into(),
                ],
            );
            examiner.let_go();
            commit();
            examiner.renew();
            data::lock(examined);
        }
        if of.blocks == 0 {
            write(
                "UPDATE tenant_guard.data_check SET finished = true WHERE relation = $1",
                &[of.table.into()],
            );
        }
        examiner.let_go();
        commit();
    }
}

/// Examines one piece and keeps what was found; what its rows refer to, for the next.
fn piece(
    examiner: &mut Examiner,
    examined: &Examined,
    referred: Vec<Referred>,
    part: Part,
    table: pg_sys::Oid,
    place: (u32, u32),
) -> Vec<Referred> {
    let subject = &examined.subject;
    let mut outcome = examiner.examine_table(subject, &referred, part, table, Some(place));
    // What was read before may have gone on since.
    if outcome.unknown_account.count > 0 {
        data::know_accounts(examiner);
        outcome = examiner.examine_table(subject, &referred, part, table, Some(place));
    }
    if !outcome.is_misdirected() {
        keep_all(examined, outcome);
        return referred;
    }
    drop(referred);
    examiner.forget_parents();
    let now = examiner.all_referred(subject, part);
    let outcome = examiner.examine_table(subject, &now, part, table, Some(place));
    keep_all(examined, outcome);
    now
}

fn keep_all(examined: &Examined, outcome: Outcome) {
    for finding in examined.findings(outcome) {
        keep(finding, false);
    }
}

/// Adds a finding to what other pieces found of the kind, or puts it in the place of that.
fn keep(finding: Finding, anew: bool) {
    let (severity, code, object, detail, count, sample) = data::row(finding);
    write(
        "INSERT INTO tenant_guard.data_check_finding AS f \
             (severity, code, object, detail, count, sample) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (code, object, detail) DO UPDATE SET \
             count = CASE WHEN $7 THEN 0 ELSE f.count END + excluded.count, \
             sample = CASE WHEN $7 THEN excluded.sample \
                 ELSE (f.sample || excluded.sample)[1:5] END",
        &[
            severity.into(),
            code.into(),
            object.into(),
            detail.into(),
            count.into(),
            sample.into(),
            anew.into(),
        ],
    );
}
