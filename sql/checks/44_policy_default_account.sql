-- Row 44: a default account steps in where none is bound.
-- Finds policies of relations without protection that read a setting and have a constant for when there is
-- none, themselves or in a function they call (error).
-- Fix: drop the policy; protect the relation.
WITH hidden AS MATERIALIZED (
    SELECT r.policy, string_agg(DISTINCT f.name, ', ') AS names
    FROM tenant_guard.policy_routine AS r JOIN tenant_guard.written_routine AS f ON f.oid = r.routine
    WHERE tenant_guard.has_default_account(f.source)
    GROUP BY r.policy
)
SELECT 'error', p.object,
    'has a default for when no account is set' || COALESCE(', in function ' || hidden.names, ''), p.fix
FROM tenant_guard.written_policy AS p
LEFT JOIN hidden ON hidden.policy = p.oid
WHERE NOT p.protected
    AND (tenant_guard.has_default_account(lower(p.using_text || ' ' || p.check_text))
        OR hidden.names IS NOT NULL)
    AND ($1 IS NULL OR p.schema = ANY ($1))
