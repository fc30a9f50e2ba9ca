-- Row 25: the check of a foreign key passes row security by: that an INSERT goes through tells that the
-- parent is there, whoever it belongs to.
-- Finds foreign keys from relations that are not protected, and that others than their owner may write,
-- to protected ones whose rows are not everybody's to read (warning).
-- Fix: protect the relation too; where it cannot be, take the right to write it away.
SELECT 'warning', f.conrelid::regclass::text,
    format('foreign key %I tells %s whether a row of %s exists, and is not protected', f.conname,
        writers.list, parent.name),
    COALESCE((SELECT u.fix FROM tenant_guard.unprotected_child AS u
            WHERE u.relation = f.conrelid AND u.fix <> ''),
        format('REVOKE INSERT, UPDATE ON TABLE %s FROM %s CASCADE;', f.conrelid::regclass, writers.list))
FROM pg_constraint AS f
JOIN tenant_guard.protected_member AS parent
    ON parent.relation = f.confrelid AND parent.archetype NOT IN ('reference', 'public_read')
JOIN pg_class AS c ON c.oid = f.conrelid
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
        ', ') AS list
    FROM tenant_guard.granted_privilege AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee
    WHERE g.relation = c.oid AND g.grantee <> c.relowner AND g.privilege IN ('INSERT', 'UPDATE')
) AS writers
WHERE f.contype = 'f' AND f.conparentid = 0 AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false' AND writers.list IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = f.conrelid)
    AND ($1 IS NULL OR n.name = ANY ($1))
