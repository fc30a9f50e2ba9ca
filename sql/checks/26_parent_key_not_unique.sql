-- Row 26: whoever can write a second row with the key of another account's parent has its children.
-- Finds parents of protected children whose key is no longer unique at every moment (error).
-- Fix: a unique constraint over the key.
SELECT DISTINCT 'error', l.parent::text,
    format('its key %I, by which relation %s finds its account, is not unique', l.parent_key,
        l.relation),
    format('ALTER TABLE %s ADD UNIQUE (%I);', l.parent, l.parent_key)
FROM tenant_guard.protection_link AS l
JOIN tenant_guard.protected_member AS m ON m.relation = l.parent
WHERE NOT EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = l.parent_key
        WHERE i.indrelid = l.parent AND i.indisunique AND i.indimmediate AND i.indisvalid
            AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1
            AND i.indkey[0] = a.attnum)
    AND ($1 IS NULL OR m.schema = ANY ($1))
