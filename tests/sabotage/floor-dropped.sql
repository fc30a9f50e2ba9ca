-- Every floor policy goes as soon as it is made, and the registration that the library would make the
-- floor from again; the access policies stay.
-- must fail: isolation::attacks::adding_a_permissive_policy_does_not_widen_the_floor
ALTER EVENT TRIGGER tenant_guard_dropped DISABLE;
CREATE FUNCTION public.drop_floors() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT polrelid FROM pg_catalog.pg_policy WHERE polname = 'tenant_guard_floor'
    LOOP
        EXECUTE format('DROP POLICY tenant_guard_floor ON %s', relation);
    END LOOP;
    DELETE FROM tenant_guard.protection_member;
END
$$;
CREATE EVENT TRIGGER drop_floors ON ddl_command_end WHEN TAG IN ('CREATE POLICY')
    EXECUTE FUNCTION public.drop_floors();
