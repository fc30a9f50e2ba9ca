SELECT tenant_guard.unprotect('orders');
-- The ledger outlives a mistake, and the extension.
DROP EXTENSION tenant_guard CASCADE;
SET tenant_guard.guards = off;
SET client_min_messages = warning;
DROP EXTENSION tenant_guard CASCADE;
SELECT count(*) > 0 AS events FROM tenant_guard.audit_log;
DROP OWNED BY regress_tenant_guard_app;
DROP ROLE regress_tenant_guard_app;
