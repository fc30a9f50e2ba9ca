WITH reach AS (
    SELECT r.oid, r.rolname,
        ARRAY(SELECT ROW(c.oid, p.name, has_table_privilege(r.oid, c.oid, p.name),
                CASE WHEN p.of_columns THEN ARRAY(
                    SELECT a.attnum FROM pg_attribute AS a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND has_column_privilege(r.oid, c.oid, a.attnum, p.name)
                    ORDER BY a.attnum) END)::text
            FROM pg_class AS c, (VALUES ('SELECT', true), ('INSERT', true), ('UPDATE', true),
                ('DELETE', false), ('TRUNCATE', false)) AS p (name, of_columns)
            WHERE c.oid = ANY ($1) AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
                AND CASE WHEN p.of_columns THEN has_any_column_privilege(r.oid, c.oid, p.name)
                    ELSE has_table_privilege(r.oid, c.oid, p.name) END
            ORDER BY 1) AS relations,
        ARRAY(SELECT p.oid FROM pg_proc AS p WHERE p.oid = ANY ($2)
                AND has_schema_privilege(r.oid, p.pronamespace, 'USAGE')
                AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
            ORDER BY 1) AS functions,
        ARRAY(SELECT p.oid FROM pg_policy AS p WHERE p.polrelid = ANY ($1) AND EXISTS (
                SELECT FROM unnest(p.polroles) AS o (role)
                WHERE o.role <> 0 AND pg_has_role(r.oid, o.role, 'USAGE'))
            ORDER BY 1) AS policies,
        ARRAY(SELECT c.oid FROM pg_class AS c WHERE c.oid = ANY ($1)
                AND pg_has_role(r.oid, c.relowner, 'USAGE') ORDER BY 1) AS owned,
        r.rolbypassrls AS bypasses,
        CASE WHEN r.rolbypassrls THEN 'it bypasses row security'
            WHEN NOT pg_has_role($3, r.oid, $4) THEN 'you cannot become it'
            -- Of these authors alone: whether each role of a server is a member of each takes minutes.
            ELSE (SELECT format('code of %s would run with its rights',
                    min(pg_get_userbyid(a.author)::text))
                FROM unnest(CASE WHEN EXISTS (SELECT FROM unnest($5) AS p (name)
                        WHERE pg_has_role(r.oid, to_regrole(p.name)::oid, 'MEMBER'))
                    THEN $6::oid[] ELSE $7::oid[] END) AS a (author)
                WHERE NOT pg_has_role(a.author, r.oid, $4)
                HAVING count(*) > 0) END AS refusal
    FROM pg_roles AS r WHERE NOT r.rolsuper AND r.rolname !~ '^pg_'
)
SELECT (array_agg(oid ORDER BY rolname))[1:$8], (array_agg(rolname::text ORDER BY rolname))[1:$8],
    count(*), refusal
FROM reach WHERE relations <> '{}' OR functions <> '{}' AND NOT bypasses
GROUP BY refusal, relations, functions, policies, owned ORDER BY 2
