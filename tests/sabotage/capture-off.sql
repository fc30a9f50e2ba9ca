-- Capture's triggers are there and do not fire.
-- must fail: capture::changes::each_change_gives_its_exact_event
ALTER EVENT TRIGGER tenant_guard_command_end DISABLE;
CREATE FUNCTION public.disable_capture() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    trigger record;
BEGIN
    FOR trigger IN
        SELECT tgrelid::regclass AS relation, tgname FROM pg_catalog.pg_trigger
        WHERE tgname LIKE 'tenant\_guard\_capture%' AND tgenabled <> 'D'
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', trigger.relation, trigger.tgname);
    END LOOP;
END
$$;
CREATE EVENT TRIGGER disable_capture ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER', 'ALTER TABLE')
    EXECUTE FUNCTION public.disable_capture();
