-- Roles that the application switches to with SET ROLE, as PostgREST does; none of them passes row security by.
CREATE ROLE DB_authenticator LOGIN NOINHERIT; CREATE ROLE DB_anonymous NOLOGIN; CREATE ROLE DB_signed_in NOLOGIN;
CREATE ROLE DB_support NOLOGIN; CREATE ROLE "DB_o'dd" NOLOGIN NOINHERIT;
GRANT DB_anonymous, DB_signed_in, DB_support TO DB_authenticator; GRANT DB_signed_in TO "DB_o'dd";
GRANT "DB_o'dd" TO DB_authenticator;
-- Bypassing roles that nobody becomes, or that reach no protected relation, and a group of admins.
CREATE ROLE DB_dump NOLOGIN BYPASSRLS; CREATE ROLE DB_loader LOGIN BYPASSRLS; CREATE ROLE DB_admin LOGIN;
GRANT tenant_guard_admin, tenant_guard_auditor TO DB_admin;
ALTER ROLE DB_authenticator SET statement_timeout = '5s'; ALTER ROLE DB_signed_in SET search_path = shop, pg_catalog;
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.article (id uuid PRIMARY KEY, account_id uuid NOT NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.contact TO DB_signed_in; GRANT SELECT ON shop.article TO DB_anonymous;
SELECT tenant_guard.protect('shop.contact'), tenant_guard.protect('shop.article', archetype => 'public_read');
