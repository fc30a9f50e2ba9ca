-- Row 18: a materialized view holds the rows of whoever refreshed it, for everybody.
-- Finds those over protected relations: readable by others than the owner (error) or not (info).
-- Fix: take the right to read it away.
SELECT CASE WHEN v.readers IS NULL THEN 'info' ELSE 'error' END, v.name,
    format('holds rows of %s without isolation', v.sources),
    CASE WHEN v.readers IS NULL THEN ''
        ELSE format('REVOKE ALL ON TABLE %s FROM %s CASCADE;', v.name, v.readers) END
FROM tenant_guard.dependent_view AS v
WHERE v.kind = 'm' AND v.isolated
    AND ($1 IS NULL OR v.schema = ANY ($1))
