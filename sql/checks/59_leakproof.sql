-- Row 59: a LEAKPROOF function is called before the policies, on rows of every account.
-- Finds functions that somebody declared so (warning: whether it keeps what it sees to itself only its
-- code tells).
-- Fix: take the declaration back.
SELECT 'warning', f.name, 'is LEAKPROOF: it sees rows before policies judge them',
    format('ALTER FUNCTION %s NOT LEAKPROOF;', f.name)
FROM tenant_guard.written_routine AS f
WHERE f.leakproof AND ($1 IS NULL OR f.schema = ANY ($1))
