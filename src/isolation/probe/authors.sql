WITH RECURSIVE given AS (
    SELECT w.oid, true AS written FROM unnest($1::oid[]) AS w (oid)
    UNION ALL
    SELECT r.oid, false FROM unnest($2::oid[]) AS r (oid)
), of_type (oid) AS (
    (SELECT t.oid FROM unnest($3::oid[]) AS t (oid)
     UNION
     SELECT a.atttypid FROM given AS g JOIN pg_attribute AS a ON a.attrelid = g.oid
     WHERE g.written AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384)
    UNION
    SELECT b.oid FROM of_type AS o JOIN pg_type AS t ON t.oid = o.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype
        UNION ALL SELECT t.typelem
        UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE r.rngtypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_attribute AS a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS b (oid) WHERE b.oid >= 16384
), expression AS (
    SELECT c.relowner AS author, e.text
    FROM given AS g JOIN pg_class AS c ON c.oid = g.oid
    CROSS JOIN LATERAL (
        SELECT concat_ws(' ', p.polqual::text, p.polwithcheck::text)
        FROM pg_policy AS p WHERE p.polrelid = g.oid
        UNION ALL SELECT concat_ws(' ', i.indexprs::text, i.indpred::text)
        FROM pg_index AS i WHERE i.indrelid = g.oid
        UNION ALL SELECT concat_ws(' ', w.ev_qual::text, w.ev_action::text)
        FROM pg_rewrite AS w WHERE w.ev_class = g.oid AND (g.written OR w.ev_type = '1')
        UNION ALL SELECT p.partexprs::text
        FROM pg_partitioned_table AS p WHERE p.partrelid = g.oid
        UNION ALL SELECT d.adbin::text
        FROM pg_attrdef AS d WHERE g.written AND d.adrelid = g.oid
        UNION ALL SELECT k.conbin::text
        FROM pg_constraint AS k WHERE g.written AND k.conrelid = g.oid
        UNION ALL SELECT t.tgqual::text
        FROM pg_trigger AS t WHERE g.written AND t.tgrelid = g.oid
    ) AS e (text) WHERE e.text <> ''
    UNION ALL
    SELECT t.typowner, k.conbin::text
    FROM of_type AS o JOIN pg_type AS t ON t.oid = o.oid
    JOIN pg_constraint AS k ON k.contypid = t.oid WHERE k.conbin IS NOT NULL
), called AS (
    SELECT x.author, m.found[1]::oid AS function
    FROM expression AS x, regexp_matches(
        x.text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS m (found)
    UNION
    SELECT x.author, o.oprcode::oid
    FROM expression AS x, regexp_matches(x.text, ':opno (\d+)', 'g') AS m (found)
    JOIN pg_operator AS o ON o.oid = m.found[1]::oid
), author AS (
    SELECT p.proowner AS oid FROM called AS c JOIN pg_proc AS p ON p.oid = c.function
    UNION
    -- Whoever wrote the expression chose the arguments.
    SELECT c.author FROM called AS c JOIN pg_proc AS p ON p.oid = c.function
    WHERE p.provolatile = 'v' AND p.proname !~ '^(nextval|random|clock_timestamp|timeofday'
        '|gen_random_uuid|gen_random_bytes|uuid_generate_v\d\w*|uuidv\d)$'
    UNION
    SELECT p.proowner FROM given AS g JOIN pg_trigger AS t ON t.tgrelid = g.oid
    JOIN pg_proc AS p ON p.oid = t.tgfoid WHERE g.written AND NOT t.tgisinternal
    UNION
    SELECT c.relowner FROM given AS g JOIN pg_rewrite AS w ON w.ev_class = g.oid
    JOIN pg_class AS c ON c.oid = g.oid WHERE g.written AND w.ev_type <> '1'
    UNION
    SELECT p.proowner FROM of_type AS o JOIN pg_range AS r ON r.rngtypid = o.oid
    JOIN pg_proc AS p ON p.oid IN (r.rngcanonical, r.rngsubdiff)
)
SELECT 'author', a.oid FROM author AS a JOIN pg_roles AS r ON r.oid = a.oid WHERE NOT r.rolsuper
UNION
SELECT 'relation', m.found[1]::oid
FROM expression AS x, regexp_matches(x.text, ':relid (\d+)', 'g') AS m (found)
WHERE m.found[1]::oid >= 16384
UNION
SELECT 'type', m.found[1]::oid
FROM expression AS x, regexp_matches(x.text, ':\w*type\w* (\d+)', 'g') AS m (found)
WHERE m.found[1]::oid >= 16384
