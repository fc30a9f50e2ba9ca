-- Row 47: users edit user_metadata themselves, so a policy that reads it lets them in anywhere.
-- Finds policies that name it, themselves or in a function they call (error).
-- Fix: the same policy with app_metadata, which only the provider's administrators edit; a function has
-- to be rewritten by hand.
WITH hidden AS MATERIALIZED (
    SELECT r.policy, string_agg(DISTINCT f.name, ', ') AS names
    FROM tenant_guard.policy_routine AS r JOIN tenant_guard.written_routine AS f ON f.oid = r.routine
    WHERE f.source ~ 'user_meta_?data'
    GROUP BY r.policy
)
SELECT 'error', p.object,
    'reads user_metadata, which users edit' || COALESCE(', in function ' || hidden.names, ''),
    CASE WHEN hidden.names IS NOT NULL THEN ''
        ELSE format('ALTER POLICY %I ON %s', p.policy, p.relation::regclass)
            || CASE WHEN p.using_text = '' THEN '' ELSE format(' USING (%s)', mended.using_text) END
            || CASE WHEN p.check_text = '' THEN ''
                ELSE format(' WITH CHECK (%s)', mended.check_text) END || ';' END
FROM tenant_guard.written_policy AS p
LEFT JOIN hidden ON hidden.policy = p.oid
CROSS JOIN LATERAL (
    SELECT replace(replace(p.using_text, 'raw_user_meta_data', 'raw_app_meta_data'),
            'user_metadata', 'app_metadata') AS using_text,
        replace(replace(p.check_text, 'raw_user_meta_data', 'raw_app_meta_data'),
            'user_metadata', 'app_metadata') AS check_text) AS mended
WHERE (p.using_text || p.check_text ~ 'user_meta_?data' OR hidden.names IS NOT NULL)
    AND ($1 IS NULL OR p.schema = ANY ($1))
