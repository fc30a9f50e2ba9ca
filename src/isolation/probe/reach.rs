//! Who reaches a relation, and what else shows its rows.

use pgrx::prelude::*;

use crate::isolation::registry::read;
use crate::versions;

/// Roles for which nothing differs that decides about the relation.
pub(super) struct Reacher {
    /// The first of them, by name.
    pub(super) role: pg_sys::Oid,
    /// All of them, for people.
    pub(super) names: String,
}

/// What shows rows of a relation beside itself.
pub(super) struct Shower {
    /// As it is named in the answer.
    pub(super) attempt: String,
    /// What FROM reads; none for what cannot be read without knowing more.
    pub(super) source: Option<String>,
    /// Why it cannot.
    pub(super) untried: String,
    oid: pg_sys::Oid,
    is_function: bool,
}

/// Everything below a relation, itself first.
pub(super) fn tree(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE tree AS ( \
             SELECT $1::oid AS relation, 0 AS depth \
             UNION ALL \
             SELECT i.inhrelid, t.depth + 1 FROM tree AS t \
             JOIN pg_inherits AS i ON i.inhparent = t.relation) \
         SELECT relation FROM tree GROUP BY relation ORDER BY min(depth), relation",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The relations between `root` and `leaf`, `leaf` included and `root` not.
pub(super) fn way_down(root: pg_sys::Oid, leaf: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE up AS ( \
             SELECT $2::oid AS relation \
             UNION \
             SELECT i.inhparent FROM up AS u JOIN pg_inherits AS i ON i.inhrelid = u.relation) \
         SELECT relation FROM up WHERE relation <> $1",
        &[root.into(), leaf.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Views over the relations, over any number of others, and functions that read one of all these: those
/// whose body depends on one, or whose text names one. What a function makes up at run time nothing
/// tells: those that do and run as somebody whom row security does not hold are taken to read it, and
/// so are those that call them. Whoever runs as somebody else reads what that role is tried with.
pub(super) fn showers(tree: &[pg_sys::Oid]) -> Vec<Shower> {
    read(
        r"WITH RECURSIVE view AS (
             SELECT DISTINCT w.ev_class AS oid
             FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_type = '1'
             WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                 AND d.refobjid = ANY ($1)
             UNION
             SELECT w.ev_class
             FROM view AS v
             JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
                 AND d.classid = 'pg_rewrite'::regclass
             JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_type = '1'
         ), function AS MATERIALIZED (
             SELECT p.oid, p.proname, p.prosrc, p.prokind, p.pronargs, p.pronargdefaults,
                 p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND p.prosqlbody IS NULL
                     AND (l.lanname NOT IN ('sql', 'plpgsql') OR p.prosrc ~* '\m(execute|dblink\w*|'
                         '(query|table|schema|database|cursor)_to_xml\w*|ts_stat|ts_rewrite)\M')
                     AS untold
             FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner
             JOIN pg_language AS l ON l.oid = p.prolang
             WHERE p.oid >= 16384 AND p.prokind IN ('f', 'p')
                 AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype,
                     'internal'::regtype)
                 AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_proc'::regclass
                     AND e.objid = p.oid AND e.deptype = 'e')
         ), named AS (
             SELECT c.relname::text AS name, NULL::oid AS function FROM pg_class AS c
             WHERE c.oid = ANY ($1) OR c.oid IN (SELECT v.oid FROM view AS v)
             UNION
             SELECT f.proname::text, f.oid FROM function AS f
             JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
                 AND d.refclassid = 'pg_class'::regclass
             WHERE d.refobjid = ANY ($1) OR d.refobjid IN (SELECT v.oid FROM view AS v)
             UNION
             SELECT f.proname::text, f.oid FROM function AS f WHERE f.untold
             UNION
             SELECT f.proname::text, f.oid FROM named AS n JOIN function AS f
                 ON position(n.name IN f.prosrc) > 0
                 AND regexp_replace(f.prosrc, '[^[:alnum:]_]+', ' ', 'g') || ' '
                     LIKE '%' || replace(n.name, '_', '\_') || ' %'
         )
         SELECT c.oid, false, format('%s %I.%I', CASE c.relkind WHEN 'm' THEN 'materialized view'
                 ELSE 'view' END, s.nspname, c.relname),
             CASE WHEN c.relkind = 'v' THEN format('%I.%I AS tenant_guard_x', s.nspname, c.relname) END,
             'it holds rows as they were when it was refreshed'
         FROM view AS v JOIN pg_class AS c ON c.oid = v.oid
         JOIN pg_namespace AS s ON s.oid = c.relnamespace
         UNION ALL
         SELECT f.oid, true, format('function %s', f.oid::regprocedure),
             CASE WHEN f.prokind = 'f' AND f.pronargs = f.pronargdefaults
                 THEN format('(SELECT %I.%I() AS tenant_guard_x) AS s', s.nspname, f.proname) END,
             CASE WHEN f.untold THEN 'it can make up at run time what it reads, and ' ELSE '' END
                 || CASE WHEN f.prokind = 'p' THEN 'it is a procedure'
                     ELSE 'what arguments it takes is not known' END
         FROM function AS f JOIN pg_proc AS p ON p.oid = f.oid
         JOIN pg_namespace AS s ON s.oid = p.pronamespace
         WHERE f.oid IN (SELECT n.function FROM named AS n)
         ORDER BY 3",
        &[tree.to_vec().into()],
        |row| {
            Ok(Shower {
                oid: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                is_function: row.get(2)?.unwrap_or(false),
                attempt: row.get(3)?.unwrap_or_default(),
                source: row.get(4)?,
                untried: row.get(5)?.unwrap_or_default(),
            })
        },
    )
}

impl Shower {
    /// Whether a role may read or call it at all.
    pub(super) fn is_open_to(&self, role: pg_sys::Oid) -> bool {
        // SAFETY: catalog look-ups by oid.
        unsafe {
            if self.is_function {
                versions::may_execute(self.oid, role)
            } else {
                let select = pg_sys::ACL_SELECT as pg_sys::AclMode;
                pg_sys::pg_class_aclcheck(self.oid, role, select) == pg_sys::AclResult::ACLCHECK_OK
                    || pg_sys::pg_attribute_aclcheck_all(
                        self.oid,
                        role,
                        select,
                        pg_sys::AclMaskHow::ACLMASK_ANY,
                    ) == pg_sys::AclResult::ACLCHECK_OK
            }
        }
    }
}

/// The roles that reach one of the relations or what shows them, by grants to themselves, to PUBLIC or to
/// groups, or as owners. What they reach only by SET ROLE, the role they become reaches. Superusers are
/// held by nothing, and are not tried.
pub(super) fn reachers(tree: &[pg_sys::Oid], showers: &[Shower]) -> Vec<Reacher> {
    let of_kind = |functions: bool| {
        let found = showers
            .iter()
            .filter(move |shower| shower.is_function == functions);
        found.map(|shower| shower.oid).collect::<Vec<_>>()
    };
    let mut relations = tree.to_vec();
    relations.extend(of_kind(false));
    read(
        "WITH reach AS ( \
             SELECT r.oid, r.rolname, r.rolbypassrls, \
                 ARRAY(SELECT ROW(c.oid, p.name, \
                         has_table_privilege(r.oid, c.oid, p.name), \
                         CASE WHEN p.name <> 'DELETE' THEN ARRAY( \
                             SELECT a.attnum FROM pg_attribute AS a \
                             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                                 AND has_column_privilege(r.oid, c.oid, a.attnum, p.name) \
                             ORDER BY a.attnum) END)::text \
                     FROM pg_class AS c, \
                         (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p (name) \
                     WHERE c.oid = ANY ($1) AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE') \
                         AND (has_table_privilege(r.oid, c.oid, p.name) OR p.name <> 'DELETE' \
                             AND has_any_column_privilege(r.oid, c.oid, p.name)) \
                     ORDER BY 1) AS relations, \
                 ARRAY(SELECT p.oid FROM pg_proc AS p WHERE p.oid = ANY ($2) \
                         AND has_schema_privilege(r.oid, p.pronamespace, 'USAGE') \
                         AND has_function_privilege(r.oid, p.oid, 'EXECUTE') \
                     ORDER BY 1) AS functions, \
                 ARRAY(SELECT p.oid FROM pg_policy AS p WHERE p.polrelid = ANY ($1) AND EXISTS ( \
                         SELECT FROM unnest(p.polroles) AS o (role) \
                         WHERE o.role <> 0 AND pg_has_role(r.oid, o.role, 'USAGE')) \
                     ORDER BY 1) AS policies, \
                 ARRAY(SELECT c.oid FROM pg_class AS c WHERE c.oid = ANY ($1) \
                         AND pg_has_role(r.oid, c.relowner, 'USAGE') ORDER BY 1) AS owned \
             FROM pg_roles AS r WHERE NOT r.rolsuper AND r.rolname !~ '^pg_') \
         SELECT (array_agg(oid ORDER BY rolname))[1], count(*), \
             array_to_string((array_agg(rolname::text ORDER BY rolname))[1:3], ', ') \
         FROM reach WHERE relations <> '{}' OR functions <> '{}' \
         GROUP BY rolbypassrls, relations, functions, policies, owned ORDER BY 3",
        &[relations.into(), of_kind(true).into()],
        |row| {
            let names = row.get::<String>(3)?.unwrap_or_default();
            let more = row.get::<i64>(2)?.unwrap_or(0) - 3;
            Ok(Reacher {
                role: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                names: match more {
                    1.. => format!("{names} and {more} more"),
                    _ => names,
                },
            })
        },
    )
}

/// Whether a permissive policy of the relation lets the role see rows.
pub(super) fn is_let_in(role: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    let policies = read(
        "SELECT FROM pg_policy AS p WHERE p.polrelid = $2 AND p.polpermissive \
             AND p.polcmd IN ('*', 'r') AND EXISTS (SELECT FROM unnest(p.polroles) AS o (role) \
                 WHERE o.role = 0 OR pg_has_role($1, o.role, 'USAGE')) LIMIT 1",
        &[role.into(), relation.into()],
        |_| Ok(()),
    );
    !policies.is_empty()
}

/// Of these quoted columns of a relation, those that a role may use for `privilege`.
pub(super) fn allowed_columns(
    role: pg_sys::Oid,
    relation: pg_sys::Oid,
    privilege: &str,
) -> Vec<String> {
    read(
        "SELECT quote_ident(a.attname) FROM pg_attribute AS a \
         WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped \
             AND a.attgenerated = '' AND (a.attidentity <> 'a' OR $3 <> 'UPDATE') \
             AND has_column_privilege($1, $2, a.attnum, $3) ORDER BY a.attnum",
        &[role.into(), relation.into(), privilege.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

/// The quoted columns of the primary key.
pub(super) fn key_columns(relation: pg_sys::Oid) -> Vec<String> {
    read(
        "SELECT quote_ident(a.attname) FROM pg_index AS i \
         JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
         WHERE i.indrelid = $1 AND i.indisprimary ORDER BY a.attnum",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}
