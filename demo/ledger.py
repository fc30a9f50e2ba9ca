"""What was done to a row, and the proof that the record of it is the one that was written."""

import json
import uuid

EVENT_ID = "lpad(to_hex(incarnation), 16, '0') || '-' || xid || '-' || ordinal"


def show_capture(server, narrator, issuer, accounts):
    """Changes one row and one secret as the application; returns the row's key."""
    narrator.act("An agent works on a lead; the delivery worker's secret is renewed")
    account = list(accounts.values())[0]
    app = server.connect("chat_app")
    with app.transaction(issuer.token(account)):
        lead = app.rows(
            "INSERT INTO chat.leads (name, worth) VALUES ('Harbor Café', 1200) RETURNING id::text"
        )[0][0]
    for status, subject in (("contacted", "dana@agents.example"), ("won", "kim@agents.example")):
        with app.transaction(issuer.token(account, sub=subject)):
            app.rows("UPDATE chat.leads SET status = %s WHERE id = %s", status, lead)
    secret = f"secret-{uuid.uuid4()}"
    with app.transaction(issuer.token(account)):
        app.rows("UPDATE chat.delivery_channels SET credential = %s WHERE kind = 'email'", secret)
    show_secret_is_kept(server, narrator, issuer, account, secret)
    return lead


def show_secret_is_kept(server, narrator, issuer, account, secret):
    query = "SELECT credential FROM chat.delivery_channels WHERE kind = 'email'"

    def read_as(role):
        session = server.connect(role)
        with session.transaction(issuer.token(account)):
            return session.rows(query)[0][0]

    app = server.connect("chat_app")
    refusal = app.refused(lambda: read_as("chat_app"))
    narrator.outcome(
        refusal.sqlstate == "42501",
        f"the application reads the credential: {refusal}",
        "expected a refusal with 42501",
    )
    narrator.outcome(
        read_as("chat_delivery") == secret, "the delivery role reads the credential just set"
    )
    auditor = server.connect("chat_auditor")
    logged = auditor.rows(
        "SELECT count(*) FILTER (WHERE position(%s in log::text) > 0),"
        " count(*) FILTER (WHERE 'credential' = ANY (redacted)) FROM tenant_guard.audit_log AS log",
        secret,
    )[0]
    narrator.outcome(
        logged == (0, 1),
        f"events that name the credential's change: {logged[1]}; that show its value: {logged[0]}",
    )


def show_audit_trail(server, narrator, lead):
    narrator.act("The audit trail of that lead, read by the auditor")
    events = server.connect("chat_auditor").rows(
        "SELECT action, subject, session_role, data FROM tenant_guard.audit_event"
        " WHERE relation = 'chat.leads' AND row_key::jsonb ->> 'id' = %s"
        " ORDER BY xid, command_id, ordinal",
        lead,
    )
    for action, subject, role, data in events:
        narrator.tell(f"{action} by {subject} through {role}: {data}")
    found = [(action, subject.split("@")[0]) for action, subject, _, _ in events]
    narrator.outcome(
        found == [("insert", "dana"), ("update", "dana"), ("update", "kim")],
        f"{len(events)} events: " + ", ".join(f"{action} by {who}" for action, who in found),
        "expected insert by dana, update by dana, update by kim",
    )


def show_ledger(server, narrator, lead):
    narrator.act("The ledger: sealed, verified, then tampered with by a superuser")
    operator, auditor = server.superuser(), server.connect("chat_auditor")
    sealed = operator.rows("SELECT tenant_guard.wait_sealed()")[0][0]
    counts = "SELECT blocks, sealed_events, unsealed_events, sealer FROM tenant_guard.ledger_status()"
    blocks, events, waiting, sealer = operator.rows(counts)[0]
    narrator.tell(f"the background worker is {sealer}: blocks {blocks}, events {events}")
    findings = verify(auditor)
    narrator.outcome(
        sealed and blocks > 0 and not waiting and not findings,
        f"events not sealed yet: {waiting}; findings of verify_ledger(): {len(findings)}",
    )
    for line in auditor.rows("SELECT tenant_guard.checkpoint()")[0][0].splitlines():
        narrator.tell(f"checkpoint: {line}")
    tamper(server, narrator, lead)


def verify(auditor):
    return auditor.rows("SELECT code, event_id, relation, detail FROM tenant_guard.verify_ledger()")


def tamper(server, narrator, lead):
    operator = server.superuser()
    event, stored = operator.rows(
        f"SELECT {EVENT_ID}, data FROM tenant_guard.audit_log"
        " WHERE relation = 'chat.leads' AND row_key::jsonb ->> 'id' = %s AND action = 'insert'",
        lead,
    )[0]
    forge = (
        "UPDATE tenant_guard.audit_log SET data = replace(data, '1200', '9200')"
        f" WHERE {EVENT_ID} = '{event}'"
    )
    refusal = operator.refused(lambda: operator.script(forge))
    narrator.outcome(
        refusal.sqlstate == "55000",
        f"a superuser edits the first event: {refusal}",
        "expected a refusal with 55000",
    )
    operator.script(
        "SET tenant_guard.guards = off;"
        "ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;"
        f"{forge};"
        "ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard"
    )
    edited = operator.rows(f"SELECT data FROM tenant_guard.audit_log WHERE {EVENT_ID} = '{event}'")
    worth = json.loads(edited[0][0])["worth"]
    narrator.outcome(
        edited[0][0] != stored,
        f"with the guard switched off the edit goes through: the lead was worth {worth}, it says",
    )
    findings = verify(server.connect("chat_auditor"))
    for code, found, relation, detail in findings:
        narrator.tell(f"{code} {found or ''} {relation or ''}: {detail}")
    named = [found for _, found, _, _ in findings if found]
    narrator.outcome(
        named == [event],
        f"verify_ledger() names the event {', '.join(named) or 'of nobody'}",
        f"the edited one is {event}",
    )
