-- The linter: what its checks read, findings that are accepted, and its outputs. Each check is a file
-- in sql/checks. All of it reads catalogs and settings; nothing that a user wrote is evaluated.

-- A view of one relation alone is written through with its owner's rights, by members of
-- pg_write_all_data without a grant. So none of ours is one: it joins a row of nothing.

-- Objects that an extension brought are its business, and ours.
CREATE VIEW tenant_guard.extension_object AS
SELECT d.classid, d.objid
FROM pg_catalog.pg_depend AS d CROSS JOIN (SELECT) AS one
WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::regclass;
REVOKE ALL ON tenant_guard.extension_object FROM PUBLIC;

-- Schemas of the product: not PostgreSQL's, not ours, not those of temporary tables.
CREATE VIEW tenant_guard.product_schema AS
SELECT n.oid, n.nspname AS name, n.nspowner AS owner, n.nspacl AS acl
FROM pg_catalog.pg_namespace AS n CROSS JOIN (SELECT) AS one
WHERE n.nspname <> ALL ('{pg_catalog,information_schema,pg_toast,tenant_guard}')
    AND n.nspname !~ '^pg_(toast_)?temp_'
    AND NOT EXISTS (
        SELECT FROM tenant_guard.extension_object AS e
        WHERE e.classid = 'pg_catalog.pg_namespace'::regclass AND e.objid = n.oid);
REVOKE ALL ON tenant_guard.product_schema FROM PUBLIC;

-- Names of account columns, by schema. A table of accounts names its key, and every table has one of
-- that name.
CREATE VIEW tenant_guard.account_column AS
SELECT DISTINCT m.schema, m.account_column AS name
FROM tenant_guard.protected_member AS m
WHERE m.account_column IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS k
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.indrelid AND a.attnum = k.indkey[0]
    WHERE k.indrelid = m.root AND k.indisprimary AND k.indnkeyatts = 1
        AND a.attname = m.account_column);
REVOKE ALL ON tenant_guard.account_column FROM PUBLIC;

-- Roles that log in, and every role each can become with SET ROLE; via is the member that the last
-- step of the way was granted to. Attributes such as BYPASSRLS are not inherited, only become.
CREATE VIEW tenant_guard.role_way AS
WITH RECURSIVE way AS (
    SELECT r.oid AS role, r.oid AS reached, NULL::oid AS via, NULL::oid AS grantor
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolcanlogin AND NOT r.rolsuper
    UNION
    SELECT w.role, m.roleid, m.member, m.grantor
    FROM way AS w
    JOIN pg_catalog.pg_auth_members AS m ON m.member = w.reached
    -- Before 16 every member may.
    WHERE COALESCE((pg_catalog.to_jsonb(m) ->> 'set_option')::boolean, true)
)
SELECT w.role, r.rolname AS role_name, w.reached, t.rolname AS reached_name,
    w.via = w.role AS direct, v.rolname AS via_name,
    pg_catalog.format('REVOKE %I FROM %I%s;', t.rolname, v.rolname,
        -- From 16 on each grantor's grant is one of its own.
        CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000
            THEN pg_catalog.format(' GRANTED BY %I', g.rolname) ELSE '' END) AS cut
FROM way AS w
JOIN pg_catalog.pg_roles AS r ON r.oid = w.role
JOIN pg_catalog.pg_roles AS t ON t.oid = w.reached
JOIN pg_catalog.pg_roles AS v ON v.oid = w.via
LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = w.grantor
WHERE pg_catalog.has_database_privilege(w.role,
    (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()),
    'CONNECT');
REVOKE ALL ON tenant_guard.role_way FROM PUBLIC;

-- Ordinary roles that log in to this database and hold a privilege on a protected relation,
-- themselves, through groups or as PUBLIC.
CREATE VIEW tenant_guard.protected_reader AS
WITH holder AS MATERIALIZED (
    SELECT g.grantee AS role
    FROM tenant_guard.protected_member AS m
    CROSS JOIN LATERAL (
        SELECT a.grantee FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = m.relation
        UNION ALL
        SELECT a.grantee FROM pg_catalog.pg_attribute AS t, pg_catalog.aclexplode(t.attacl) AS a
        WHERE t.attrelid = m.relation AND t.attacl IS NOT NULL
    ) AS g
    UNION
    SELECT m.owner FROM tenant_guard.protected_member AS m
)
SELECT r.oid AS role, r.rolname AS name
FROM pg_catalog.pg_roles AS r
WHERE r.rolcanlogin AND NOT r.rolsuper
    AND pg_catalog.has_database_privilege(r.oid,
        (SELECT d.oid FROM pg_catalog.pg_database AS d
         WHERE d.datname = pg_catalog.current_database()), 'CONNECT')
    AND EXISTS (
        SELECT FROM holder AS h
        WHERE h.role = 0 OR pg_catalog.pg_has_role(r.oid, h.role, 'MEMBER'));
REVOKE ALL ON tenant_guard.protected_reader FROM PUBLIC;

-- Settings as they are kept for roles and databases that concern this database.
CREATE VIEW tenant_guard.kept_setting AS
SELECT pg_catalog.lower(pg_catalog.split_part(c.entry, '=', 1)) AS name,
    pg_catalog.substr(c.entry, pg_catalog.strpos(c.entry, '=') + 1) AS value, r.rolname AS role,
    CASE WHEN r.oid IS NULL THEN '' ELSE pg_catalog.format('kept for role %I ', r.rolname) END
        || CASE WHEN d.oid IS NULL THEN 'in every database'
            ELSE pg_catalog.format('%sin database %I',
                CASE WHEN r.oid IS NULL THEN 'kept ' ELSE '' END, d.datname) END AS place,
    CASE WHEN r.oid IS NULL AND d.oid IS NULL THEN 'ALTER ROLE ALL'
        WHEN r.oid IS NULL THEN pg_catalog.format('ALTER DATABASE %I', d.datname)
        WHEN d.oid IS NULL THEN pg_catalog.format('ALTER ROLE %I', r.rolname)
        ELSE pg_catalog.format('ALTER ROLE %I IN DATABASE %I', r.rolname, d.datname) END
        || ' RESET ' || pg_catalog.lower(pg_catalog.split_part(c.entry, '=', 1)) || ';' AS reset
FROM pg_catalog.pg_db_role_setting AS s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (entry)
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
WHERE d.oid IS NULL OR d.datname = pg_catalog.current_database();
REVOKE ALL ON tenant_guard.kept_setting FROM PUBLIC;

-- Functions and procedures that somebody wrote in this database.
CREATE VIEW tenant_guard.written_routine AS
SELECT p.oid, n.name AS schema, p.oid::regprocedure::text AS name, p.proname AS bare_name,
    p.proowner AS owner, o.rolname AS owner_name, o.rolsuper OR o.rolbypassrls AS bypasses,
    p.prosecdef AS definer, p.provolatile AS volatility, p.proleakproof AS leakproof,
    l.lanname AS language, p.prosqlbody IS NOT NULL AS has_body,
    p.prorettype IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
        AS is_trigger,
    -- A body of SQL is printed as it was compiled; of any other the text without its comments.
    pg_catalog.lower(CASE WHEN p.prosqlbody IS NOT NULL THEN pg_catalog.pg_get_function_sqlbody(p.oid)
        WHEN l.lanname IN ('c', 'internal') THEN ''
        ELSE pg_catalog.regexp_replace(pg_catalog.regexp_replace(
            p.prosrc, '/\*([^*]|\*+[^*/])*\*+/', ' ', 'g'), '--[^\n]*', ' ', 'g') END) AS source,
    (SELECT pg_catalog.substr(c, 13) FROM pg_catalog.unnest(p.proconfig) AS c
     WHERE c LIKE 'search\_path=%') AS search_path,
    -- Everybody but the owner who may call it, as a list for REVOKE; null where nobody may.
    CASE WHEN n.owner <> p.proowner OR n.acl IS NOT NULL THEN (
        SELECT pg_catalog.string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
            ELSE pg_catalog.quote_ident(r.rolname) END, ', ')
        FROM pg_catalog.aclexplode(
            COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE a.grantee <> p.proowner AND NOT COALESCE(r.rolsuper, false)) END AS callers
FROM pg_catalog.pg_proc AS p
JOIN tenant_guard.product_schema AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
WHERE p.prokind IN ('f', 'p') AND NOT EXISTS (
    SELECT FROM tenant_guard.extension_object AS e
    WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid);
REVOKE ALL ON tenant_guard.written_routine FROM PUBLIC;

-- Policies that are not ours. A table that is protected has its floor, which bounds them.
CREATE VIEW tenant_guard.written_policy AS
SELECT p.oid, p.polrelid AS relation, n.name AS schema, p.polrelid::regclass::text AS name,
    p.polname AS policy, p.polpermissive AS permissive, p.polcmd AS command, p.polroles AS roles,
    pg_catalog.format('%s.%I', p.polrelid::regclass, p.polname) AS object,
    m.relation IS NOT NULL AS protected, account.name AS account_column,
    COALESCE(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') AS using_text,
    COALESCE(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '') AS check_text,
    pg_catalog.concat(p.polqual, p.polwithcheck) AS tree,
    pg_catalog.format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass) AS drop,
    -- Where the table has an account column, its own policies give way to protection.
    CASE WHEN account.name IS NULL OR m.relation IS NOT NULL
        THEN pg_catalog.format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)
        ELSE pg_catalog.format('BEGIN; DROP POLICY %I ON %s; '
            'SELECT tenant_guard.protect(%L, account_column => %L); COMMIT;', p.polname,
            p.polrelid::regclass, p.polrelid::regclass, account.name) END AS fix
FROM pg_catalog.pg_policy AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
LEFT JOIN tenant_guard.protected_member AS m ON m.relation = p.polrelid
LEFT JOIN LATERAL (
    SELECT a.attname AS name FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = p.polrelid AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attname = 'account_id'
            OR a.attname IN (SELECT k.name FROM tenant_guard.account_column AS k))
    ORDER BY a.attnum LIMIT 1
) AS account ON true
WHERE (m.relation IS NULL OR p.polname NOT LIKE 'tenant\_guard\_%')
    AND NOT EXISTS (
        SELECT FROM tenant_guard.extension_object AS e
        WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = p.polrelid);
REVOKE ALL ON tenant_guard.written_policy FROM PUBLIC;

-- Whether a column of this type and collation can be an account column, unless it is generated and not stored.
CREATE FUNCTION tenant_guard.fits_account(type oid, collation_used oid, generated "char") RETURNS boolean
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN type IN ('uuid'::regtype, 'integer'::regtype, 'bigint'::regtype, 'text'::regtype,
            'character varying'::regtype)
        AND generated <> 'v'
        AND NOT EXISTS (
            SELECT FROM pg_collation AS l WHERE l.oid = collation_used AND NOT l.collisdeterministic);
COMMENT ON FUNCTION tenant_guard.fits_account(type oid, collation_used oid, generated "char") IS
    'whether a column of this type and collation, stored or not, can be an account column';
REVOKE ALL ON FUNCTION tenant_guard.fits_account(oid, oid, "char") FROM PUBLIC;

-- Roles that may read a relation or a column of it, beside its owner, superusers and our own roles.
CREATE VIEW tenant_guard.outside_reader AS
SELECT DISTINCT g.relation,
    CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END AS role
FROM tenant_guard.granted_privilege AS g
JOIN pg_catalog.pg_class AS c ON c.oid = g.relation
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
WHERE g.privilege = 'SELECT' AND g.grantee <> c.relowner
    AND NOT COALESCE(r.rolsuper, false)
    AND NOT COALESCE(r.rolname IN ('tenant_guard_admin', 'tenant_guard_auditor'), false);
REVOKE ALL ON tenant_guard.outside_reader FROM PUBLIC;

-- Tables that are not protected and refer to rows of accounts: what of those their readers see. With the
-- call that protects each: by its account column, or by the first column that alone leads to a parent.
-- Tables with row security of their own are judged by their policies.
CREATE VIEW tenant_guard.unprotected_child AS
WITH key AS (
    SELECT f.conrelid AS relation, f.confrelid::regclass::text AS parent,
        -- The column that is the account, where the key has it.
        account.attnum AS account_number,
        CASE WHEN pg_catalog.cardinality(f.conkey) = 1 AND m.relation = m.root AND (
                v.atttypid = k.atttypid
                OR v.atttypid = ANY ('{int2,int4,int8}'::regtype[])
                    AND k.atttypid = ANY ('{int2,int4,int8}'::regtype[])
                OR v.atttypid = ANY ('{text,varchar}'::regtype[])
                    AND k.atttypid = ANY ('{text,varchar}'::regtype[]))
            -- Of a column that leads to several parents nobody knows which is meant.
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_constraint AS o
                WHERE o.contype = 'f' AND o.conrelid = f.conrelid AND o.conkey = f.conkey
                    AND o.conparentid = 0 AND o.confrelid <> f.confrelid)
            THEN v.attnum END AS via_number
    FROM pg_catalog.pg_constraint AS f
    JOIN tenant_guard.protected_member AS m ON m.relation = f.confrelid
        AND m.archetype IN ('account', 'shared_defaults', 'child')
    JOIN pg_catalog.pg_attribute AS v ON v.attrelid = f.conrelid AND v.attnum = f.conkey[1]
    JOIN pg_catalog.pg_attribute AS k ON k.attrelid = f.confrelid AND k.attnum = f.confkey[1]
    LEFT JOIN LATERAL (
        SELECT a.attnum
        FROM ROWS FROM (pg_catalog.unnest(f.conkey), pg_catalog.unnest(f.confkey)) AS pair (child, parent)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = pair.child
        JOIN pg_catalog.pg_attribute AS p ON p.attrelid = f.confrelid AND p.attnum = pair.parent
        WHERE p.attname = m.account_column AND a.attnotnull) AS account ON true
    WHERE f.contype = 'f' AND f.conparentid = 0 AND NOT EXISTS (
        SELECT FROM tenant_guard.protected_member AS c WHERE c.relation = f.conrelid)
)
SELECT c.oid AS relation, n.name AS schema, c.oid::regclass::text AS name,
    pg_catalog.string_agg(DISTINCT k.parent, ', ') AS parents,
    -- As a list for a message.
    (SELECT pg_catalog.string_agg(o.role, ', ' ORDER BY o.role) FROM tenant_guard.outside_reader AS o
     WHERE o.relation = c.oid) AS readers,
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid) THEN ''
        WHEN own.name IS NOT NULL THEN CASE WHEN own.fits
            THEN pg_catalog.format('SELECT tenant_guard.protect(%L, account_column => %L);',
                c.oid::regclass, own.name) ELSE '' END
        WHEN pg_catalog.min(k.via_number) IS NULL THEN ''
        ELSE pg_catalog.format('SELECT tenant_guard.protect(%L, via => %L);', c.oid::regclass,
            (SELECT a.attname FROM pg_catalog.pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum = pg_catalog.min(k.via_number))) END AS fix
FROM key AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.relation AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
JOIN tenant_guard.product_schema AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT a.attname AS name, tenant_guard.fits_account(a.atttypid, a.attcollation, a.attgenerated) AS fits
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attname IN (SELECT o.name FROM tenant_guard.account_column AS o WHERE o.schema = n.name)
            OR a.attnum IN (SELECT o.account_number FROM key AS o WHERE o.relation = c.oid))
    ORDER BY a.attname IN (SELECT o.name FROM tenant_guard.account_column AS o WHERE o.schema = n.name) DESC,
        a.attnum
    LIMIT 1
) AS own ON true
GROUP BY c.oid, c.relname, c.relowner, n.name, own.name, own.fits;
REVOKE ALL ON tenant_guard.unprotected_child FROM PUBLIC;

-- Functions that the policies above call, and what those call, as far as PostgreSQL remembers it: it
-- does for bodies of SQL, and keeps bodies that are strings to itself. Of those, a schema-qualified
-- name before a parenthesis is taken for a call.
CREATE VIEW tenant_guard.policy_routine AS
WITH RECURSIVE call AS MATERIALIZED (
    SELECT DISTINCT d.objid AS caller, d.refobjid AS called
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass
        AND d.refclassid = 'pg_catalog.pg_proc'::regclass
    UNION
    SELECT r.oid, p.oid
    FROM tenant_guard.written_routine AS r
    CROSS JOIN LATERAL pg_catalog.regexp_matches(r.source, '([a-z_0-9$]+)\.([a-z_0-9$]+)\s*\(', 'g')
        AS word (parts)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = word.parts[1]
    JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid AND p.proname = word.parts[2]
    WHERE NOT r.has_body
), reached AS (
    SELECT d.objid AS policy, d.refobjid AS routine
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_policy AS p ON p.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_policy'::regclass
        AND d.refclassid = 'pg_catalog.pg_proc'::regclass
        -- Ours are on every protected relation, and call nothing of anybody's.
        AND NOT (p.polname LIKE 'tenant\_guard\_%' AND p.polrelid IN (
            SELECT m.relation FROM tenant_guard.protection_member AS m))
    UNION
    SELECT r.policy, c.called FROM reached AS r JOIN call AS c ON c.caller = r.routine
)
SELECT policy, routine FROM reached;
REVOKE ALL ON tenant_guard.policy_routine FROM PUBLIC;

-- Relations that the policies above read in sub-queries, through functions with a body of SQL too.
-- The relation a policy stands on is noted as a dependency whether it is read or not, so what is read is
-- taken from the stored expression.
CREATE VIEW tenant_guard.policy_source AS
SELECT p.oid AS policy, s.id[1]::oid AS relation
FROM tenant_guard.written_policy AS p
CROSS JOIN LATERAL pg_catalog.regexp_matches(p.tree, ':relid (\d+)', 'g') AS s (id)
WHERE s.id[1] <> '0'
UNION
SELECT r.policy, d.refobjid
FROM tenant_guard.policy_routine AS r
JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = r.routine
        AND d.refclassid = 'pg_catalog.pg_class'::regclass
WHERE r.policy IN (SELECT p.oid FROM tenant_guard.written_policy AS p);
REVOKE ALL ON tenant_guard.policy_source FROM PUBLIC;

-- What a server of this version (as server_version_num) lacks of the fixes for row security.
CREATE FUNCTION tenant_guard.missing_fix(version integer)
    RETURNS TABLE (cve text, effect text, fixed_in text)
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT f.cve, f.effect, format('%s.%s', f.major, f.minor)
    FROM (VALUES
        ('CVE-2023-2455', 'policies keep the user of an earlier plan', 14, 8),
        ('CVE-2023-2455', 'policies keep the user of an earlier plan', 15, 3),
        ('CVE-2023-39418', 'MERGE passes by policies for UPDATE and SELECT', 15, 4),
        ('CVE-2024-4317', 'pg_stats_ext shows values of other roles'' tables', 14, 12),
        ('CVE-2024-4317', 'pg_stats_ext shows values of other roles'' tables', 15, 7),
        ('CVE-2024-4317', 'pg_stats_ext shows values of other roles'' tables', 16, 3),
        ('CVE-2024-10976', 'policies in sub-queries keep the user of an earlier plan', 14, 14),
        ('CVE-2024-10976', 'policies in sub-queries keep the user of an earlier plan', 15, 9),
        ('CVE-2024-10976', 'policies in sub-queries keep the user of an earlier plan', 16, 5),
        ('CVE-2024-10976', 'policies in sub-queries keep the user of an earlier plan', 17, 1),
        ('CVE-2024-10978', 'SET ROLE and SET SESSION AUTHORIZATION reset to the wrong user', 14, 14),
        ('CVE-2024-10978', 'SET ROLE and SET SESSION AUTHORIZATION reset to the wrong user', 15, 9),
        ('CVE-2024-10978', 'SET ROLE and SET SESSION AUTHORIZATION reset to the wrong user', 16, 5),
        ('CVE-2024-10978', 'SET ROLE and SET SESSION AUTHORIZATION reset to the wrong user', 17, 1),
        ('CVE-2025-8713', 'statistics of partitions and views tell hidden values', 14, 19),
        ('CVE-2025-8713', 'statistics of partitions and views tell hidden values', 15, 14),
        ('CVE-2025-8713', 'statistics of partitions and views tell hidden values', 16, 10),
        ('CVE-2025-8713', 'statistics of partitions and views tell hidden values', 17, 6),
        ('CVE-2026-14666', 'cached plans outlive changes of roles and BYPASSRLS', 14, 24),
        ('CVE-2026-14666', 'cached plans outlive changes of roles and BYPASSRLS', 15, 19),
        ('CVE-2026-14666', 'cached plans outlive changes of roles and BYPASSRLS', 16, 15),
        ('CVE-2026-14666', 'cached plans outlive changes of roles and BYPASSRLS', 17, 11),
        ('CVE-2026-14666', 'cached plans outlive changes of roles and BYPASSRLS', 18, 6)
    ) AS f (cve, effect, major, minor)
    WHERE f.major = version / 10000 AND f.minor > version % 10000;
END;
COMMENT ON FUNCTION tenant_guard.missing_fix(version integer) IS
    'security fixes that a version of the server lacks';
REVOKE ALL ON FUNCTION tenant_guard.missing_fix(integer) FROM PUBLIC;

-- Whether an expression puts a constant, not an empty one, in the place of an unset setting.
CREATE FUNCTION tenant_guard.has_default_account(source text) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN source ~ ('coalesce\s*\(.*current_setting\s*\(\s*''[^'']*''(::text)?(,\s*(true|false)\s*)?\)'
        || '(,\s*''''(::text)?\s*\))?[^,'']*,\s*\(?(''[^'']+''|\d)');
COMMENT ON FUNCTION tenant_guard.has_default_account(source text) IS
    'whether an expression puts a constant in the place of an unset setting';
REVOKE ALL ON FUNCTION tenant_guard.has_default_account(text) FROM PUBLIC;

-- What somebody has decided to live with: findings of a code about an object, as they were then.
CREATE TABLE tenant_guard.finding_acceptance (
    code text NOT NULL,
    object text NOT NULL,
    -- A finding that comes to say something else is not accepted any more.
    details text[] NOT NULL,
    -- How bad the worst of them was. One that becomes worse is not accepted any more, either.
    severity text NOT NULL CHECK (severity IN ('error', 'warning', 'info')),
    reason text NOT NULL CHECK (reason <> ''),
    -- Null for good.
    until timestamptz,
    accepted_by name NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (code, object)
);
REVOKE ALL ON tenant_guard.finding_acceptance FROM PUBLIC;
-- Whoever answers for isolation sees what was accepted, by whom and why.
GRANT SELECT ON tenant_guard.finding_acceptance TO tenant_guard_admin, tenant_guard_auditor;
SELECT pg_catalog.pg_extension_config_dump('tenant_guard.finding_acceptance', '');

-- Large queries over small tables: compiling them took most of their time.
CREATE FUNCTION tenant_guard."check"(schemas name[] DEFAULT NULL, accepted boolean DEFAULT false)
    RETURNS TABLE (severity text, code text, object text, detail text, fix text)
    LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET jit = off SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'check_wrapper';
COMMENT ON FUNCTION tenant_guard."check"(name[], boolean) IS
    'what is wrong with isolation: a row for each finding, with the statement that mends it';
CREATE FUNCTION tenant_guard.check_report(format text DEFAULT 'json', schemas name[] DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET jit = off SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'check_report_wrapper';
COMMENT ON FUNCTION tenant_guard.check_report(format text, schemas name[]) IS
    'the findings of check() as JSON or SARIF';
CREATE FUNCTION tenant_guard.check_gate(fail_on text DEFAULT 'error', schemas name[] DEFAULT NULL)
    RETURNS void
    LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET jit = off SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'check_gate_wrapper';
COMMENT ON FUNCTION tenant_guard.check_gate(text, name[]) IS
    'an error while there are findings of this severity, or a worse one, that nobody has accepted';
-- They print what an acceptance is compared with, so their settings are those of check().
CREATE FUNCTION tenant_guard.accept_finding(
    code text, object text, reason text, until timestamptz DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    SET jit = off SET quote_all_identifiers = off SET standard_conforming_strings = on
    SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'accept_finding_wrapper';
COMMENT ON FUNCTION tenant_guard.accept_finding(text, text, text, timestamp with time zone) IS
    'accepts a finding of check() on one object, with a reason, for good or until a day';
CREATE FUNCTION tenant_guard.withdraw_acceptance(code text, object text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'withdraw_acceptance_wrapper';
COMMENT ON FUNCTION tenant_guard.withdraw_acceptance(code text, object text) IS
    'takes back what accept_finding() accepted';
REVOKE ALL ON FUNCTION
    tenant_guard."check"(name[], boolean), tenant_guard.check_report(text, name[]),
    tenant_guard.check_gate(text, name[]),
    tenant_guard.accept_finding(text, text, text, timestamptz),
    tenant_guard.withdraw_acceptance(text, text)
    FROM PUBLIC;
-- They read catalogs only, and say to both groups what they are there to know.
GRANT EXECUTE ON FUNCTION
    tenant_guard."check"(name[], boolean), tenant_guard.check_report(text, name[]),
    tenant_guard.check_gate(text, name[])
    TO tenant_guard_admin, tenant_guard_auditor;
-- To live with a risk is the admin's decision.
GRANT EXECUTE ON FUNCTION
    tenant_guard.accept_finding(text, text, text, timestamptz),
    tenant_guard.withdraw_acceptance(text, text)
    TO tenant_guard_admin;
