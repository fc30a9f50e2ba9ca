-- Row 13 (and 14): a partition or child that is queried directly knows nothing of its parent's
-- policies.
-- Finds partitions and inheritance children of protected relations that are not protected (error).
-- Fix: protect the parent again, with the same arguments.
WITH RECURSIVE below AS (
    SELECT p.relation::oid AS root, p.relation::oid AS relation
    FROM tenant_guard.protected_relation AS p
    UNION
    SELECT b.root, i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation
)
SELECT 'error', c.oid::regclass::text,
    format('is below protected relation %s, but not protected', b.root::regclass),
    tenant_guard.protect_again(b.root)
FROM below AS b
JOIN pg_class AS c ON c.oid = b.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT EXISTS (
        SELECT FROM tenant_guard.protected_member AS m WHERE m.relation = b.relation)
    AND ($1 IS NULL OR n.nspname = ANY ($1))
