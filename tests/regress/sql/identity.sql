-- A transaction has the identity of the token it was given, and no other.
SET ROLE regress_tenant_guard_app;
SELECT tenant_guard.is_authenticated();
SELECT tenant_guard.account_id_text();
BEGIN;
SELECT sign_in('dana of acme');
SELECT tenant_guard.account_id_text(), tenant_guard.subject(), tenant_guard.roles();
-- One transaction, one account.
SELECT sign_in('glen of globex');
ROLLBACK;
BEGIN;
SELECT sign_in('glen of globex');
SELECT tenant_guard.account_id_text(), tenant_guard.has_role('admin'), tenant_guard.has_role('owner');
COMMIT;
SELECT tenant_guard.is_authenticated();
-- A token whose signature is another's, one without any, and none at all.
SELECT tenant_guard.authenticate('eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL3JlZ3Jlc3MuZXhhbXBsZSJ9.AAAA');
SELECT tenant_guard.authenticate('eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL3JlZ3Jlc3MuZXhhbXBsZSJ9.');
SELECT tenant_guard.authenticate('no token');
-- No setting plants one.
SET tenant_guard.identity = 'acme';
-- The application registers nobody who signs tokens.
SELECT tenant_guard.add_issuer('https://evil.example', '{"keys": []}');
