-- twin: the policies
-- without fix: 46-policy-cycle
-- finds: warning|46-policy-cycle|public.member
-- finds: warning|46-policy-cycle|public.team
-- finds: warning|46-policy-cycle|public.tree
-- by hand: DROP TABLE public.member, public.team, public.tree CASCADE;
CREATE TABLE public.team (id int, owner name); CREATE TABLE public.member (team int, who name);
CREATE TABLE public.tree (id int, parent int);
ALTER TABLE public.team ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.member ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.tree ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON public.team USING (id IN (SELECT m.team FROM public.member m WHERE m.who = current_user));
CREATE FUNCTION public.owned() RETURNS SETOF int LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT t.id FROM public.team t WHERE t.owner = current_user; END;
CREATE POLICY p ON public.member USING (who = current_user OR team IN (SELECT public.owned()));
CREATE POLICY p ON public.tree USING (parent IN (SELECT t.id FROM public.tree t));
GRANT SELECT ON public.team, public.member, public.tree TO APP;
-- A: SELECT id FROM public.tree
-- shows: 42P17 infinite recursion detected in policy for relation "tree"
-- then: 42P01 relation "public.tree" does not exist
