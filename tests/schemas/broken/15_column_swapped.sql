-- twin: the column that had the name
-- finds: error|15-ledger-altered|shop.guest
-- without fix: 15-ledger-altered
-- by hand: SELECT tenant_guard.audit('shop.guest', redact => '{email_legacy,email}')
-- cannot be shown: every change of the table is an error until somebody says which column is meant
CREATE TABLE shop.guest (id int PRIMARY KEY, email text);
SELECT tenant_guard.audit('shop.guest', redact => '{email}');
ALTER TABLE shop.guest RENAME email TO email_legacy;
ALTER TABLE shop.guest ADD email text;
