-- Tables nobody reads and tables everybody reads.
SET ROLE ITSOWNER;
CREATE TABLE shop.secret (id uuid PRIMARY KEY, name text UNIQUE);
CREATE TABLE shop.profile (handle text PRIMARY KEY, account_id uuid NOT NULL);
SELECT tenant_guard.protect('shop.secret', archetype => 'deny_all');
SELECT tenant_guard.protect('shop.profile', archetype => 'public_read');
RESET ROLE;
CREATE TABLE public.link (id uuid PRIMARY KEY, handle text REFERENCES shop.profile);
GRANT INSERT ON public.link TO APP;
