-- twin: the event triggers
-- row: 17
-- finds: error|15-guard-disabled|tenant_guard_command_end
-- finds: error|15-guard-disabled|tenant_guard_dropped
ALTER EVENT TRIGGER tenant_guard_command_end DISABLE;
ALTER EVENT TRIGGER tenant_guard_dropped ENABLE;
GRANT CREATE ON DATABASE DB TO APP;
-- A commits: CREATE SCHEMA free
-- A commits: CREATE TABLE free.copy AS SELECT * FROM shop.contact
-- B: SELECT string_agg(name, ' ' ORDER BY name) FROM free.copy
-- meanwhile: DROP SCHEMA free CASCADE
-- shows: abe ann
-- then: <null>
