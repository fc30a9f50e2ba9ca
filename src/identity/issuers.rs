//! Registered issuers: their table, and the prepared keys each backend keeps of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};

use crate::catalog::{as_owner, write};
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;
use crate::ledger::rows::{Row, for_each_row, with_latest_snapshot};
use crate::raw::{json_argument, raw_function, trigger_data};
use crate::secrecy::hide_statement;
use crate::watch::Watch;

static WATCH: Watch = Watch::new(c"issuer");

thread_local! {
    static PREPARED: RefCell<Rc<Issuers>> = RefCell::default();
    /// Counts the reloads, so that verified tokens are forgotten with the keys that verified them.
    static GENERATION: Cell<u64> = const { Cell::new(0) };
}

/// The issuers as of the last invalidation this backend has seen, and the number of that state.
pub(super) fn current() -> (u64, Rc<Issuers>) {
    if WATCH.is_stale() {
        let loaded = Rc::new(Issuers::new(WATCH.read(load).or_raise()));
        PREPARED.replace(loaded);
        GENERATION.set(GENERATION.get() + 1);
    }
    (GENERATION.get(), PREPARED.with_borrow(Rc::clone))
}

fn load() -> Result<Vec<Issuer>, Error> {
    let mut settings = Vec::new();
    as_owner(|| {
        // The caller's snapshot may be older than the invalidation that led here: read under it,
        // keys that are retired would be kept beyond its transaction.
        with_latest_snapshot(|| {
            for_each_row(
                c"SELECT i.issuer, i.keys::pg_catalog.text, i.algorithms, i.audiences, \
                  i.claim_paths::pg_catalog.text, \
                  (pg_catalog.date_part('epoch', i.leeway) \
                   OPERATOR(pg_catalog.*) 1e6)::pg_catalog.int8, \
                  (pg_catalog.date_part('epoch', i.max_age) \
                   OPERATOR(pg_catalog.*) 1e6)::pg_catalog.int8, \
                  i.require_exp::pg_catalog.int4::pg_catalog.int8 \
                  FROM tenant_guard.issuer AS i",
                &[],
                |row| settings.push(settings_of(row)),
            );
            fault_point!("authenticate.keys_read");
        });
    });
    settings
        .into_iter()
        .map(|settings| Issuer::new(settings).map_err(Error::from))
        .collect()
}

fn settings_of(row: &Row<'_>) -> IssuerSettings {
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    IssuerSettings {
        issuer: row.text(0).to_owned(),
        keys: row.text(1).to_owned(),
        algorithms: row.texts(2).map(owned),
        audiences: row.texts(3).map(owned),
        claim_paths: row.text(4).to_owned(),
        leeway_us: row.bigint(5),
        max_age_us: row.optional_bigint(6),
        require_exp: row.bigint(7) != 0,
    }
}

/// An issuer as `add_issuer` takes it.
struct Definition {
    issuer: String,
    keys: String,
    settings: Settings,
}

/// Everything of an issuer but its name and keys, as the management functions take it.
struct Settings {
    algorithms: Option<Vec<String>>,
    audiences: Option<Vec<String>>,
    claim_paths: String,
    leeway: Interval,
    max_age: Option<Interval>,
    require_exp: bool,
}

impl Settings {
    /// # Safety
    ///
    /// `fcinfo` is of a function whose arguments from `first` on are `algorithms`, `audiences`,
    /// `claim_paths`, `leeway`, `max_age` and `require_exp`.
    unsafe fn from_arguments(
        fcinfo: pg_sys::FunctionCallInfo,
        first: usize,
    ) -> Result<Self, Error> {
        use pgrx::fcinfo::pg_getarg as argument;
        let required = Error::NullArgument;
        // SAFETY: the caller vouches for the arguments and their types.
        unsafe {
            Ok(Self {
                algorithms: texts(argument(fcinfo, first), "an element of algorithms")?,
                audiences: texts(argument(fcinfo, first + 1), "an element of audiences")?,
                claim_paths: json_argument(fcinfo, first + 2).ok_or(required("claim_paths"))?,
                leeway: argument(fcinfo, first + 3).ok_or(required("leeway"))?,
                max_age: argument(fcinfo, first + 4),
                require_exp: argument(fcinfo, first + 5).ok_or(required("require_exp"))?,
            })
        }
    }

    /// Their lengths in microseconds, where they have one.
    fn lengths(&self) -> Result<(i64, Option<i64>), Error> {
        let max_age = self.max_age.map(|age| fixed_length("max_age", &age));
        Ok((fixed_length("leeway", &self.leeway)?, max_age.transpose()?))
    }
}

impl Definition {
    /// Refuses what `authenticate` could not work with.
    fn validate(&self) -> Result<(), Error> {
        let (leeway_us, max_age_us) = self.settings.lengths()?;
        Issuer::new(IssuerSettings {
            issuer: self.issuer.clone(),
            keys: self.keys.clone(),
            algorithms: self.settings.algorithms.clone(),
            audiences: self.settings.audiences.clone(),
            claim_paths: self.settings.claim_paths.clone(),
            leeway_us,
            max_age_us,
            require_exp: self.settings.require_exp,
        })?;
        Ok(())
    }
}

/// A million days, in microseconds: exact on its way through the double that `date_part` returns.
const LONGEST_US: i64 = 1_000_000 * 86_400_000_000;

/// Microseconds of an interval that has a fixed length: months have none.
pub(crate) fn fixed_length(name: &'static str, interval: &Interval) -> Result<i64, Error> {
    let length = i64::from(interval.days())
        .checked_mul(86_400_000_000)
        .and_then(|days| days.checked_add(interval.micros()));
    match length {
        Some(length) if interval.months() == 0 && (0..=LONGEST_US).contains(&length) => Ok(length),
        _ => Err(Error::UnfitInterval(name)),
    }
}

raw_function! {
    /// `add_issuer(issuer, keys, algorithms, audiences, claim_paths, leeway, max_age, require_exp)`.
    tenant_guard_add_issuer, pg_finfo_tenant_guard_add_issuer, |fcinfo| {
        let _hidden = hide_statement();
        // SAFETY: PostgreSQL passed `fcinfo`; sql/identity.sql gives the arguments these types.
        let definition = unsafe {
            use pgrx::fcinfo::pg_getarg as argument;
            Definition {
                issuer: argument(fcinfo, 0).ok_or(Error::NullArgument("issuer")).or_raise(),
                keys: json_argument(fcinfo, 1).ok_or(Error::NullArgument("keys")).or_raise(),
                settings: Settings::from_arguments(fcinfo, 2).or_raise(),
            }
        };
        add_issuer(&definition).or_raise();
        pg_sys::Datum::from(0)
    }
}

/// The elements of an array argument, none of which may be NULL.
fn texts(
    array: Option<Vec<Option<String>>>,
    element: &'static str,
) -> Result<Option<Vec<String>>, Error> {
    array
        .map(|elements| elements.into_iter().collect::<Option<Vec<_>>>())
        .map(|elements| elements.ok_or(Error::NullArgument(element)))
        .transpose()
}

fn add_issuer(definition: &Definition) -> Result<(), Error> {
    definition.validate()?;
    let settings = &definition.settings;
    let inserted = write(
        "INSERT INTO tenant_guard.issuer \
         (issuer, keys, algorithms, audiences, claim_paths, leeway, max_age, require_exp) \
         VALUES ($1, $2::pg_catalog.jsonb, $3, $4, $5::pg_catalog.jsonb, $6, $7, $8) \
         ON CONFLICT DO NOTHING",
        &[
            definition.issuer.as_str().into(),
            definition.keys.as_str().into(),
            settings.algorithms.clone().into(),
            settings.audiences.clone().into(),
            settings.claim_paths.as_str().into(),
            settings.leeway.into(),
            settings.max_age.into(),
            settings.require_exp.into(),
        ],
    );
    if inserted == 0 {
        return Err(Error::IssuerExists(definition.issuer.clone()));
    }
    Ok(())
}

raw_function! {
    /// `alter_issuer(issuer, algorithms, audiences, claim_paths, leeway, max_age, require_exp)`.
    tenant_guard_alter_issuer, pg_finfo_tenant_guard_alter_issuer, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; sql/identity.sql gives the arguments these types.
        let (issuer, settings) = unsafe {
            (
                pgrx::fcinfo::pg_getarg::<String>(fcinfo, 0)
                    .ok_or(Error::NullArgument("issuer"))
                    .or_raise(),
                Settings::from_arguments(fcinfo, 1).or_raise(),
            )
        };
        alter_issuer(&issuer, &settings).or_raise();
        pg_sys::Datum::from(0)
    }
}

fn alter_issuer(issuer: &str, settings: &Settings) -> Result<(), Error> {
    settings.lengths()?;
    let updated = write(
        "UPDATE tenant_guard.issuer SET algorithms = $2, audiences = $3, \
             claim_paths = $4::pg_catalog.jsonb, leeway = $5, max_age = $6, require_exp = $7 \
         WHERE issuer OPERATOR(pg_catalog.=) $1",
        &[
            issuer.into(),
            settings.algorithms.clone().into(),
            settings.audiences.clone().into(),
            settings.claim_paths.as_str().into(),
            settings.leeway.into(),
            settings.max_age.into(),
            settings.require_exp.into(),
        ],
    );
    if updated == 0 {
        return Err(Error::UnknownIssuer(issuer.to_owned()));
    }
    // Judges them by the keys they will work with: what is unfit takes the update back.
    load().map(drop)
}

raw_function! {
    /// `set_issuer_keys(issuer text, keys jsonb)`.
    tenant_guard_set_issuer_keys, pg_finfo_tenant_guard_set_issuer_keys, |fcinfo| {
        let _hidden = hide_statement();
        // SAFETY: PostgreSQL passed `fcinfo`; sql/identity.sql gives the arguments these types.
        let (issuer, keys) = unsafe {
            use pgrx::fcinfo::pg_getarg as argument;
            (
                argument::<String>(fcinfo, 0).ok_or(Error::NullArgument("issuer")).or_raise(),
                json_argument(fcinfo, 1).ok_or(Error::NullArgument("keys")).or_raise(),
            )
        };
        set_issuer_keys(&issuer, &keys).or_raise();
        pg_sys::Datum::from(0)
    }
}

fn set_issuer_keys(issuer: &str, keys: &str) -> Result<(), Error> {
    // The row lock first, so that the keys are judged by the settings they will work with.
    let updated = write(
        "UPDATE tenant_guard.issuer SET keys = $2::pg_catalog.jsonb \
         WHERE issuer OPERATOR(pg_catalog.=) $1",
        &[issuer.into(), keys.into()],
    );
    if updated == 0 {
        return Err(Error::UnknownIssuer(issuer.to_owned()));
    }
    // Judges the new row beside all others: an unfit one raises and takes the update back.
    load().map(drop)
}

/// Removes an issuer: its tokens are refused from the next transaction of every session on.
#[pg_extern(sql = false)]
fn drop_issuer(issuer: &str) {
    let deleted = write(
        "DELETE FROM tenant_guard.issuer WHERE issuer OPERATOR(pg_catalog.=) $1",
        &[issuer.into()],
    );
    if deleted == 0 {
        Error::UnknownIssuer(issuer.to_owned()).raise();
    }
}

raw_function! {
    /// Statement trigger on tables that backends keep in memory: tells them to read anew.
    /// Also reached by a restore and by a superuser's own edits.
    tenant_guard_tell_backends, pg_finfo_tenant_guard_tell_backends, |fcinfo| {
        // SAFETY: PostgreSQL passed `fcinfo`; the relation of a firing trigger is open.
        unsafe {
            let trigger = trigger_data(fcinfo, "tell_backends()");
            pg_sys::CacheInvalidateRelcache(trigger.tg_relation);
        }
        pg_sys::Datum::from(0)
    }
}
