-- Roles and statements that restore the grants on relation $1, in order.
WITH relation AS (
    SELECT c.oid, c.relowner, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = $1
),
present AS (
    SELECT COALESCE(g.column_name, '') AS column_name, g.grantor, g.grantee, g.privilege,
        g.grantable, row_number() OVER (ORDER BY g.attnum, g.position) AS position
    FROM tenant_guard.granted_privilege AS g WHERE g.relation = $1
),
remembered AS (
    SELECT COALESCE(i.column, '') AS column_name, COALESCE(grantor.oid, o.relowner) AS grantor,
        CASE WHEN i.to_owner THEN o.relowner ELSE COALESCE(grantee.oid, 0) END AS grantee,
        i.privilege, i.grantable, i.position
    FROM relation AS o
    JOIN tenant_guard.protection_member AS m ON m.relation = o.oid,
    ROWS FROM (
        jsonb_to_recordset(m.grants) AS ("column" text, privilege text, grantable boolean,
            grantor text, grantee text, to_owner boolean)
    ) WITH ORDINALITY
        AS i ("column", privilege, grantable, grantor, grantee, to_owner, position)
    LEFT JOIN pg_roles AS grantor ON grantor.rolname = i.grantor
    LEFT JOIN pg_roles AS grantee ON grantee.rolname = i.grantee
    -- A role that is gone gets nothing back.
    WHERE (i.grantor IS NULL) = (grantor.oid IS NULL)
        AND (i.to_owner OR (i.grantee IS NULL) = (grantee.oid IS NULL))
),
withdrawn AS (
    SELECT r.* FROM remembered AS r, relation AS o
    WHERE r.privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER') AND r.grantee <> o.relowner
        AND NOT EXISTS (
            SELECT FROM present AS p
            WHERE (p.column_name, p.grantor, p.grantee, p.privilege)
                = (r.column_name, r.grantor, r.grantee, r.privilege))
        AND (r.column_name = '' OR EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = o.oid AND a.attname = r.column_name AND NOT a.attisdropped))
),
wanted AS (
    SELECT w.column_name, w.grantor, w.grantee, w.privilege, w.grantable,
        0 AS part, w.position
    FROM withdrawn AS w
    UNION ALL
    SELECT p.column_name, p.grantor, p.grantee, p.privilege, p.grantable,
        CASE WHEN r.position IS NULL THEN 1 ELSE 0 END, COALESCE(r.position, p.position)
    FROM present AS p
    LEFT JOIN remembered AS r USING (column_name, grantor, grantee, privilege)
),
statement AS (
    SELECT -1 AS part, 0 AS position, o.relowner AS role, format(
        'REVOKE ALL PRIVILEGES ON TABLE %s FROM %s CASCADE', o.name,
        string_agg(DISTINCT
            CASE WHEN p.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, ', ')) AS text
    FROM relation AS o, present AS p LEFT JOIN pg_roles AS r ON r.oid = p.grantee
    GROUP BY o.name, o.relowner
    UNION ALL
    SELECT w.part, min(w.position), w.grantor, format(
        'GRANT %s ON TABLE %s TO %s%s',
        string_agg(
            w.privilege || CASE WHEN w.column_name = '' THEN ''
                ELSE format(' (%I)', w.column_name) END,
            ', ' ORDER BY w.position),
        o.name, CASE WHEN w.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
        CASE WHEN w.grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM relation AS o, wanted AS w LEFT JOIN pg_roles AS r ON r.oid = w.grantee
    GROUP BY w.part, w.column_name, w.grantor, w.grantee, w.grantable, r.rolname, o.name
)
SELECT s.role, s.text FROM statement AS s
WHERE EXISTS (SELECT FROM withdrawn)
ORDER BY s.part, s.position
