-- Narrower policies beside the floor, and tables without accounts that have policies of their own.
SET ROLE ITSOWNER;
CREATE TABLE shop.note (id uuid PRIMARY KEY, account_id uuid NOT NULL, author uuid, archived boolean);
SELECT tenant_guard.protect('shop.note');
CREATE POLICY own_notes ON shop.note AS RESTRICTIVE FOR UPDATE USING (author = tenant_guard.user_id());
CREATE POLICY current_notes ON shop.note AS RESTRICTIVE FOR SELECT USING (NOT archived OR tenant_guard.has_role('admin'));
CREATE TABLE shop.grade (who name, level int);
ALTER TABLE shop.grade ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_grade ON shop.grade FOR SELECT USING (who = current_user);
CREATE POLICY of_the_job ON shop.grade TO ITSOWNER USING (level > 0 OR level IS NULL);
REVOKE INSERT, UPDATE, DELETE ON shop.grade FROM APP;
CREATE TABLE shop.country (code text);
ALTER TABLE shop.country ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY readable ON shop.country FOR SELECT USING (true);
CREATE TABLE shop.comparison (a text, b text);
ALTER TABLE shop.comparison ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY said ON shop.comparison USING (a = 'x OR true' AND b <> 'IS NOT DISTINCT FROM');
