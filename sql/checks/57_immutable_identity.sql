-- Row 57: an IMMUTABLE function is folded into a cached plan, and the account of whoever made the plan
-- with it.
-- Finds IMMUTABLE functions that read the identity or a setting (error).
-- Fix: declare it STABLE.
SELECT 'error', f.name, 'is IMMUTABLE, but reads '
        || CASE WHEN f.source ~ '\mcurrent_setting\s*\(' THEN 'a setting' ELSE 'the identity' END,
    format('ALTER FUNCTION %s STABLE;', f.name)
FROM tenant_guard.written_routine AS f
WHERE f.volatility = 'i'
    AND (f.source ~ '\mcurrent_setting\s*\('
        OR f.source ~ ('\mtenant_guard\.(account_id|account_id_bigint|account_id_text|subject|user_id'
            || '|roles|has_role|session_id|claims|claim|is_authenticated|has_assurance)\s*\('))
    AND ($1 IS NULL OR f.schema = ANY ($1))
