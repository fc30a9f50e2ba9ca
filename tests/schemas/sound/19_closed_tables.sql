-- Tables nobody reads: row security without a policy, no grants, or deny_all; and policies that are never true.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.signing_key (id text PRIMARY KEY, key bytea);
SELECT tenant_guard.protect('shop.contact'), tenant_guard.protect('shop.signing_key', archetype => 'deny_all');
CREATE TABLE shop.locked (name text UNIQUE);
ALTER TABLE shop.locked ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TABLE shop.shut (name text);
ALTER TABLE shop.shut ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY never ON shop.shut USING (false) WITH CHECK (false);
CREATE POLICY but_if ON shop.shut AS RESTRICTIVE USING (true);
CREATE TABLE shop.job (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account uuid, payload jsonb);
REVOKE ALL ON shop.job FROM APP;
