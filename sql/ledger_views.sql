-- Views on the ledger's tables. Made with them, by our code, where they are missing.

-- For people: each event with its id and its context.
CREATE VIEW tenant_guard.audit_event AS
SELECT lpad(to_hex(l.incarnation), 16, '0') || '-' || l.xid || '-' || l.ordinal AS event_id,
    l.incarnation, l.xid, l.ordinal, l.command_id, l.occurred_at, l.kind, l.action, l.account_id,
    l.relation, l.leaf_relation, l.row_key, l.target, l.data, l.personal, l.redacted, l.hashed,
    l.context, c.subject, c.role, c.session_role, c."current_role", c.issuer, c.token_id, c.session,
    c.client_address, c.application_name, c.transaction_start
FROM tenant_guard.audit_log AS l
LEFT JOIN tenant_guard.audit_context AS c
    ON c.incarnation = l.incarnation AND c.xid = l.xid AND c.number = l.context;
COMMENT ON VIEW tenant_guard.audit_event IS 'audited events with who acted and from where';
-- As on the tables below it.
GRANT SELECT ON tenant_guard.audit_event TO tenant_guard_auditor;
