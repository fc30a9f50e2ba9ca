-- For an account's own people: the events of the account of the identity, where one of its roles reads
-- the log. Made with the ledger's tables, by our code, where it is missing.
CREATE VIEW tenant_guard.own_event AS SELECT * FROM tenant_guard.own_events();
COMMENT ON VIEW tenant_guard.own_event IS
    'audited events of the account of the current identity, for roles that allow_log() names';
-- The function decides who sees what.
GRANT SELECT ON tenant_guard.own_event TO PUBLIC;
