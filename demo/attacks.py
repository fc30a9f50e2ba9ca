"""Ten attacks, each by a session of the application's role, and what the server made of them."""

from cryptography.hazmat.primitives.asymmetric import ec


def attempt_all(server, narrator, issuer, partner, accounts):
    narrator.act("Ten attacks, with all table rights granted to the application's role")
    attacks = Attacks(server, narrator, issuer, partner, accounts)
    before = attacks.totals()
    for attack in (
        attacks.forged_signature,
        attacks.algorithm_none,
        attacks.expired,
        attacks.key_of_another_issuer,
        attacks.variable_set_by_hand,
        attacks.row_moved_to_another_account,
        attacks.row_inserted_for_another_account,
        attacks.partition_read_directly,
        attacks.truncate,
        attacks.child_of_another_accounts_parent,
    ):
        attack()
    after = attacks.totals()
    narrator.outcome(
        before == after,
        f"afterwards the three customers still have {after} leads",
        f"before the attacks it was {before}",
    )


class Attacks:
    def __init__(self, server, narrator, issuer, partner, accounts):
        self.server, self.narrator = server, narrator
        self.issuer, self.partner = issuer, partner
        self.own, self.other = list(accounts.values())[:2]
        self.accounts = accounts
        self.number = 0

    def totals(self):
        """How many leads each account sees, through its own sessions."""
        app = self.server.connect("chat_app")
        totals = []
        for account in self.accounts.values():
            with app.transaction(self.issuer.token(account)):
                totals += [count for count, in app.rows("SELECT count(*) FROM chat.leads")]
        return totals

    def expect(self, title, sqlstate, refusal):
        self.number += 1
        self.narrator.outcome(
            refusal.sqlstate == sqlstate,
            f"{self.number:2}. {title}: {refusal}",
            f"expected a refusal with {sqlstate}",
        )

    def sign_in_with(self, title, token):
        app = self.server.connect("chat_app")

        def steal():
            with app.transaction(token):
                app.rows("SELECT * FROM chat.leads")

        self.expect(title, "28000", app.refused(steal))

    def forged_signature(self):
        forger = ec.generate_private_key(ec.SECP256R1())
        token = self.issuer.sign(self.issuer.claims(self.other), key=forger)
        self.sign_in_with("a token signed by a key of the attacker", token)

    def algorithm_none(self):
        token = self.issuer.sign(self.issuer.claims(self.other), algorithm="none")
        self.sign_in_with("a token with \"alg\": \"none\" and no signature", token)

    def expired(self):
        claims = self.issuer.claims(self.other)
        claims.update(iat=claims["iat"] - 7200, exp=claims["exp"] - 7200)
        self.sign_in_with("a token that has expired", self.issuer.sign(claims))

    def key_of_another_issuer(self):
        token = self.issuer.sign(self.issuer.claims(self.other), key=self.partner.key)
        self.sign_in_with("a token in one issuer's name, signed by another known issuer", token)

    def variable_set_by_hand(self):
        """In a new session the library is not loaded yet, so PostgreSQL takes any variable."""
        query = "SELECT set_config('tenant_guard.identity', %s, false)"

        def steal(app):
            app.rows(query, self.other)
            app.rows("SELECT * FROM chat.leads")

        new = self.server.connect("chat_app")
        used = self.server.connect("chat_app")
        used.rows("SELECT tenant_guard.is_authenticated()")
        at_reading, at_setting = new.refused(lambda: steal(new)), used.refused(lambda: steal(used))
        self.number += 1
        self.narrator.outcome(
            (at_reading.sqlstate, at_setting.sqlstate) == ("28000", "42501"),
            f"{self.number:2}. the identity set by hand: {at_setting}; "
            f"in a new session, reading {at_reading}",
            "expected 42501, and 28000 in a new session",
        )

    def as_own_account(self, title, sqlstate, query, *arguments):
        app = self.server.connect("chat_app")

        def attack():
            with app.transaction(self.issuer.token(self.own)):
                app.rows(query, *arguments)

        self.expect(title, sqlstate, app.refused(attack))

    def row_moved_to_another_account(self):
        self.as_own_account(
            "an own row moved to another account",
            "42501",
            "UPDATE chat.contacts SET account_id = %s WHERE name = 'Contact 1'",
            self.other,
        )

    def row_inserted_for_another_account(self):
        self.as_own_account(
            "a row inserted for another account",
            "42501",
            "INSERT INTO chat.leads (account_id, name) VALUES (%s, 'planted')",
            self.other,
        )

    def partition_read_directly(self):
        """A partition is a table that policies of its parent do not cover: the classic leak."""
        app = self.server.connect("chat_app")
        partition = self.server.superuser().rows(
            "SELECT tableoid::regclass::text FROM chat.messages GROUP BY 1 ORDER BY count(*) DESC"
        )[0][0]
        refusal = app.refused(lambda: app.rows(f"SELECT * FROM {partition}"))
        with app.transaction(self.issuer.token(self.own)):
            owners = dict(
                app.rows(f"SELECT account_id::text, count(*) FROM {partition} GROUP BY 1")
            )
        foreign = sum(rows for account, rows in owners.items() if account != self.own)
        self.number += 1
        self.narrator.outcome(
            refusal.sqlstate == "28000" and foreign == 0 and owners.get(self.own, 0) > 0,
            f"{self.number:2}. a partition read directly: {refusal}; with an own token "
            f"{owners.get(self.own, 0)} own rows and {foreign} of others",
            "expected 28000 without a token, and own rows only with one",
        )

    def truncate(self):
        self.as_own_account("TRUNCATE, which no policy filters", "42501", "TRUNCATE chat.files")

    def child_of_another_accounts_parent(self):
        """The attacker knows a conversation of the other account by its id."""
        app = self.server.connect("chat_app")
        with app.transaction(self.issuer.token(self.other)):
            conversation = app.rows("SELECT id::text FROM chat.conversations LIMIT 1")[0][0]
        self.as_own_account(
            "an own message in another account's conversation",
            "23503",
            "INSERT INTO chat.messages (conversation_id, author, body) VALUES (%s, 'agent', 'hi')",
            conversation,
        )
