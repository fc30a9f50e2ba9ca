-- One row for each member of a protection, in the order given: what it is, and what is remembered.
-- $1 oid[]: the members, parents first. $2 text: the account column asked for, if any.
WITH member AS (
    SELECT m.relation, m.position
    FROM unnest($1::oid[]) WITH ORDINALITY AS m (relation, position)
)
SELECT
    c.oid AS relation,
    format('%I.%I', n.nspname, c.relname) AS name,
    (SELECT min(p.position)::int4 - 1 FROM pg_inherits AS i JOIN member AS p ON p.relation = i.inhparent
     WHERE i.inhrelid = c.oid) AS parent,
    c.relkind::text AS kind,
    c.relpersistence = 't' AS temporary,
    c.relispartition AS partition,
    n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'tenant_guard') AS reserved,
    c.relrowsecurity AS row_security,
    c.relforcerowsecurity AS force,

    a.attnum AS column_number,
    quote_ident(a.attname) AS column_quoted,
    format_type(a.atttypid, NULL) AS column_type,
    COALESCE(l.collisdeterministic, true) AS column_deterministic,
    a.attnotnull AS column_not_null,
    pg_get_expr(d.adbin, d.adrelid) AS column_default,
    EXISTS (
        SELECT FROM pg_constraint AS k
        WHERE k.conrelid = c.oid AND k.conname = 'tenant_guard_account_not_null'
            AND k.contype = 'c' AND k.convalidated
            AND pg_get_constraintdef(k.oid)
                = format('CHECK ((%s IS NOT NULL)) NO INHERIT', quote_ident(a.attname))
    ) AS proven,
    a.attidentity <> '' OR a.attgenerated <> '' AS column_computed,
    EXISTS (
        SELECT FROM pg_index AS k
        WHERE k.indrelid = c.oid AND k.indisprimary AND k.indnkeyatts = 1 AND k.indkey[0] = a.attnum
    ) AS column_is_key,

    EXISTS (
        SELECT FROM pg_index AS k
        WHERE k.indrelid = c.oid AND k.indisprimary AND a.attnum = ANY (k.indkey)
    ) AS column_in_key,

    b.root,
    quote_ident(b.account_column) AS former_quoted,
    format_type(fa.atttypid, NULL) AS former_type,
    -- A former column that is gone was renamed to the one asked for. Where none was registered, nothing
    -- is remembered of the one asked for.
    (fa.attnum IS NOT NULL OR b.account_column IS NULL)
        AND b.account_column IS DISTINCT FROM $2 AS column_changes,
    fa.attnotnull AS former_not_null,
    pg_get_expr(fd.adbin, fd.adrelid) AS former_default,
    b.not_null AS before_not_null,
    b.column_default AS before_default,
    b.row_security AS before_row_security,
    b.force_row_security AS before_force,

    pg_get_triggerdef(row_trigger.oid) AS capture_definition,
    row_trigger.tgenabled = 'A' AS capture_always,
    row_trigger.tgparentid <> 0 AS capture_inherited,
    pg_get_triggerdef(truncate_trigger.oid) AS truncate_definition,
    truncate_trigger.tgenabled = 'A' AS truncate_always,
    truncate_trigger.tgparentid <> 0 AS truncate_inherited,

    ARRAY(
        SELECT DISTINCT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
        FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
        WHERE g.relation = c.oid AND g.grantee <> c.relowner
            AND g.privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
        ORDER BY 1
    ) AS exposed_to
FROM member AS m
JOIN pg_class AS c ON c.oid = m.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute AS a
    ON a.attrelid = c.oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
LEFT JOIN tenant_guard.protection_member AS b ON b.relation = c.oid
LEFT JOIN pg_attribute AS fa
    ON fa.attrelid = c.oid AND fa.attname = b.account_column AND fa.attnum > 0
        AND NOT fa.attisdropped
LEFT JOIN pg_attrdef AS fd ON fd.adrelid = c.oid AND fd.adnum = fa.attnum
LEFT JOIN pg_trigger AS row_trigger
    ON row_trigger.tgrelid = c.oid AND row_trigger.tgname = 'tenant_guard_capture'
LEFT JOIN pg_trigger AS truncate_trigger
    ON truncate_trigger.tgrelid = c.oid AND truncate_trigger.tgname = 'tenant_guard_capture_truncate'
ORDER BY m.position
