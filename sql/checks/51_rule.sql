-- Row 51: what a rule does runs with the rights, and the row security, of the owner of its table.
-- Finds rules on protected relations, and rules elsewhere that read or write them: of an owner that
-- bypasses row security (error), of another one, whom the floor binds (warning).
-- Fix: drop the rule.
SELECT CASE WHEN o.rolsuper OR o.rolbypassrls THEN 'error' ELSE 'warning' END,
    c.oid::regclass::text,
    format('rule %I runs with the rights of %I', r.rulename, o.rolname),
    format('DROP RULE %I ON %s;', r.rulename, c.oid::regclass)
FROM pg_rewrite AS r
JOIN pg_class AS c ON c.oid = r.ev_class
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
JOIN pg_roles AS o ON o.oid = c.relowner
WHERE r.rulename <> '_RETURN'
    -- One that does nothing runs nothing.
    AND pg_get_ruledef(r.oid) !~ 'DO (INSTEAD )?NOTHING;$'
    AND EXISTS (
        SELECT FROM tenant_guard.protected_member AS m
        WHERE m.relation = r.ev_class OR m.relation IN (
            SELECT d.refobjid FROM pg_depend AS d
            WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                AND d.refclassid = 'pg_class'::regclass))
    AND NOT EXISTS (
        SELECT FROM tenant_guard.extension_object AS e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = r.ev_class)
    AND ($1 IS NULL OR n.name = ANY ($1))
