-- What was written is in the log, the log is sealed, and a change of it is found.
SELECT tenant_guard.wait_sealed();
SELECT action, account_id, subject, data FROM tenant_guard.audit_event
    WHERE relation = 'public.orders' AND kind = 'row' ORDER BY xid, ordinal;
SELECT code, detail FROM tenant_guard.verify_ledger();
-- The log only grows, for a superuser too.
DELETE FROM tenant_guard.audit_log;
ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER ALL;
-- Who takes the guards away is found out.
BEGIN;
SET LOCAL tenant_guard.guards = off;
ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER ALL;
UPDATE tenant_guard.audit_log SET data = replace(data, 'rope', 'hope') WHERE kind = 'row';
SELECT code, account_id, relation, detail FROM tenant_guard.verify_ledger();
ROLLBACK;
SELECT code, detail FROM tenant_guard.verify_ledger();
SET ROLE regress_tenant_guard_app;
SELECT count(*) FROM tenant_guard.audit_log;
