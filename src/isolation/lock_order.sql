-- These relations and all below them, each once, in the order to lock them in: tree by tree, parents
-- first.
-- $1 oid[]: the topmost ones.
WITH RECURSIVE tree AS (
    SELECT r.relation, r.relation AS root, 0 AS depth FROM unnest($1::oid[]) AS r (relation)
    UNION ALL
    SELECT i.inhrelid, t.root, t.depth + 1 FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.relation
)
SELECT t.relation FROM tree AS t
GROUP BY t.relation
ORDER BY min(t.root), max(t.depth), t.relation
