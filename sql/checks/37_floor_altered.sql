-- Row 37: a policy that lets a row in, out or over to another account.
-- Finds protected relations whose floor policy is gone, not restrictive, not for everybody and
-- every command, or says something else than the account's condition (error), and those whose
-- access policy is gone or altered (warning: the table is closed, or bounded by the floor alone).
-- Finds protected relations on which the policy of a required assurance is gone or says something
-- else (error).
-- Fix: protect the relation again, with the same arguments.
SELECT wanted.severity, m.name,
    CASE WHEN p.name IS NULL THEN format('policy %I is missing', wanted.policy)
        ELSE format('policy %I is altered', wanted.policy) END,
    tenant_guard.protect_again(m.root)
FROM tenant_guard.protected_member AS m
LEFT JOIN pg_attribute AS a
    ON a.attrelid = m.relation AND a.attname = m.account_column AND NOT a.attisdropped
CROSS JOIN (VALUES ('tenant_guard_floor', 'error', true), ('tenant_guard_access', 'warning', false))
    AS wanted (policy, severity, restrictive)
LEFT JOIN tenant_guard.own_policy AS p ON p.relation = m.relation AND p.name = wanted.policy
CROSS JOIN LATERAL (
    SELECT tenant_guard.account_predicate(
        quote_ident(m.account_column), format_type(a.atttypid, NULL)) AS text
) AS predicate
WHERE (
        (p.restrictive, p.all_commands, p.using_text, p.check_text)
            IS DISTINCT FROM (wanted.restrictive, true, predicate.text, predicate.text)
        OR (wanted.restrictive AND p.roles <> '{}')
    )
    AND ($1 IS NULL OR m.schema = ANY ($1))
UNION ALL
SELECT 'error', m.name,
    format('assurance %L is required to %s, but its policy is missing or altered', r.level,
        CASE r.command WHEN 'all' THEN 'do anything' ELSE r.command END),
    tenant_guard.protect_again(m.root)
FROM tenant_guard.protected_member AS m
JOIN tenant_guard.protection_assurance AS r ON r.relation = m.root
CROSS JOIN LATERAL (SELECT format('tenant_guard.assured(%L::text)', r.level)) AS wanted (text)
WHERE NOT EXISTS (
        SELECT FROM tenant_guard.assurance_policy AS p
        WHERE p.relation = m.relation AND p.binds_all AND p.command = r.command
            AND p.name = 'tenant_guard_assurance_' || r.command
            AND p.using_text = CASE r.command WHEN 'insert' THEN '' ELSE wanted.text END
            AND p.check_text = CASE WHEN r.command IN ('select', 'delete') THEN ''
                ELSE wanted.text END)
    AND ($1 IS NULL OR m.schema = ANY ($1))
