-- Rows 39 and 40: a policy that is true for every row, or for everybody who is nobody.
-- Finds policies of relations without protection whose condition or check is constantly true, is joined
-- by OR with something that is, is nothing but the call of a function that returns true, or holds when a
-- function that says who is there returns NULL: on relations with the account column (error), on others where it is for writing (warning) or reading and
-- adding (info). On protected relations the floor bounds them, and row 7 names them.
-- Fix: drop the policy; protect the relation.
SELECT CASE WHEN p.account_column IS NOT NULL THEN 'error' WHEN p.command IN ('r', 'a') THEN 'info'
        ELSE 'warning' END,
    p.object, format('lets everybody pass: %s', opening.text), p.fix
FROM tenant_guard.written_policy AS p
-- Functions that return true, or return what such a one does.
LEFT JOIN (
    SELECT r.policy
    FROM tenant_guard.policy_routine AS r
    JOIN tenant_guard.written_routine AS f ON f.oid = r.routine
    CROSS JOIN LATERAL (SELECT substring(f.source FROM
        '^\s*(?:begin(?:\s+atomic)?\s+)?(?:return|select)\s+(.*?)(?:\s+as\s+\w+)?\s*;?\s*(?:end\s*;?)?\s*$')
        AS value) AS body
    GROUP BY r.policy
    HAVING bool_or(body.value ~ '^\(?true\)?$')
        AND bool_and(body.value ~ '^\(?true\)?$|^[a-z_0-9$."]+\([^()]*\)$')
) AS always ON always.policy = p.oid
CROSS JOIN LATERAL (
    SELECT e.text
    FROM (VALUES (p.using_text), (p.check_text)) AS e (text)
    -- What stands in string constants says nothing; equal constants become equal texts.
    CROSS JOIN LATERAL (
        SELECT regexp_replace(regexp_replace(e.text, '\(''([^'']*)''(::[a-z ]+)? = ''\1''(::[a-z ]+)?\)',
            'true', 'g'), '''([^'']|'''')*''', '''''', 'g') AS plain) AS s
    CROSS JOIN LATERAL (
        SELECT regexp_replace(regexp_replace(s.plain, '\((\S+) = \1\)', 'true', 'g'),
            '\(NOT false\)|\(true\)', 'true', 'g') AS plain) AS t
    WHERE t.plain = 'true'
        OR always.policy IS NOT NULL
            AND t.plain ~ '^\(* ?(SELECT )?[a-z_0-9$."]+\([^()]*\)( AS \w+)?\)*$'
        OR t.plain ~ '\mOR true\M|\mtrue OR\M'
        OR t.plain ~ '(\)|current_user|CURRENT_USER|SESSION_USER)(::[a-z ]+\))? IS NULL\) OR'
        OR t.plain ~ 'OR \(([^()]*\([^()]*\)(::[a-z ]+\))?|\( SELECT [^()]*(\([^()]*\))?[^()]*\)) IS NULL\)'
    LIMIT 1
) AS opening
WHERE p.permissive AND NOT p.protected
    -- For a role that bypasses row security it is not asked.
    AND (p.roles = '{0}' OR EXISTS (
        SELECT FROM pg_roles AS r
        WHERE r.oid = ANY (p.roles) AND NOT r.rolsuper AND NOT r.rolbypassrls))
    AND ($1 IS NULL OR p.schema = ANY ($1))
