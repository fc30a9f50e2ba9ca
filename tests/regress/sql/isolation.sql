-- Each account has its own rows, whatever the statement says.
SET ROLE regress_tenant_guard_app;
SELECT item FROM orders;
BEGIN;
SELECT sign_in('dana of acme');
SELECT account_id, item FROM orders ORDER BY item;
INSERT INTO orders (item) VALUES ('rope') RETURNING account_id, item;
UPDATE orders SET item = 'mine' WHERE account_id = 'globex';
DELETE FROM orders WHERE account_id = 'globex';
SELECT account_id, item FROM orders ORDER BY item;
SAVEPOINT before;
INSERT INTO orders (account_id, item) VALUES ('globex', 'planted');
ROLLBACK TO before;
UPDATE orders SET account_id = 'globex';
ROLLBACK TO before;
TRUNCATE orders;
ROLLBACK TO before;
COMMIT;
RESET ROLE;
-- The owner is held too, and takes nothing apart in passing.
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;
DROP POLICY tenant_guard_floor ON orders;
SELECT severity, code, object FROM tenant_guard.check(ARRAY['public']::name[])
    WHERE object LIKE '%orders%' AND severity = 'error';
SELECT relation::text, account_column::text FROM tenant_guard.protected_relation;
