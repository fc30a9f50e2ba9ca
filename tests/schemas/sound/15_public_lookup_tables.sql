-- Tables that everybody reads by a policy that is true, and that hold no account's data.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
SELECT tenant_guard.protect('shop.contact');
CREATE TABLE shop.country (code text PRIMARY KEY, name text UNIQUE);
CREATE TABLE shop.currency_rate (code text, day date, rate numeric, PRIMARY KEY (code, day));
ALTER TABLE shop.country ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE shop.currency_rate ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody ON shop.country FOR SELECT USING (true);
CREATE POLICY "Rates are public" ON shop.currency_rate FOR SELECT TO PUBLIC USING (day <= current_date OR code = 'EUR');
CREATE FUNCTION shop.is_published() RETURNS boolean LANGUAGE sql STABLE RETURN true;
CREATE TABLE shop.article (id int PRIMARY KEY, body text);
ALTER TABLE shop.article ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY readable ON shop.article FOR SELECT USING (shop.is_published());
