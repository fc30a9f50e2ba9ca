//! The drivers' recipes, directly and through PgBouncer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use postgres::NoTls;
use tenant_guard_tests::{Cluster, Database, Issuer, expect_error, feed};

use super::block;
use super::pooler::pooled;

// What the page shows, compiled.
include!("signed_in.rs");

const ACME: &str = "acme";
const GLOBEX: &str = "globex";

struct Fixture {
    cluster: Arc<Cluster>,
    db: Database,
    issuer: Issuer,
    app: String,
}

fn fixture() -> Fixture {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    let app = db.role("app");
    db.superuser()
        .batch_execute(&format!(
            "CREATE TABLE note (account_id text NOT NULL, body text);
             INSERT INTO note VALUES ('{ACME}', 'anvil'), ('{GLOBEX}', 'laser');
             GRANT SELECT, INSERT ON note TO {app};
             SELECT tenant_guard.protect('note')"
        ))
        .expect("the table can be protected");
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut db.superuser());
    Fixture {
        cluster,
        db,
        issuer,
        app,
    }
}

impl Fixture {
    fn pooler(&self) -> PathBuf {
        self.cluster.pool(
            &[&self.app],
            &format!("{}\ndefault_pool_size = 1", block("PgBouncer", "ini")),
        )
    }

    /// Runs a program of the system's Python, with a token of each account on its standard input.
    fn python(&self, program: &str, host: &Path, port: &str) -> String {
        let tokens = [ACME, GLOBEX].map(|account| self.issuer.token(account));
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-c", program])
            .env("PGHOST", host)
            .env("PGPORT", port)
            .env("PGUSER", &self.app)
            .env("PGDATABASE", self.db.name());
        let output = feed(command, tokens.join(" ").as_bytes());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the program failed: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Removes what a program added.
    fn forget_rope(&self) {
        let mut superuser = self.db.superuser();
        let removed = superuser.execute("DELETE FROM note WHERE body = 'rope'", &[]);
        removed.expect("the superuser may");
    }
}

#[test]
fn rust_recipe_of_the_page_is_the_one_that_is_compiled() {
    assert_eq!(
        block("Rust", "rust"),
        include_str!("signed_in.rs").trim_end()
    );
}

#[test]
fn rust_recipe_signs_in_for_one_transaction() {
    let fixture = fixture();
    let pooler = fixture.pooler();
    for config in [
        fixture.db.config(&fixture.app),
        pooled(&fixture.db, &fixture.app, &pooler),
    ] {
        let mut client = config.connect(NoTls).expect("the role can connect");
        for (account, body) in [(ACME, "anvil"), (GLOBEX, "laser"), (ACME, "anvil")] {
            let token = fixture.issuer.token(account);
            let read = signed_in(&mut client, &token, |transaction| {
                transaction.query_typed("SELECT body FROM note", &[])
            });
            let bodies: Vec<String> = read.unwrap().iter().map(|row| row.get(0)).collect();
            assert_eq!(bodies, [body]);
        }
        let forgotten = client.query_typed("SELECT body FROM note", &[]);
        expect_error(
            forgotten,
            "28000",
            "no identity is bound to this transaction",
        );
        let refused = signed_in(&mut client, "nonsense", |_| Ok(()));
        expect_error(refused, "28000", "token is malformed");
    }
}

/// What follows the page's recipe in the program that is run.
const PSYCOPG_PROGRAM: &str = r#"
import sys

acme, globex = sys.stdin.read().split()
connection = connect("")
for token, body in [(acme, "anvil"), (globex, "laser"), (acme, "anvil")]:
    for _ in range(7):  # more often than psycopg waits before it prepares a statement
        with signed_in(connection, token):
            assert connection.execute("SELECT body FROM note").fetchall() == [(body,)]
with signed_in(connection, acme):
    connection.execute("INSERT INTO note (body) VALUES (%s)", ["rope"])
try:
    with signed_in(connection, acme):
        connection.execute("INSERT INTO note (body) VALUES (%s)", ["lost"])
        raise KeyError
except KeyError:
    pass
with signed_in(connection, acme):
    assert connection.execute("SELECT count(*) FROM note").fetchone() == (2,)
for broken in [lambda: connection.execute("SELECT body FROM note"),
               lambda: signed_in(connection, "nonsense").__enter__()]:
    try:
        broken()
    except psycopg.errors.InvalidAuthorizationSpecification:
        continue
    sys.exit("not refused")
print("whole")
"#;

#[test]
fn psycopg_recipe_signs_in_for_one_transaction() {
    let fixture = fixture();
    let pooler = fixture.pooler();
    let server = fixture.cluster.directory();
    for (host, port) in [(server, "5432"), (pooler.as_path(), "6432")] {
        fixture.forget_rope();
        assert_eq!(run_psycopg(&fixture, host, port), "whole\n");
    }
}

fn run_psycopg(fixture: &Fixture, host: &Path, port: &str) -> String {
    let program = format!("{}\n{PSYCOPG_PROGRAM}", block("psycopg", "python"));
    fixture.python(&program, host, port)
}

/// Views of two kinds, a view that fails halfway, and requests of two accounts, of none and of a forger.
const DJANGO_PROGRAM: &str = r#"
import os, sys, types
import django
from django.conf import settings
from django.http import JsonResponse
from django.template.response import TemplateResponse
from django.urls import path

shop = types.ModuleType("shop")
shop.signed_in = sys.modules["__main__"]
sys.modules["shop"], sys.modules["shop.signed_in"] = shop, shop.signed_in
settings.configure(
    SECRET_KEY="test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], USE_TZ=True,
    MIDDLEWARE=["shop.signed_in.SignedIn"], DEBUG_PROPAGATE_EXCEPTIONS=False,
    LOGGING_CONFIG=None,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": [
        ("django.template.loaders.locmem.Loader", {"notes": "{% for note in notes %}{{ note.body }} {% endfor %}"})]}}],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
                           "USER": os.environ["PGUSER"], "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
                           "DISABLE_SERVER_SIDE_CURSORS": True}})
django.setup()

from django.db import models


class Note(models.Model):
    body = models.TextField(primary_key=True)

    class Meta:
        app_label, db_table, managed = "shop", "note", False


def notes(request):
    return JsonResponse(sorted(Note.objects.values_list("body", flat=True)), safe=False)

def page(request):
    return TemplateResponse(request, "notes", {"notes": Note.objects.order_by("body")})

def add(request):
    Note(body="rope").save(force_insert=True)
    return JsonResponse({})

def fail(request):
    Note(body="lost").save(force_insert=True)
    raise KeyError

urlpatterns = [path("notes", notes), path("page", page), path("add", add), path("fail", fail)]

from django.test import Client

client = Client(raise_request_exception=False)
acme, globex = sys.stdin.read().split()
def get(where, token):
    headers = {} if token is None else {"HTTP_AUTHORIZATION": "Bearer " + token}
    return client.get("/" + where, **headers)

for _ in range(3):
    assert get("notes", acme).json() == ["anvil"]
    assert get("notes", globex).json() == ["laser"]
assert get("page", globex).content == b"laser ", get("page", globex).content
assert get("add", acme).status_code == 200
assert get("fail", acme).status_code == 500
assert get("notes", acme).json() == ["anvil", "rope"]
assert get("notes", globex).json() == ["laser"]
assert get("notes", None).status_code == 401
assert get("notes", "nonsense").status_code == 401
assert get("notes", acme[:-4] + "AAAA").status_code == 401
print("whole")
"#;

#[test]
fn django_recipe_runs_each_view_in_the_account_of_its_token() {
    let fixture = fixture();
    let program = format!("{}\n{DJANGO_PROGRAM}", block("Django", "python"));
    let pooler = fixture.pooler();
    assert_eq!(
        fixture.python(&program, fixture.cluster.directory(), "5432"),
        "whole\n"
    );
    fixture.forget_rope();
    assert_eq!(fixture.python(&program, &pooler, "6432"), "whole\n");
}

const SQLALCHEMY_PROGRAM: &str = r#"
import sys
from sqlalchemy import Column, Text, create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import declarative_base

class Note(declarative_base()):
    __tablename__ = "note"
    body = Column(Text, primary_key=True)

engine = create_engine("postgresql+psycopg2://", pool_size=1, max_overflow=0)
acme, globex = sys.stdin.read().split()
def bodies(session):
    return session.scalars(select(Note.body).order_by(Note.body)).all()

for token, body in [(acme, "anvil"), (globex, "laser")] * 2:
    with Session(engine, info={"token": token}) as session:
        assert bodies(session) == [body]
        session.commit()
        assert bodies(session) == [body]
with Session(engine, info={"token": acme}) as session:
    session.add(Note(body="rope"))
    session.commit()
    session.add(Note(body="lost"))
    session.flush()
    with session.begin_nested():
        assert bodies(session) == ["anvil", "lost", "rope"]
    session.rollback()
    assert bodies(session) == ["anvil", "rope"]
for info in [{}, {"token": "nonsense"}, {"token": acme[:-4] + "AAAA"}]:
    try:
        with Session(engine, info=info) as session:
            bodies(session)
    except OperationalError as error:
        assert error.orig.pgcode == "28000"
        continue
    sys.exit("not refused")
print("whole")
"#;

#[test]
fn sqlalchemy_recipe_begins_each_transaction_of_a_session_with_its_token() {
    let fixture = fixture();
    let program = format!("{}\n{SQLALCHEMY_PROGRAM}", block("SQLAlchemy", "python"));
    let pooler = fixture.pooler();
    assert_eq!(
        fixture.python(&program, fixture.cluster.directory(), "5432"),
        "whole\n"
    );
    fixture.forget_rope();
    assert_eq!(fixture.python(&program, &pooler, "6432"), "whole\n");
}
