-- Row 34: logical decoding reads every row of every account, policies or not.
-- Finds roles with REPLICATION that log in and hold rights on protected relations (error) or none
-- (info), publications that carry protected relations without a row filter (warning), and those that carry
-- tables of ours, as one of all tables does (error): keys of issuers, the log of every account, the registry.
-- Fix: take the attribute away; take the relations out of the publication.
SELECT CASE WHEN p.role IS NULL THEN 'info' ELSE 'error' END, quote_ident(r.rolname),
    'may read every row by logical decoding',
    format('ALTER ROLE %I NOREPLICATION;', r.rolname)
FROM pg_roles AS r
LEFT JOIN tenant_guard.protected_reader AS p ON p.role = r.oid
WHERE r.rolcanlogin AND r.rolreplication AND NOT r.rolsuper
    AND EXISTS (SELECT FROM tenant_guard.protected_member)
UNION ALL
SELECT 'error', quote_ident(w.role_name),
    format('can become %I, which may read every row by logical decoding, through %s', w.reached_name,
        CASE WHEN bool_and(w.direct) THEN 'its own membership'
            ELSE string_agg(DISTINCT quote_ident(w.via_name), ', ') END),
    string_agg(DISTINCT w.cut, ' ')
FROM tenant_guard.role_way AS w
JOIN pg_roles AS t ON t.oid = w.reached AND t.rolreplication AND NOT t.rolsuper AND NOT t.rolcanlogin
JOIN tenant_guard.protected_reader AS p ON p.role = w.role
GROUP BY w.role, w.role_name, w.reached, w.reached_name
UNION ALL
SELECT 'warning', quote_ident(b.pubname),
    format('publishes rows of all accounts of %s%s', (array_agg(m.name ORDER BY m.name))[1],
        CASE WHEN count(*) = 1 THEN '' ELSE format(' and %s other relations', count(*) - 1) END),
    string_agg(DISTINCT CASE
        WHEN listed.prrelid IS NOT NULL
            THEN format('ALTER PUBLICATION %I DROP TABLE %s;', b.pubname, listed.prrelid::regclass)
        ELSE format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I;', b.pubname, t.schemaname)
        END, ' ')
FROM pg_publication AS b
JOIN pg_publication_tables AS t ON t.pubname = b.pubname
JOIN pg_namespace AS n ON n.nspname = t.schemaname
JOIN pg_class AS c ON c.relname = t.tablename AND c.relnamespace = n.oid
JOIN tenant_guard.protected_member AS m ON m.relation = c.oid
LEFT JOIN LATERAL (
    -- The table itself, or the one above it that brought it in.
    WITH RECURSIVE above AS (
        SELECT c.oid AS relation
        UNION
        SELECT i.inhparent FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.relation
    )
    SELECT p.prrelid FROM pg_publication_rel AS p JOIN above AS a ON a.relation = p.prrelid
    WHERE p.prpubid = b.oid
    LIMIT 1
) AS listed ON true
-- There are no row filters before 15. A publication of all tables has ours in it.
WHERE NOT b.puballtables AND to_jsonb(t) ->> 'rowfilter' IS NULL
    AND m.archetype NOT IN ('reference', 'public_read')
    AND ($1 IS NULL OR m.schema = ANY ($1))
GROUP BY b.pubname
UNION ALL
SELECT 'error', quote_ident(b.pubname),
    'publishes tables of tenant_guard: keys of issuers, the log, what is protected'
        || CASE WHEN b.puballtables THEN '; and rows of all accounts' ELSE '' END,
    CASE WHEN b.puballtables THEN format('DROP PUBLICATION %I;', b.pubname)
        ELSE coalesce((
            SELECT string_agg(format('ALTER PUBLICATION %I DROP TABLE %s;', b.pubname, c.oid::regclass), ' '
                ORDER BY c.relname)
            FROM pg_publication_rel AS p JOIN pg_class AS c ON c.oid = p.prrelid
            WHERE p.prpubid = b.oid AND c.relnamespace = 'tenant_guard'::regnamespace
        ), format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA tenant_guard;', b.pubname)) END
FROM pg_publication AS b
WHERE EXISTS (SELECT FROM pg_publication_tables AS t
    WHERE t.pubname = b.pubname AND t.schemaname = 'tenant_guard')
