-- finds: error|51-rule|public.inbox
-- finds: warning|51-rule|shop.contact
CREATE RULE "Copy" AS ON UPDATE TO shop.contact DO ALSO INSERT INTO shop.currency VALUES (OLD.name);
CREATE TABLE public.inbox (name text);
CREATE RULE move AS ON INSERT TO public.inbox DO INSTEAD INSERT INTO shop.contact (id, name) VALUES (1, NEW.name);
