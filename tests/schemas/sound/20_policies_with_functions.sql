-- Restrictive policies beside the floor whose predicates are in functions, over functions, over tables that
-- the same users read and do not write.
SET ROLE ITSOWNER;
CREATE TABLE shop.team (id uuid PRIMARY KEY, account_id uuid NOT NULL, lead text, UNIQUE (account_id, id));
CREATE TABLE shop.document (id uuid PRIMARY KEY, account_id uuid NOT NULL, team_id uuid, secret boolean,
    FOREIGN KEY (account_id, team_id) REFERENCES shop.team (account_id, id));
SELECT tenant_guard.protect_schema('shop');
CREATE FUNCTION shop.me() RETURNS text LANGUAGE sql STABLE RETURN tenant_guard.subject();
CREATE FUNCTION shop.leads(team uuid) RETURNS boolean LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT EXISTS (SELECT FROM shop.team AS t WHERE t.id = team AND t.lead = shop.me()); END;
CREATE FUNCTION shop.may_see(secret boolean, team uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$BEGIN
    -- true for what is no secret; OR true would be wrong
    RETURN NOT secret OR shop.leads(team) OR tenant_guard.has_role('admin'); END$$;
CREATE POLICY secrets ON shop.document AS RESTRICTIVE FOR SELECT USING (shop.may_see(secret, team_id));
CREATE POLICY of_the_lead ON shop.document AS RESTRICTIVE FOR DELETE
    USING (team_id IN (SELECT t.id FROM shop.team AS t WHERE t.lead = (SELECT shop.me())));
CREATE TABLE shop.region (name text PRIMARY KEY, open boolean NOT NULL);
REVOKE INSERT, UPDATE, DELETE ON shop.region FROM APP;
CREATE TABLE shop.shop_window (id int PRIMARY KEY, region text);
ALTER TABLE shop.shop_window ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY open_regions ON shop.shop_window FOR SELECT
    USING (region IN (SELECT r.name FROM shop.region AS r WHERE r.open));
