-- For an account's own people: the events of the account of the identity, where one of its roles reads
-- the log. What says something of other accounts is left out: how many transactions there were in
-- between, and in which order. Made with the ledger's tables, by our code, where it is missing.
CREATE VIEW tenant_guard.own_event WITH (security_barrier) AS
SELECT lpad(to_hex(l.incarnation), 16, '0') || '-' || l.xid || '-' || l.ordinal AS event_id,
    l.occurred_at, l.kind, l.action, l.account_id, l.relation, l.leaf_relation, l.row_key, l.target,
    l.data, l.personal, l.redacted, l.hashed, c.subject, c.role, c.session_role, c."current_role",
    c.issuer, c.token_id, c.session, c.client_address, c.application_name, c.transaction_start
FROM tenant_guard.audit_log AS l
LEFT JOIN tenant_guard.audit_context AS c
    ON c.incarnation = l.incarnation AND c.xid = l.xid AND c.number = l.context
WHERE l.account_id = tenant_guard.log_account();
COMMENT ON VIEW tenant_guard.own_event IS
    'audited events of the account of the current identity, for roles that allow_log() names';
-- The condition decides who sees what.
GRANT SELECT ON tenant_guard.own_event TO PUBLIC;
