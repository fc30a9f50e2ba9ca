//! Columns whose text says how other objects are called, or what other relations are made of: it changes
//! with them, while the row does not.

use pgrx::pg_sys;
use serde_json::Value;

use super::registry::read;

/// Says in an event of a relation which of its columns are such, where any is.
pub(crate) fn say(data: &mut Value, relation: pg_sys::Oid) {
    let columns = columns(relation);
    if !columns.is_empty() {
        data["follows"] = columns.into();
    }
}

/// The columns of types that name objects, roles among them, or of rows of relations, be it through arrays,
/// ranges, domains and composite types.
fn columns(relation: pg_sys::Oid) -> Vec<String> {
    read(
        "WITH RECURSIVE part AS ( \
             SELECT a.attnum, a.attname, a.atttypid AS type FROM pg_attribute AS a \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
             UNION \
             SELECT p.attnum, p.attname, inner_type.oid FROM part AS p \
             JOIN pg_type AS t ON t.oid = p.type \
             CROSS JOIN LATERAL ( \
                 SELECT t.typelem AS oid WHERE t.typelem <> 0 \
                 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0 \
                 UNION ALL SELECT r.rngsubtype FROM pg_range AS r \
                 WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
                 UNION ALL SELECT a.atttypid FROM pg_attribute AS a \
                 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
             ) AS inner_type) \
         SELECT DISTINCT p.attnum, p.attname::text FROM part AS p \
         JOIN pg_type AS t ON t.oid = p.type \
         LEFT JOIN pg_class AS c ON c.oid = t.typrelid \
         WHERE c.relkind <> 'c' OR t.typnamespace = 'pg_catalog'::regnamespace \
             AND (t.typname ~ '^reg' OR t.typname = 'aclitem') \
         ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get::<String>(2)?.unwrap_or_default()),
    )
}
