-- twin: the rule
-- finds: error|51-rule|public.inbox
-- finds: warning|51-rule|shop.contact
CREATE RULE "Copy" AS ON UPDATE TO shop.contact DO ALSO INSERT INTO shop.currency VALUES (OLD.name);
CREATE TABLE public.inbox (account uuid, name text); GRANT INSERT ON public.inbox TO APP;
CREATE RULE move AS ON INSERT TO public.inbox DO INSTEAD
    INSERT INTO shop.contact (id, account_id, name) VALUES (9, NEW.account, NEW.name);
-- A commits: INSERT INTO public.inbox VALUES ('ACCOUNT_B', 'planted')
-- B: SELECT name FROM shop.contact WHERE id = 9
-- meanwhile: DELETE FROM shop.contact WHERE id = 9
-- shows: planted
