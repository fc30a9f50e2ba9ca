//! Whose code statements would run, and with whose rights that may happen.
//!
//! Triggers, policies, rules, defaults, constraints and indexes run with the rights of whoever runs the
//! statement. Here somebody else chooses that statement, so the code of one role runs in the name of
//! another only where the one could become the other anyway.

use pgrx::prelude::*;

use crate::catalog::role_name;
use crate::isolation::registry::read;

/// What `pg_has_role` is asked for SET ROLE.
pub(super) const BECOME: &str = match pg_sys::PG_VERSION_NUM >= 160_000 {
    true => "SET",
    false => "MEMBER",
};

/// Before the name of a role whose code is trusted.
const CODE_OF: &str = "code of ";

/// Everybody but superusers whose code runs when the relations are written, or only read: by what is on
/// them, on the types of their columns, and on what their expressions and queries read.
pub(super) fn authors(relations: &[pg_sys::Oid], written: bool) -> Vec<pg_sys::Oid> {
    let (mut write, mut reading) = match written {
        true => (relations.to_vec(), Vec::new()),
        false => (Vec::new(), relations.to_vec()),
    };
    let mut types = Vec::new();
    let mut known_relations = relations.to_vec();
    let mut known_types: Vec<pg_sys::Oid> = Vec::new();
    let mut authors = Vec::new();
    while !(write.is_empty() && reading.is_empty() && types.is_empty()) {
        let found = read(
            include_str!("authors.sql"),
            &[
                std::mem::take(&mut write).into(),
                std::mem::take(&mut reading).into(),
                std::mem::take(&mut types).into(),
            ],
            |row| {
                let kind = row.get::<String>(1)?.unwrap_or_default();
                Ok((
                    kind,
                    row.get::<pg_sys::Oid>(2)?.unwrap_or(pg_sys::Oid::INVALID),
                ))
            },
        );
        for (kind, oid) in found {
            let (known, next) = match kind.as_str() {
                "author" => (&mut authors, None),
                "relation" => (&mut known_relations, Some(&mut reading)),
                _ => (&mut known_types, Some(&mut types)),
            };
            if !known.contains(&oid) {
                known.push(oid);
                if let Some(next) = next {
                    next.push(oid);
                }
            }
        }
    }
    authors
}

/// Whether a role can become another by SET ROLE.
pub(in crate::isolation) fn may_become(role: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    has_role(role, other, BECOME)
}

/// Whether a role has the rights of another.
pub(super) fn has_rights(role: pg_sys::Oid, of: pg_sys::Oid) -> bool {
    has_role(role, of, "USAGE")
}

fn has_role(role: pg_sys::Oid, other: pg_sys::Oid, how: &str) -> bool {
    let answer = read(
        "SELECT pg_has_role($1, $2, $3)",
        &[role.into(), other.into(), how.into()],
        |row| row.get::<bool>(1),
    );
    answer.into_iter().flatten().next().unwrap_or(false)
}

/// Who asks for the probe, and what that role vouches for.
pub(super) struct Leave {
    pub(super) caller: pg_sys::Oid,
    /// Functions as attempts name them, and `code of` roles.
    pub(super) trusted: Vec<String>,
}

impl Leave {
    /// Whether the caller vouches for what is named so.
    pub(super) fn trusts(&self, name: &str) -> bool {
        self.trusted.iter().any(|trusted| trusted == name)
    }

    /// Those of the authors whose code the caller does not vouch for.
    pub(super) fn untrusted(&self, authors: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
        let authors = authors.iter().copied();
        authors
            .filter(|author| !self.trusts(&code_of(*author)))
            .collect()
    }

    /// Why code of these authors does not run in the name of `role`; none where it may.
    pub(super) fn refusal(
        &self,
        authors: &[pg_sys::Oid],
        role: pg_sys::Oid,
        is_vouched_for: bool,
    ) -> Option<String> {
        let authors = match (is_powerful(role), is_vouched_for) {
            (true, _) => authors.to_vec(),
            (false, true) => Vec::new(),
            (false, false) => self.untrusted(authors),
        };
        let stranger = { authors.into_iter() }.find(|author| !may_become(*author, role))?;
        Some(format!(
            "{} would run with the rights of {}",
            code_of(stranger),
            role_name(role)
        ))
    }
}

/// As the caller names it.
pub(super) fn code_of(author: pg_sys::Oid) -> String {
    format!("{CODE_OF}{}", role_name(author))
}

/// Whether a role may do what nothing on a relation holds: nobody vouches for code in its name.
fn is_powerful(role: pg_sys::Oid) -> bool {
    let powerful = read(
        "SELECT r.rolsuper OR r.rolbypassrls OR EXISTS ( \
             SELECT FROM pg_roles AS p WHERE p.rolname = ANY ($2) \
                 AND pg_has_role(r.oid, p.oid, 'MEMBER')) \
         FROM pg_roles AS r WHERE r.oid = $1",
        &[role.into(), powers().into()],
        |row| row.get::<bool>(1),
    );
    powerful.into_iter().flatten().next().unwrap_or(true)
}

/// PostgreSQL's roles for files, programs and all tables.
pub(super) fn powers() -> Vec<String> {
    [
        "pg_read_server_files",
        "pg_write_server_files",
        "pg_execute_server_program",
        "pg_read_all_data",
        "pg_write_all_data",
    ]
    .map(String::from)
    .to_vec()
}
