-- twin: the event trigger
-- finds: error|15-guard-disabled|tenant_guard_command_end
-- without fix: 15-guard-disabled
-- by hand: CREATE EVENT TRIGGER tenant_guard_command_end ON ddl_command_end EXECUTE FUNCTION tenant_guard.guard_command_end(); ALTER EVENT TRIGGER tenant_guard_command_end ENABLE ALWAYS;
ALTER EXTENSION tenant_guard DROP EVENT TRIGGER tenant_guard_command_end;
DROP EVENT TRIGGER tenant_guard_command_end;
GRANT CREATE ON DATABASE DB TO APP;
-- A commits: CREATE SCHEMA free
-- A commits: CREATE TABLE free.copy AS SELECT * FROM shop.contact
-- B: SELECT string_agg(name, ' ' ORDER BY name) FROM free.copy
-- meanwhile: DROP SCHEMA free CASCADE
-- shows: abe ann
-- then: <null>
