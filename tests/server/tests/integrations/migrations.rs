//! The recipes of docs/migrations.md: each tool goes up and down between two manifests, with the files
//! and commands of the page, beside an application that reads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, assert_ordinary, lines};

const PAGE: &str = include_str!("../../../../docs/migrations.md");

/// The section of the page under this heading.
fn section(heading: &str) -> &'static str {
    let section = super::sections(PAGE).find(|(title, _)| *title == heading);
    section
        .unwrap_or_else(|| panic!("no section \"{heading}\""))
        .1
}

/// The code behind this text in a section.
fn code_after(section: &'static str, text: &str) -> &'static str {
    let (_, rest) = section
        .split_once(text)
        .unwrap_or_else(|| panic!("no \"{text}\" in the section"));
    let (_, rest) = rest.split_once("\n```").expect("a code block follows");
    let (_, code) = rest.split_once('\n').expect("it has a first line");
    code.split_once("\n```").expect("it has an end").0
}

/// A database whose schema `shop` belongs to the role that migrates, under the first manifest.
struct Project {
    db: Database,
    issuer: Issuer,
    app: String,
    migrator: String,
    directory: PathBuf,
    /// The manifest that the page shows, and the one before it.
    manifests: [Value; 2],
}

impl Project {
    fn new() -> Self {
        let db = Database::new();
        let (app, migrator) = (db.role("app"), db.role("migrator"));
        let issuer = Issuer::es256("https://sign-in.example");
        issuer.register(&mut db.superuser());
        db.superuser()
            .batch_execute(&format!(
                "GRANT tenant_guard_admin TO {migrator};
                 CREATE SCHEMA shop AUTHORIZATION {migrator};
                 ALTER ROLE {migrator} SET search_path = shop;
                 SET ROLE {migrator};
                 GRANT USAGE ON SCHEMA shop TO {app};
                 CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text,
                     password text);
                 CREATE TABLE shop.note (id int PRIMARY KEY, contact_id int REFERENCES shop.contact);
                 CREATE TABLE shop.country (code text PRIMARY KEY);
                 INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
                 INSERT INTO shop.note VALUES (10, 1), (20, 2);
                 GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {app}"
            ))
            .unwrap();
        let shown = code_after(PAGE, "Keep what isolation is");
        let shown: Value = serde_json::from_str(shown).unwrap();
        let before = json!({
            "version": 1, "issuers": {"https://sign-in.example": {"audiences": ["shop"]}}, "roles": {},
            "relations": {"shop.contact": {"index": false}}
        });
        let directory = db.cluster().private_directory();
        let project = Self {
            db,
            issuer,
            app,
            migrator,
            directory,
            manifests: [before, shown],
        };
        project.call("apply_manifest", &project.manifests[0]);
        project
    }

    fn call(&self, function: &str, manifest: &Value) {
        let mut session = self.db.connect_as(&self.migrator);
        let query = format!("SELECT tenant_guard.{function}($1)");
        session.query(&query, &[manifest]).unwrap();
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn manifest_files(&self, directory: &str) {
        for (name, manifest) in ["0001.json", "0002.json"].iter().zip(&self.manifests) {
            self.file(&format!("{directory}/{name}"), &manifest.to_string());
        }
    }

    fn shell(&self, script: &str) {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.directory)
            .env("PGHOST", self.db.cluster().directory())
            .env("PGUSER", &self.migrator)
            .env("PGDATABASE", self.db.name())
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.programs().display()),
            )
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn programs(&self) -> PathBuf {
        let psql = self.db.cluster().program("psql");
        Path::new(psql.get_program()).parent().unwrap().to_owned()
    }

    fn exported(&self) -> Value {
        let mut session = self.db.connect_as(&self.migrator);
        let query = "SELECT tenant_guard.export_manifest()";
        session.query_one(query, &[]).unwrap().get(0)
    }

    fn drift(&self) -> Vec<String> {
        let mut session = self.db.connect_as(&self.migrator);
        lines(
            &mut session,
            "SELECT object, state, detail FROM tenant_guard.drift()",
        )
    }

    /// Runs `work` beside an application that reads all the time, and must see its own rows only.
    fn beside_a_reader(&self, work: impl FnOnce()) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut session = self.db.connect_as(&self.app);
                assert_ordinary(&mut session);
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    let mut transaction = session.transaction().unwrap();
                    let token = self.issuer.sign(&{
                        let mut claims = self.issuer.claims(ACCOUNT_A);
                        claims["aud"] = "shop".into();
                        claims
                    });
                    let query = "SELECT tenant_guard.authenticate($1)";
                    transaction.execute(query, &[&token]).unwrap();
                    let seen = lines(&mut transaction, "SELECT id FROM shop.contact");
                    assert_eq!(seen, ["1"]);
                    transaction.commit().unwrap();
                    reads += 1;
                }
                reads
            });
            work();
            done.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }

    /// Goes up and down with the commands of the page, twice.
    fn goes_up_and_down(&self, commands: &str) {
        let (up, down) = commands.split_once('\n').unwrap();
        for _ in 0..2 {
            self.beside_a_reader(|| self.shell(up));
            assert_eq!(self.exported(), self.manifests[1]);
            assert_eq!(self.drift(), [] as [&str; 0]);
            self.beside_a_reader(|| self.shell(down));
            assert_eq!(self.exported(), self.manifests[0]);
            assert_eq!(self.drift(), [] as [&str; 0]);
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn alembic_recipe_goes_up_and_down() {
    let project = Project::new();
    let page = section("Alembic");
    project.manifest_files("migrations/manifests");
    for path in [
        "migrations/isolation.py",
        "migrations/versions/0002_isolation.py",
    ] {
        project.file(path, code_after(page, &format!("`{path}`")));
    }
    project.file(
        "migrations/versions/0001_start.py",
        "revision = '0001'\ndown_revision = None\n\ndef upgrade():\n    pass\n",
    );
    let configure = code_after(page, "In `migrations/env.py`:");
    project.file(
        "migrations/env.py",
        &format!(
            "from alembic import context\nfrom sqlalchemy import create_engine\n\
             with create_engine('postgresql+psycopg2://').connect() as connection:\n    {configure}\n    \
             with context.begin_transaction():\n        context.run_migrations()\n"
        ),
    );
    project.file(
        "alembic.ini",
        "[alembic]\nscript_location = migrations\nprepend_sys_path = migrations\n",
    );
    project.shell("alembic upgrade 0001");
    project.goes_up_and_down(code_after(page, "transaction_per_migration=True)\n```"));
}

#[test]
fn django_recipe_goes_up_and_down() {
    let project = Project::new();
    let page = section("Django");
    project.manifest_files("shop/manifests");
    for path in ["shop/isolation.py", "shop/migrations/0002_isolation.py"] {
        project.file(path, code_after(page, &format!("`{path}`")));
    }
    for package in ["shop/__init__.py", "shop/migrations/__init__.py"] {
        project.file(package, "");
    }
    project.file(
        "shop/migrations/0001_initial.py",
        "from django.db import migrations\n\nclass Migration(migrations.Migration):\n    \
         dependencies = []\n    operations = []\n",
    );
    project.file(
        "settings.py",
        "import os\nSECRET_KEY = 'test'\nINSTALLED_APPS = ['shop']\nUSE_TZ = True\nDATABASES = {'default': \
         {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['PGDATABASE'], \
         'USER': os.environ['PGUSER'], 'HOST': os.environ['PGHOST']}}\n",
    );
    project.file(
        "manage.py",
        "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n\
         from django.core.management import execute_from_command_line\n\
         execute_from_command_line(sys.argv)\n",
    );
    project.shell("python3 manage.py migrate shop 0001");
    project.goes_up_and_down(code_after(page, "bring_to(\"0001.json\"))]\n```"));
}

#[test]
fn psql_recipe_brings_the_database_to_the_manifest() {
    let project = Project::new();
    let commands = code_after(section("psql"), "transaction:");
    for (place, manifest) in [(1, &project.manifests[1]), (0, &project.manifests[0])] {
        project.file("manifest.json", &manifest.to_string());
        project.beside_a_reader(|| project.shell(commands));
        assert_eq!(project.exported(), project.manifests[place]);
        assert_eq!(project.drift(), [] as [&str; 0]);
    }
}
