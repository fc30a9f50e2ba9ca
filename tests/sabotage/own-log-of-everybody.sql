-- The function own_events shows the events of every account to whoever reads the log of one.
-- must fail: history::own_log::role_that_reads_the_log_sees_the_events_of_its_account_and_no_others
-- must fail: history::own_log::leaky_function_in_a_condition_is_shown_own_events_only
-- The tables it reads come with the first audited event.
SET check_function_bodies = off;
DO $$
DECLARE
    definition text := pg_get_functiondef('tenant_guard.own_events'::regproc);
    guard text := 'l.account_id = tenant_guard.log_account()';
BEGIN
    ASSERT strpos(definition, guard) > 0, 'own_events does not have the guard any more';
    EXECUTE replace(definition, guard, 'tenant_guard.log_account() IS NOT NULL');
END
$$;
