-- Rows for accounts 1 to 3, three of each in every table, made from the catalog. A row says whose it is:
-- its number is account * 100 + n, and every text in it begins with the account, as "1/contact/2".
-- Rows of tables that no account has are numbered 1 to 3. Defaults that come with the product have no
-- account, and number 9.

CREATE FUNCTION pg_temp.person(account int, n int) RETURNS uuid LANGUAGE sql
    RETURN ('00000000-0000-4000-8000-' || lpad((account * 100 + n)::text, 12, '0'))::uuid;

-- The value of a column in row n of an account, as a literal.
CREATE FUNCTION pg_temp.value(relation regclass, column_number int, account int, n int) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    own CONSTANT pg_attribute := (SELECT a FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum = column_number);
    kind CONSTANT pg_type := (SELECT t FROM pg_type AS t WHERE t.oid = own.atttypid);
    of_nobody CONSTANT boolean := relation::text IN ('app.feature', 'app.job', 'app.schema_history', 'hr.skill')
        OR relation::text LIKE 'ref.%';
    a CONSTANT int := CASE WHEN of_nobody THEN 0 ELSE account END;
    target record;
BEGIN
    IF own.attname IN ('account_id', 'tenant', 'org') OR relation = 'app.account'::regclass AND own.attname = 'id' THEN
        RETURN CASE WHEN account = 0 THEN 'NULL' ELSE quote_literal(account) END;
    ELSIF own.attname IN ('parent_id', 'within_id') THEN
        RETURN CASE WHEN n = 1 THEN 'NULL' ELSE quote_literal(a * 100 + n - 1) END;
    ELSIF own.attname = 'subject_type' THEN
        RETURN quote_literal((ARRAY['contact', 'deal', 'ticket'])[n]);
    ELSIF own.attname = 'on_table' THEN
        RETURN quote_literal('contact');
    ELSIF own.attname LIKE 'kind' AND relation = 'crm.campaign_event'::regclass THEN
        RETURN quote_literal((ARRAY['open', 'click', 'forward'])[n]);
    END IF;
    SELECT f.confrelid::regclass AS relation, f.confkey[k.place] AS number INTO target
    FROM pg_constraint AS f, unnest(f.conkey) WITH ORDINALITY AS k (number, place)
    WHERE f.contype = 'f' AND f.conrelid = relation AND k.number = column_number
        AND f.confrelid <> 'app.account'::regclass
    LIMIT 1;
    IF FOUND THEN
        IF n > 3 THEN
            RETURN 'NULL';
        END IF;
        -- The second column of a pair within one table points elsewhere than the first.
        RETURN pg_temp.value(target.relation, target.number, account,
            CASE WHEN own.attname IN ('to_id', 'needs_id', 'part_id') THEN n % 3 + 1 ELSE n END);
    ELSIF own.atttypid = 'uuid'::regtype THEN
        RETURN quote_literal(pg_temp.person(a, n));
    ELSIF own.atttypid = 'uuid[]'::regtype THEN
        RETURN quote_literal(ARRAY[pg_temp.person(a, n)]);
    ELSIF kind.typtype = 'e' THEN
        RETURN (SELECT quote_literal(e.enumlabel) FROM pg_enum AS e WHERE e.enumtypid = kind.oid ORDER BY e.enumsortorder LIMIT 1);
    ELSIF own.atttypid = 'app.email'::regtype THEN
        RETURN quote_literal(format('%s.%s@%s.example', a, n, relation));
    END IF;
    RETURN CASE
        WHEN own.atttypid = 'daterange'::regtype
            THEN quote_literal(daterange(date '2026-01-01' + n * 40, date '2026-01-21' + n * 40))
        WHEN own.atttypid = 'interval'::regtype THEN quote_literal(n || ' hours')
        WHEN own.atttypid = 'inet'::regtype THEN quote_literal('10.0.' || a || '.' || n)
        WHEN own.atttypid IN ('jsonb'::regtype) THEN quote_literal(format('{"of": "%s/%s/%s"}', a, relation, n))
        WHEN own.attname IN ('credit') THEN 'NULL'
        WHEN kind.typcategory = 'N' AND (own.attname LIKE '%id' OR own.attname = 'id') THEN quote_literal(a * 100 + n)
        WHEN kind.typcategory = 'N' THEN quote_literal(n)
        WHEN kind.typcategory = 'D' THEN quote_literal(timestamp '2026-03-01' + n * interval '1 day')
        WHEN kind.typcategory = 'B' THEN 'false'
        WHEN kind.typcategory = 'S' THEN quote_literal(format('%s/%s/%s', a, relation, n))
        WHEN own.atttypid = 'bytea'::regtype THEN quote_literal(convert_to(format('%s/%s/%s', a, relation, n), 'UTF8'))
    END;
END $$;

CREATE FUNCTION pg_temp.fill(relation regclass, account int, n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    columns text;
    row_values text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
        string_agg(pg_temp.value(relation, a.attnum, account, n), ', ' ORDER BY a.attnum)
    INTO columns, row_values
    FROM pg_attribute AS a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attgenerated = '' AND a.attidentity <> 'a';
    EXECUTE format('INSERT INTO %s (%s) VALUES (%s)', relation, columns, row_values);
END $$;

DO $$
DECLARE
    relation regclass;
    of_nobody boolean;
BEGIN
    -- Tables were made in an order in which each follows those it points at.
    FOR relation IN
        SELECT c.oid FROM pg_class AS c
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace::regnamespace::text
            IN ('ref', 'app', 'crm', 'billing', 'stock', 'hr', 'work', 'desk')
        ORDER BY c.oid
    LOOP
        of_nobody := relation::text LIKE 'ref.%'
            OR relation::text IN ('app.feature', 'app.job', 'app.schema_history', 'hr.skill');
        FOR account IN CASE WHEN of_nobody THEN 0 ELSE 1 END .. CASE WHEN of_nobody THEN 0 ELSE 3 END LOOP
            FOR n IN 1 .. 3 LOOP
                -- One account is one row.
                CONTINUE WHEN relation = 'app.account'::regclass AND n > 1;
                PERFORM pg_temp.fill(relation, account,
                    n + CASE relation::text WHEN 'crm.activity_call' THEN 10 WHEN 'crm.activity_meeting' THEN 20 ELSE 0 END);
            END LOOP;
        END LOOP;
        IF relation::text IN ('app.notice_template', 'crm.lead_source', 'crm.pipeline', 'crm.mail_template',
            'billing.tax_rate', 'billing.price_list', 'billing.dunning_level', 'hr.absence_kind', 'work.label',
            'desk.response_goal') THEN
            PERFORM pg_temp.fill(relation, 0, 9);
        END IF;
    END LOOP;
    PERFORM setval(pg_get_serial_sequence('crm.company', 'id'), 1000),
        setval(pg_get_serial_sequence('crm.contact', 'id'), 1000);
END $$;
