"""Sessions on the demo's server."""

from contextlib import contextmanager
from pathlib import Path

import psycopg2


class Refusal:
    """How the server refused, or that it did not."""

    def __init__(self, error=None):
        self.sqlstate = error.pgcode if error else "00000"
        self.message = error.diag.message_primary if error else ""

    def __str__(self):
        if self.sqlstate == "00000":
            return "not refused"
        return f"refused with {self.sqlstate}: {self.message}"


class Session:
    def __init__(self, connection):
        connection.autocommit = True
        self._connection = connection

    def rows(self, query, *arguments):
        with self._connection.cursor() as cursor:
            cursor.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def script(self, text):
        """Runs several statements as one transaction."""
        with self._connection.cursor() as cursor:
            cursor.execute(text)

    @contextmanager
    def transaction(self, token=None):
        """A transaction, bound to the account of a token as the application would do it."""
        self.script("BEGIN")
        try:
            if token is not None:
                self.rows("SELECT tenant_guard.authenticate(%s)", token)
            yield self
        except BaseException:
            self.script("ROLLBACK")
            raise
        self.script("COMMIT")

    def refused(self, action):
        """Tries something that should be refused and returns how it was."""
        try:
            action()
        except psycopg2.Error as error:
            return Refusal(error)
        return Refusal()


class Server:
    def __init__(self, directory):
        self._directory = directory

    def connect(self, role, options=""):
        return Session(
            psycopg2.connect(host=self._directory, dbname="postgres", user=role, options=options)
        )

    def superuser(self):
        return self.connect("postgres")

    def log(self):
        return (Path(self._directory) / "log").read_text()
