//! Web origins that an account lets its users come from.

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::origin::Origin;

use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, OrRaise};
use crate::identity::binding;
use crate::isolation::{registry, require_admin};

/// Allows an origin for an account.
#[pg_extern(sql = false)]
fn allow_origin(account: &str, origin: &str) {
    let (account, origin) = declared(account, origin).or_raise();
    let added = write(
        "INSERT INTO tenant_guard.allowed_origin (account_id, origin) VALUES ($1, $2) \
         ON CONFLICT DO NOTHING RETURNING true",
        &[account.as_str().into(), origin.as_str().into()],
    );
    if added > 0 {
        record("allow_origin", &account, &origin);
    } else {
        notice!(
            "origin \"{}\" is already allowed for the account",
            origin.as_str()
        );
    }
}

/// Allows an origin for an account no longer.
#[pg_extern(sql = false)]
fn disallow_origin(account: &str, origin: &str) {
    let (account, origin) = declared(account, origin).or_raise();
    let removed = write(
        "DELETE FROM tenant_guard.allowed_origin WHERE account_id = $1 AND origin = $2 \
         RETURNING true",
        &[account.as_str().into(), origin.as_str().into()],
    );
    if removed == 0 {
        Error::NoOrigin(origin.as_str().to_owned()).raise();
    }
    record("disallow_origin", &account, &origin);
}

/// Whether the verified account lets its users come from an origin. What is no origin is none of its.
#[pg_extern(sql = false)]
fn origin_allowed(origin: &str) -> Option<bool> {
    let account = binding::with_current(|identity| identity.account.to_owned())?;
    let Ok(origin) = Origin::parse(origin) else {
        return Some(false);
    };
    let found = registry::read(
        "SELECT FROM tenant_guard.allowed_origin WHERE account_id = $1 AND origin = $2",
        &[account.as_str().into(), origin.as_str().into()],
        |_| Ok(()),
    );
    Some(!found.is_empty())
}

fn declared(account: &str, origin: &str) -> Result<(AccountId, Origin), Error> {
    require_admin()?;
    let account = AccountId::from_text(account).map_err(|_| Error::UnfitAccount)?;
    Ok((account, Origin::parse(origin)?))
}

fn record(action: &str, account: &AccountId, origin: &Origin) {
    let data = serde_json::json!({ "origin": origin.as_str() }).to_string();
    record_system(action, None, account.as_str(), Some(&data));
}
