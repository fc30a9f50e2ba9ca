-- twin: the ledger's tables and the view of them
-- finds: error|15-ledger-altered|tenant_guard.audit_context
-- finds: error|15-ledger-altered|tenant_guard.audit_event
-- finds: error|15-ledger-altered|tenant_guard.audit_log
-- finds: error|15-ledger-altered|tenant_guard.ledger_account
-- finds: error|15-ledger-altered|tenant_guard.ledger_block
-- finds: error|15-ledger-altered|tenant_guard.ledger_leaf
-- cannot be shown: only auditors read the ledger, and only superusers write to its tables
DROP VIEW tenant_guard.audit_event;
CREATE VIEW tenant_guard.audit_event AS
SELECT * FROM tenant_guard.audit_log WHERE action <> 'delete';
ALTER TABLE tenant_guard.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY nobody ON tenant_guard.audit_context USING (false);
CREATE RULE quiet AS ON INSERT TO tenant_guard.ledger_block WHERE false DO INSTEAD NOTHING;
CREATE FUNCTION shop.other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER other BEFORE INSERT ON tenant_guard.ledger_leaf FOR EACH ROW EXECUTE FUNCTION shop.other();
ALTER TABLE tenant_guard.ledger_account DISABLE TRIGGER tenant_guard_guard;
