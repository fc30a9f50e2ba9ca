-- One row for each member of a protection, in the order given: what it is, and what is remembered.
-- $1 oid[]: the members, parents first. $2 text: the account column asked for, if any. $3 text[]: the account
-- column that each is registered with, if any. What else is registered of them is read on its own: a plan
-- that reads our tables is made anew with every registration, and this one takes long to make. Questions have
-- LIMIT 1 where EXISTS would do: that may be answered by a hash of a whole catalog, for each relation anew.
WITH member AS (
    SELECT m.relation, m.registered_column, m.position
    FROM unnest($1::oid[], $3::text[]) WITH ORDINALITY AS m (relation, registered_column, position)
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
    -- From PostgreSQL 18 on it may be declared and not hold for the rows of before.
    a.attnotnull AND COALESCE((
        SELECT k.convalidated FROM pg_constraint AS k
        WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum
        LIMIT 1), true) AS column_not_null,
    pg_get_expr(d.adbin, d.adrelid) AS column_default,
    COALESCE((
        SELECT true FROM pg_constraint AS k
        WHERE k.conrelid = c.oid AND k.conname = 'tenant_guard_account_not_null'
            AND k.contype = 'c' AND k.convalidated
            AND pg_get_constraintdef(k.oid)
                = format('CHECK ((%s IS NOT NULL)) NO INHERIT', quote_ident(a.attname))
        LIMIT 1), false) AS proven,
    a.attidentity <> '' OR a.attgenerated <> '' AS column_computed,
    a.attgenerated = 'v' AS column_virtual,
    COALESCE((
        SELECT k.indnkeyatts = 1 AND k.indkey[0] = a.attnum FROM pg_index AS k
        WHERE k.indrelid = c.oid AND k.indisprimary LIMIT 1), false) AS column_is_key,

    COALESCE((
        SELECT a.attnum = ANY (k.indkey) FROM pg_index AS k
        WHERE k.indrelid = c.oid AND k.indisprimary LIMIT 1), false) AS column_in_key,

    quote_ident(m.registered_column) AS former_quoted,
    format_type(fa.atttypid, NULL) AS former_type,
    -- A former column that is gone was renamed to the one asked for. Where none was registered, nothing
    -- is remembered of the one asked for.
    (fa.attnum IS NOT NULL OR m.registered_column IS NULL)
        AND m.registered_column IS DISTINCT FROM $2 AS column_changes,
    fa.attnotnull AS former_not_null,
    pg_get_expr(fd.adbin, fd.adrelid) AS former_default,

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
LEFT JOIN pg_attribute AS fa
    ON fa.attrelid = c.oid AND fa.attname = m.registered_column AND fa.attnum > 0
        AND NOT fa.attisdropped
LEFT JOIN pg_attrdef AS fd ON fd.adrelid = c.oid AND fd.adnum = fa.attnum
LEFT JOIN pg_trigger AS row_trigger
    ON row_trigger.tgrelid = c.oid AND row_trigger.tgname = 'tenant_guard_capture'
LEFT JOIN pg_trigger AS truncate_trigger
    ON truncate_trigger.tgrelid = c.oid AND truncate_trigger.tgname = 'tenant_guard_capture_truncate'
ORDER BY m.position
