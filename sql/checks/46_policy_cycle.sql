-- Row 46: policies that ask each other's tables end in "infinite recursion detected in policy" (42P17),
-- and then somebody writes true.
-- Finds tables whose policies read, over any number of others or functions with a body of SQL, the
-- table itself (warning).
-- Fix: none to paste. Move the look-up into a table of its own, or protect the relations: the account is
-- then in the token, and a child is found through its parent.
WITH RECURSIVE edge AS MATERIALIZED (
    SELECT DISTINCT p.relation AS source, s.relation AS target
    FROM tenant_guard.written_policy AS p
    JOIN pg_class AS c ON c.oid = p.relation AND c.relrowsecurity
    JOIN tenant_guard.policy_source AS s ON s.policy = p.oid
), seen AS (
    SELECT e.source, e.target FROM edge AS e
    UNION
    SELECT s.source, e.target FROM seen AS s JOIN edge AS e ON e.source = s.target
)
SELECT 'warning', s.source::regclass::text,
    'its policies read it again' || COALESCE(', by way of ' || (
        SELECT string_agg(DISTINCT t.target::regclass::text, ', ')
        FROM seen AS t JOIN seen AS back ON back.source = t.target AND back.target = s.source
        WHERE t.source = s.source AND t.target <> s.source), ''),
    ''
FROM seen AS s
JOIN pg_class AS c ON c.oid = s.source
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.target = s.source AND ($1 IS NULL OR n.nspname = ANY ($1))
