//! Giving back the privileges that protection withdrew.

use pgrx::prelude::*;

use super::guards::recorded;
use super::registry::read;
use crate::catalog::as_role;

/// The statements that bring the grants on relation $1 back, each with the role to run it.
///
/// A grant stands in the catalog at the place where it was first made, and in a dump in that order,
/// so what was withdrawn cannot just be granted again: everything is revoked and granted anew, in
/// the remembered order, each by its own grantor. What others granted or revoked since then stays
/// granted or revoked.
const RESTORE: &str = include_str!("grants.sql");

/// Restores the grants on one relation; none are touched where protection withdrew nothing.
pub(super) fn restore(relation: pg_sys::Oid) {
    let statements = read(RESTORE, &[relation.into()], |row| {
        Ok((
            row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID),
            row.get::<String>(2)?.unwrap_or_default(),
        ))
    });
    for (role, statement) in statements {
        let done = as_role(role, || {
            recorded::as_ours(|| {
                Spi::connect_mut(|client| client.update(statement.as_str(), None, &[]).map(drop))
            })
        });
        if let Err(error) = done {
            pgrx::error!("privileges cannot be restored: {error}");
        }
    }
}
