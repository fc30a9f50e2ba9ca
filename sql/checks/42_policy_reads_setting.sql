-- Rows 42 and 43: whoever sends SQL sets a setting; after SET LOCAL it is empty, not unset, and without
-- one the query quietly returns nothing.
-- Finds policies of relations without protection that read current_setting, themselves or in a function
-- they call (warning). Those with a default account are row 44.
-- Fix: drop the policy; protect the relation.
WITH hidden AS MATERIALIZED (
    SELECT r.policy, bool_or(tenant_guard.has_default_account(f.source)) AS has_default,
        string_agg(DISTINCT f.name, ', ') FILTER (WHERE f.source ~ '\mcurrent_setting\s*\(') AS names
    FROM tenant_guard.policy_routine AS r JOIN tenant_guard.written_routine AS f ON f.oid = r.routine
    GROUP BY r.policy
)
SELECT 'warning', p.object,
    'takes the account from a setting, which the client sets'
        || COALESCE(', in function ' || hidden.names, ''), p.fix
FROM tenant_guard.written_policy AS p
LEFT JOIN hidden ON hidden.policy = p.oid
WHERE NOT p.protected
    -- current_setting(text) and current_setting(text, boolean)
    AND (p.tree ~ ':funcid (2077|3294)\M' OR hidden.names IS NOT NULL)
    AND NOT tenant_guard.has_default_account(lower(p.using_text || ' ' || p.check_text))
    AND hidden.has_default IS NOT TRUE
    AND ($1 IS NULL OR p.schema = ANY ($1))
