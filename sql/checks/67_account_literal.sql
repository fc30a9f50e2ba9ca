-- Row 67: everybody may read pg_policies, and so the accounts that stand in policies.
-- Finds policies that compare the account column with a constant (warning). Permissive ones on protected
-- relations are row 7.
-- Fix: drop the policy; protect the relation.
SELECT 'warning', p.object, 'names an account, and everybody may read policies', p.fix
FROM tenant_guard.written_policy AS p
WHERE NOT (p.protected AND p.permissive)
    AND p.using_text || ' ' || p.check_text ~ format(
        '\m%s\)?(::[a-z ]+)? (=|<>|= ANY) \(?(''|\d|ARRAY\[''|ARRAY\[\d)',
        regexp_replace(quote_ident(p.account_column), '([^a-zA-Z0-9_])', '\\\1', 'g'))
    AND ($1 IS NULL OR p.schema = ANY ($1))
