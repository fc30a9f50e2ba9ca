-- Row 13 (and 14): a partition or child that is queried directly knows nothing of its parent's
-- policies.
-- Finds partitions and inheritance children of protected relations that are not protected (error).
-- Fix: protect the parent again, with the same arguments.
-- Finds what is above protected relations and is not protected, or of another archetype: it shows their
-- rows under its own policies, or none (error).
-- Fix: take the protected one out.
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
UNION ALL
SELECT 'error', i.inhparent::regclass::text,
    format('shows rows of protected relation %s, but is not protected as it is', m.relation),
    format(CASE WHEN c.relispartition THEN 'ALTER TABLE %s DETACH PARTITION %s;'
        ELSE 'ALTER TABLE %2$s NO INHERIT %1$s;' END, i.inhparent::regclass, m.relation)
FROM tenant_guard.protected_member AS m
JOIN pg_class AS c ON c.oid = m.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_inherits AS i ON i.inhrelid = m.relation
WHERE ($1 IS NULL OR n.nspname = ANY ($1))
    AND NOT EXISTS (
        SELECT FROM tenant_guard.protected_member AS a
        WHERE a.relation = i.inhparent AND a.archetype = m.archetype)
