-- twin: the right to write the table that is asked
-- finds: error|45-policy-reads-open-table|public.draft.p
-- finds: error|45-policy-reads-open-table|public.draft.q
CREATE TABLE public.member (who name, tenant int); GRANT SELECT, INSERT ON public.member TO APP;
CREATE TABLE public.draft (id int, tenant int);
ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON public.draft FOR SELECT TO APP
    USING (tenant IN (SELECT m.tenant FROM public.member m WHERE m.who = current_user));
CREATE FUNCTION public.mine() RETURNS SETOF int LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT m.tenant FROM public.member m WHERE m.who = current_user; END;
CREATE POLICY q ON public.draft FOR UPDATE USING (tenant IN (SELECT public.mine()));
GRANT SELECT ON public.draft TO APP; INSERT INTO public.draft VALUES (7, 2);
-- A: INSERT INTO public.member VALUES (current_user, 2)
-- A: SELECT id FROM public.draft
-- shows: 7
-- then: 42501 permission denied for table member
