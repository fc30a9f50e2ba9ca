-- Names of what is dangerous, on what is not.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, user_metadata jsonb, current_setting text);
SELECT tenant_guard.protect('shop.contact');
CREATE TABLE shop.account_type (code text PRIMARY KEY, accounting_code int UNIQUE, account text);
CREATE TABLE shop.account_ids (n int PRIMARY KEY);
CREATE TABLE shop.bypassrls (tenant_guard_floor text);
CREATE FUNCTION shop.account_id(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
CREATE FUNCTION shop.current_setting_name() RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$BEGIN /* not current_setting('x') */ RETURN 'current_setting'; END$$;
CREATE POLICY by_metadata ON shop.contact AS RESTRICTIVE FOR UPDATE USING (current_setting IS NULL OR id IS NOT NULL);
CREATE TABLE shop.setting (name text PRIMARY KEY, value text);
ALTER TABLE shop.setting ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_application ON shop.setting FOR SELECT USING (name <> 'IS NULL OR' AND value IS NOT NULL);
CREATE RULE quiet AS ON DELETE TO shop.setting DO INSTEAD NOTHING;
