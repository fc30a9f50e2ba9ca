-- Row 37: a policy that lets a row in, out or over to another account.
-- Finds protected relations on which a restrictive policy of ours is gone or altered (error), and
-- those whose access policy is (warning: the table is closed, or bounded by the floor alone), or
-- that have a policy under a name of ours that nothing asks for (warning).
-- Finds protected relations on which the policy of a required assurance is gone or says something
-- else (error).
-- Fix: protect the relation again, with the same arguments.
SELECT CASE WHEN p.restrictive THEN 'error' ELSE 'warning' END, m.name,
    format('policy %I is %s', p.policy, p.alteration),
    tenant_guard.protect_again(m.root)
FROM tenant_guard.altered_policy() AS p
JOIN tenant_guard.protected_member AS m ON m.relation = p.relation
WHERE $1 IS NULL OR m.schema = ANY ($1)
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
