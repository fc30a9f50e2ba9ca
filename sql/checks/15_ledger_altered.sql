-- Row 15: whoever reads the ledger sees what is not there, or not all that is.
-- Finds the views audit_event and own_event where they are gone, show something else or belong to somebody else; row
-- security, policies, rules, foreign triggers and other owners on tables of the ledger, and guard triggers
-- that are gone or do not fire always (error).
-- Fix: take it off; a view is made anew.
-- Finds columns that capture was told of and that have another name now, under which another may stand:
-- every change of the table is an error (error).
-- Fix: which column is meant is a decision; the function that named it takes the names anew.
SELECT 'error', k.relation::text,
    format('column %I is not the one that %s() named', k.name, k.declared_by), ''
FROM tenant_guard.strayed_column AS k
JOIN pg_namespace AS n ON n.oid = k.relnamespace
WHERE $1 IS NULL OR n.nspname = ANY ($1)
UNION ALL
SELECT 'error', 'tenant_guard.' || f.object, f.detail, f.fix
FROM (
    SELECT w.name,
        CASE
            WHEN v.oid IS NULL THEN 'view is missing'
            WHEN NOT r.rolsuper THEN format('view belongs to role %I', r.rolname)
            ELSE 'view does not show the audit log as it is'
        END,
        format('DROP VIEW IF EXISTS tenant_guard.%I; SELECT tenant_guard.init_ledger();', w.name)
    FROM pg_class AS l
    CROSS JOIN (VALUES ('audit_event', NULL::text[], $definition$
                SELECT ((((lpad(to_hex(l.incarnation), 16, '0'::text) || '-'::text) || l.xid)
                        || '-'::text) || l.ordinal) AS event_id,
                    l.incarnation, l.xid, l.ordinal, l.command_id, l.occurred_at, l.kind, l.action,
                    l.account_id, l.relation, l.leaf_relation, l.row_key, l.target, l.data, l.personal,
                    l.redacted, l.hashed, l.context, c.subject, c.role, c.session_role,
                    c."current_role", c.issuer, c.token_id, c.session, c.client_address,
                    c.application_name, c.transaction_start
                FROM (tenant_guard.audit_log l
                    LEFT JOIN tenant_guard.audit_context c ON (((c.incarnation = l.incarnation)
                        AND (c.xid = l.xid) AND (c.number = l.context))));
                $definition$),
            ('own_event', NULL, $definition$
                SELECT event_id, occurred_at, kind, action, account_id, relation,
                    leaf_relation, row_key, target, data, personal, redacted,
                    hashed, subject, role, session_role, "current_role", issuer,
                    token_id, session, client_address, application_name, transaction_start
                FROM tenant_guard.own_events() own_events(
                    event_id, occurred_at, kind, action, account_id, relation,
                    leaf_relation, row_key, target, data, personal, redacted,
                    hashed, subject, role, session_role, "current_role", issuer,
                    token_id, session, client_address, application_name, transaction_start);
                $definition$)) AS w (name, options, definition)
    LEFT JOIN pg_class AS v
        ON v.relnamespace = l.relnamespace AND v.relname = w.name AND v.relkind = 'v'
    LEFT JOIN pg_roles AS r ON r.oid = v.relowner
    WHERE l.relnamespace = 'tenant_guard'::regnamespace AND l.relname = 'audit_log'
        AND (v.oid IS NULL OR NOT r.rolsuper OR v.reloptions IS DISTINCT FROM w.options
            OR regexp_replace(pg_get_viewdef(v.oid), '\s|own_events\.', '', 'g')
                <> regexp_replace(w.definition, '\s', '', 'g'))
    UNION ALL
    SELECT c.relname::text, a.what,
        CASE WHEN a.unguarded THEN format('SET tenant_guard.guards = off; %s RESET tenant_guard.guards;', a.fix)
            ELSE a.fix END
    FROM pg_class AS c
    CROSS JOIN LATERAL (
        SELECT 'row security is enabled', true,
            format('ALTER TABLE tenant_guard.%I DISABLE ROW LEVEL SECURITY;', c.relname)
        WHERE c.relrowsecurity
        UNION ALL
        SELECT format('belongs to role %I', r.rolname), true,
            format('ALTER TABLE tenant_guard.%I OWNER TO %I;', c.relname,
                (SELECT o.rolname FROM pg_extension AS e JOIN pg_roles AS o ON o.oid = e.extowner
                 WHERE e.extname = 'tenant_guard'))
        FROM pg_roles AS r
        WHERE r.oid = c.relowner AND NOT r.rolsuper
        UNION ALL
        SELECT format('has policy %I', p.polname), true,
            format('DROP POLICY %I ON tenant_guard.%I;', p.polname, c.relname)
        FROM pg_policy AS p
        WHERE p.polrelid = c.oid
        UNION ALL
        SELECT format('has rule %I', w.rulename), true,
            format('DROP RULE %I ON tenant_guard.%I;', w.rulename, c.relname)
        FROM pg_rewrite AS w
        WHERE w.ev_class = c.oid
        UNION ALL
        SELECT format('has trigger %I', t.tgname), true,
            format('DROP TRIGGER %I ON tenant_guard.%I;', t.tgname, c.relname)
        FROM pg_trigger AS t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
            AND t.tgfoid <> 'tenant_guard.guard_ledger()'::regprocedure
        UNION ALL
        SELECT 'guard trigger is missing or does not fire always', false,
            'SELECT tenant_guard.init_ledger();'
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = c.oid AND t.tgname = 'tenant_guard_guard' AND t.tgenabled = 'A'
                AND t.tgfoid = 'tenant_guard.guard_ledger()'::regprocedure)
    ) AS a (what, unguarded, fix)
    WHERE c.relnamespace = 'tenant_guard'::regnamespace AND c.relkind IN ('r', 'p')
        AND c.relname ~ '^(ledger_|audit_(log|context)($|_))'
) AS f (object, detail, fix)
WHERE $1 IS NULL OR $1 IS NOT NULL
