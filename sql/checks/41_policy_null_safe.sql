-- Row 41: a comparison that takes NULL for equal shows rows without an account to whoever has none.
-- Finds policies of relations without protection that compare with IS NOT DISTINCT FROM (error).
-- Fix: drop the policy; protect the relation.
SELECT 'error', p.object,
    'compares with IS NOT DISTINCT FROM: rows without an account are open where none is bound', p.fix
FROM tenant_guard.written_policy AS p
WHERE p.permissive AND NOT p.protected
    AND regexp_replace(p.using_text || ' ' || p.check_text, '''([^'']|'''')*''', '''''', 'g')
        ~ 'NOT \([^()]*(\([^()]*(\([^()]*\))?[^()]*\))?[^()]* IS DISTINCT FROM '
    AND ($1 IS NULL OR p.schema = ANY ($1))
