"""The main job of tenant_guard, end to end, on a throwaway server: one database, three customers.

Usage: demo.py SOCKET_DIRECTORY [SABOTAGE]

Every sentence about an outcome is computed from what the server answered, nearly always to a
session of the application's role. The exit code is 0 only when every outcome was as it should be.
"""

import sys
import time
from pathlib import Path

import psycopg2

from attacks import attempt_all
from issuer import Issuer
from ledger import show_audit_trail, show_capture, show_ledger
from narrator import Narrator
from server import Server

HERE = Path(__file__).parent
TABLES = [
    "accounts",
    "users",
    "widgets",
    "contacts",
    "conversations",
    "messages",
    "leads",
    "bookings",
    "files",
    "delivery_channels",
]

# What SABOTAGE=... breaks after set-up, to show that the demo would notice.
SABOTAGE = {
    "policy": """
        SET tenant_guard.guards = off;
        DROP POLICY tenant_guard_floor ON chat.leads;
        ALTER POLICY tenant_guard_access ON chat.leads USING (true) WITH CHECK (true);
        DELETE FROM tenant_guard.protection_member WHERE relation = 'chat.leads'::regclass;
    """,
}


def set_up(server, narrator, sabotage):
    narrator.act("Set-up: an ordinary product, then one migration")
    admin = server.superuser()
    admin.script("CREATE EXTENSION tenant_guard")
    admin.script((HERE / "schema.sql").read_text())
    admin.script((HERE / "seed.sql").read_text())
    issuer, partner = Issuer("https://auth.chat.example"), Issuer("https://auth.partner.example")
    for known in (issuer, partner):
        admin.rows("SELECT tenant_guard.add_issuer(%s, %s)", known.name, known.keys())
    admin.script((HERE / "protect.sql").read_text())
    if sabotage:
        admin.script(SABOTAGE[sabotage])
        narrator.tell(f"sabotage: {sabotage}")
    accounts = admin.rows("SELECT name, id::text FROM chat.accounts ORDER BY id")
    narrator.tell(f"{len(TABLES)} tables, {len(accounts)} customers, 2 token issuers")
    for relation, column in admin.rows(
        "SELECT relation::text, account_column FROM tenant_guard.protected_relation ORDER BY 1"
    ):
        narrator.tell(f"protected: {relation} by {column}")
    return issuer, partner, dict(accounts)


def counts(session):
    """How many rows of each table this session can see."""
    query = " UNION ALL ".join(f"SELECT '{t}', count(*) FROM chat.{t}" for t in TABLES)
    return dict(session.rows(query))


def account_column(table):
    return "id" if table == "accounts" else "account_id"


def true_counts(server, account):
    """How many rows belong to an account, counted past row security."""
    query = " UNION ALL ".join(
        f"SELECT '{table}', count(*) FROM chat.{table} WHERE {account_column(table)} = %s"
        for table in TABLES
    )
    return dict(server.superuser().rows(query, *[account] * len(TABLES)))


def show_isolation(server, narrator, issuer, accounts):
    narrator.act("Who sees what: the same queries, each time with another customer's token")
    app = server.connect("chat_app")
    for name, account in accounts.items():
        with app.transaction(issuer.token(account)):
            seen = counts(app)
        owned = true_counts(server, account)
        wrong = [f"{t}: {seen[t]} of {owned[t]}" for t in TABLES if seen[t] != owned[t]]
        narrator.outcome(
            not wrong,
            f"{name} sees {sum(seen.values())} rows: {seen['conversations']} conversations, "
            f"{seen['messages']} messages, {seen['leads']} leads; it owns {sum(owned.values())}",
            "differs in " + ", ".join(wrong),
        )


def show_pooled_session(server, narrator, issuer, accounts):
    narrator.act("One pooled session, three transactions: a customer, nobody, another customer")
    (first, first_id), (second, second_id) = list(accounts.items())[:2]
    app = server.connect("chat_app")
    query = "SELECT DISTINCT account_id::text FROM chat.conversations"
    with app.transaction(issuer.token(first_id)):
        seen = [account for account, in app.rows(query)]
    narrator.outcome(seen == [first_id], f"with {first}'s token: rows of {names(accounts, seen)}")
    refusal = app.refused(lambda: app.rows(query))
    narrator.outcome(
        refusal.sqlstate == "28000", f"without a token: {refusal}", "expected a refusal with 28000"
    )
    with app.transaction(issuer.token(second_id)):
        seen = [account for account, in app.rows(query)]
    narrator.outcome(seen == [second_id], f"with {second}'s token: rows of {names(accounts, seen)}")


def names(accounts, ids):
    found = [name for name, account in accounts.items() if account in ids]
    return ", ".join(found) or "nobody"


def show_checks(server, narrator):
    narrator.act("The linter: what in this schema would let isolation fail")
    superuser = server.superuser()
    # The demo's server trusts whoever reaches its socket, in a directory that only its user enters.
    superuser.script(
        "SELECT tenant_guard.accept_finding('72-hba-lets-in', 'pg_hba.conf', 'a private socket')"
    )
    findings = superuser.rows(
        "SELECT severity, code, object, detail FROM tenant_guard.check('{chat}')"
        " WHERE severity <> 'info'"
    )
    for severity, code, thing, detail in findings:
        narrator.tell(f"{severity} {code} {thing}: {detail}")
    narrator.outcome(not findings, f"check() reports {len(findings)} errors and warnings")


def show_probe(server, narrator):
    narrator.act("The probe: rows of two made-up accounts, every role, every way across, all undone")
    superuser = server.superuser()
    before, seconds = counts(superuser), time.monotonic()
    failed = []
    for table in TABLES:
        gate = lambda: superuser.rows("SELECT tenant_guard.probe_gate(%s)", f"chat.{table}")
        refusal = superuser.refused(gate)
        if refusal.sqlstate != "00000":
            failed.append(f"{table}: {refusal}")
    seconds = time.monotonic() - seconds
    narrator.outcome(
        not failed,
        f"nothing crosses in {len(TABLES)} tables, tried in {seconds:.1f} s",
        "; ".join(failed),
    )
    narrator.outcome(before == counts(superuser), "no row of the probe is left")


def show_log_is_clean(server, narrator, tokens):
    narrator.act("The server's own log")
    log = server.log()
    leaked = [token for token in tokens if token in log or token.split(".")[1] in log]
    narrator.outcome(
        not leaked,
        f"of the {len(tokens)} tokens of this demo {len(leaked)} stand in it",
    )


def play(server, narrator, sabotage):
    issuer, partner, accounts = set_up(server, narrator, sabotage)
    show_isolation(server, narrator, issuer, accounts)
    show_pooled_session(server, narrator, issuer, accounts)
    attempt_all(server, narrator, issuer, partner, accounts)
    show_checks(server, narrator)
    show_probe(server, narrator)
    lead = show_capture(server, narrator, issuer, accounts)
    show_audit_trail(server, narrator, lead)
    show_ledger(server, narrator, lead)
    show_log_is_clean(server, narrator, issuer.issued + partner.issued)


def main():
    directory = sys.argv[1]
    sabotage = sys.argv[2] if len(sys.argv) > 2 else ""
    if sabotage and sabotage not in SABOTAGE:
        sys.exit(f"unknown sabotage \"{sabotage}\", known: {', '.join(SABOTAGE)}")
    narrator = Narrator()
    try:
        play(Server(directory), narrator, sabotage)
    except psycopg2.Error as error:
        narrator.outcome(False, "the demo cannot go on", str(error).strip())
    narrator.summary()
    sys.exit(1 if narrator.failures else 0)


if __name__ == "__main__":
    main()
