//! Versions: the install script of each that was released, and what an upgrade from it leaves.
//!
//! `tests/frozen` has the install script of every release as it was. That of the version in Cargo.toml is
//! compared with what is installed, and written by `TENANT_GUARD_BLESS=1` until it is released. Every
//! older one is installed, used, upgraded by `ALTER EXTENSION ... UPDATE` and compared with a fresh
//! installation: bodies, rights, comments, dependencies.

use std::fs;
use std::path::{Path, PathBuf};

use tenant_guard_tests::{ACCOUNT_A, Cluster, Database, lines};

use crate::isolation::Shop;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything in the schema and everything that is the extension's, a line for each fact.
const DESCRIPTION: &str = r#"
WITH extension AS (SELECT oid FROM pg_extension WHERE extname = 'tenant_guard'),
members AS (
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM extension) AND deptype = 'e'
), objects AS (
    SELECT classid, objid FROM members
    UNION SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'tenant_guard'::regnamespace
    UNION SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = 'tenant_guard'::regnamespace
    UNION SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'tenant_guard'::regnamespace
    UNION SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
), named AS (
    SELECT classid, objid, (pg_identify_object(classid, objid, 0)).type || ' '
        || (pg_identify_object(classid, objid, 0)).identity AS name
    FROM objects
), relations AS (
    SELECT n.name, c.* FROM named AS n JOIN pg_class AS c ON n.classid = 'pg_class'::regclass AND c.oid = n.objid
), acl (classid, objid, privileges, what) AS (
    SELECT 'pg_proc'::regclass::oid, oid, coalesce(proacl, acldefault('f', proowner)), 'rights' FROM pg_proc
    UNION ALL SELECT 'pg_class'::regclass, oid, coalesce(relacl, acldefault('r', relowner)), 'rights' FROM pg_class
    UNION ALL SELECT 'pg_type'::regclass, oid, coalesce(typacl, acldefault('T', typowner)), 'rights' FROM pg_type
    UNION ALL SELECT classoid, objoid, initprivs, 'rights that pg_dump leaves out' FROM pg_init_privs WHERE objsubid = 0
), facts (name, fact) AS (
    SELECT name, CASE WHEN (classid, objid) IN (SELECT * FROM members) THEN 'is a member' ELSE 'is no member' END FROM named
    UNION ALL
    SELECT name, 'comment ' || coalesce(obj_description(objid, classid::regclass::name), 'none') FROM named
    UNION ALL
    SELECT n.name, format('%s of %s: %s', a.what, coalesce(nullif(x.grantee, 0)::regrole::text, 'PUBLIC'), x.privilege_type)
    FROM named AS n JOIN acl AS a USING (classid, objid) CROSS JOIN aclexplode(a.privileges) AS x
    UNION ALL
    SELECT n.name, pg_get_functiondef(p.oid)
    FROM named AS n JOIN pg_proc AS p ON n.classid = 'pg_proc'::regclass AND p.oid = n.objid AND p.prokind IN ('f', 'p')
    UNION ALL
    SELECT name, concat_ws(' ', 'kind', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident,
        reloptions::text, pg_get_userbyid(relowner)) FROM relations
    UNION ALL
    SELECT r.name, concat_ws(' ', 'column', row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attacl::text,
        pg_get_expr(d.adbin, d.adrelid), col_description(r.oid, a.attnum))
    FROM relations AS r JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT r.name, format('constraint %s %s', o.conname, pg_get_constraintdef(o.oid)) FROM relations AS r JOIN pg_constraint AS o ON o.conrelid = r.oid
    UNION ALL
    SELECT name, pg_get_indexdef(oid) FROM relations WHERE relkind IN ('i', 'I')
    UNION ALL
    SELECT name, pg_get_viewdef(oid) FROM relations WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT r.name, format('%s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM relations AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT r.name, concat_ws(' ', 'policy', p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[]::text,
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM relations AS r JOIN pg_policy AS p ON p.polrelid = r.oid
    UNION ALL
    SELECT r.name, format('dumped where %L', c.condition)
    FROM relations AS r JOIN (SELECT unnest(extconfig), unnest(extcondition) FROM pg_extension WHERE extname = 'tenant_guard')
        AS c (oid, condition) ON c.oid = r.oid
    UNION ALL
    SELECT n.name, concat_ws(' ', 'on', e.evtevent, e.evttags::text, e.evtfoid::regprocedure, e.evtenabled)
    FROM named AS n JOIN pg_event_trigger AS e ON n.classid = 'pg_event_trigger'::regclass AND e.oid = n.objid
    UNION ALL
    SELECT DISTINCT n.name, format('depends (%s) on %s %s', d.deptype, i.type, i.identity)
    FROM named AS n JOIN pg_depend AS d ON d.classid = n.classid AND d.objid = n.objid
        CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS i
)
SELECT name || ': ' || fact FROM facts ORDER BY 1"#;

/// Where PostgreSQL looks for scripts of extensions.
fn scripts(db: &Database) -> PathBuf {
    let query = "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'";
    let share = lines(&mut db.superuser(), query).remove(0);
    Path::new(&share).join("extension")
}

fn script_name(version: &str) -> String {
    format!("tenant_guard--{version}.sql")
}

/// The script without what changes with every line of the library's source.
fn install_script(db: &Database) -> String {
    let script = fs::read_to_string(scripts(db).join(script_name(VERSION))).unwrap();
    let place = |line: &&str| {
        let place = line
            .strip_prefix("-- src/")
            .and_then(|rest| rest.split_once(".rs:"));
        place.is_some_and(|(_, line)| line.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let lines = script.lines().filter(|line| !place(line));
    lines.fold(String::new(), |script, line| script + line + "\n")
}

fn frozen() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../frozen")
}

/// The versions of `tests/frozen`.
fn released() -> Vec<String> {
    let entries = fs::read_dir(frozen()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let version = |name: String| {
        Some(
            name.strip_prefix("tenant_guard--")?
                .strip_suffix(".sql")?
                .to_owned(),
        )
    };
    names.filter_map(version).collect()
}

#[test]
fn install_script_is_the_frozen_one_of_its_version() {
    let db = Database::empty();
    let installed = install_script(&db);
    let file = frozen().join(script_name(VERSION));
    if std::env::var_os("TENANT_GUARD_BLESS").is_some() {
        fs::write(&file, &installed).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let differs = installed
        .lines()
        .zip(expected.lines())
        .position(|(one, other)| one != other);
    assert!(
        installed == expected,
        "the install script is not the frozen one from line {differs:?} on: a version that was released stays as it was, \
         and the next one gets an upgrade script; before its release TENANT_GUARD_BLESS=1 writes it",
    );
}

/// An installation in use: a ledger, a protected table, events.
fn used(db: Database, version: &str) -> Shop {
    let mut superuser = db.superuser();
    let create = format!("CREATE EXTENSION tenant_guard VERSION '{version}'");
    superuser.batch_execute(&create).unwrap();
    superuser
        .batch_execute("SELECT tenant_guard.init_ledger()")
        .unwrap();
    let shop = Shop::of(db);
    shop.run(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         SELECT tenant_guard.protect('shop.contact')",
    );
    shop
}

fn add(shop: &Shop, id: i32) {
    let insert = format!("INSERT INTO shop.contact VALUES ({id}, '{ACCOUNT_A}', 'ann')");
    shop.within(ACCOUNT_A, |session| session.batch_execute(&insert).unwrap());
    shop.db
        .superuser()
        .batch_execute("SELECT tenant_guard.seal()")
        .unwrap();
}

/// What an upgrade from one version to another leaves otherwise than a fresh installation: lines that only
/// the upgraded one has, and those that only the fresh one has.
fn differences(cluster: &std::sync::Arc<Cluster>, from: &str, to: &str) -> [Vec<String>; 2] {
    let upgraded = used(cluster.empty_database(), from);
    add(&upgraded, 1);
    let update = format!("ALTER EXTENSION tenant_guard UPDATE TO '{to}'");
    upgraded.db.superuser().batch_execute(&update).unwrap();
    add(&upgraded, 2);
    let verify = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(
        lines(&mut upgraded.db.superuser(), verify),
        [""; 0],
        "from {from}"
    );
    let seen = upgraded.within(ACCOUNT_A, |session| {
        lines(session, "SELECT id FROM shop.contact ORDER BY 1")
    });
    assert_eq!(seen, ["1", "2"], "from {from}");

    let fresh = used(cluster.empty_database(), to);
    let [upgraded, fresh] = [upgraded, fresh].map(|shop| {
        let found = lines(&mut shop.db.superuser(), DESCRIPTION);
        // Roles of a test bear its database's name.
        found
            .into_iter()
            .map(|line| line.replace(shop.db.name(), "test"))
            .collect::<Vec<_>>()
    });
    assert!(fresh.len() > 1000, "a description: {fresh:?}");
    let only = |of: &[String], without: &[String]| {
        of.iter()
            .filter(|line| !without.contains(line))
            .cloned()
            .collect()
    };
    [only(&upgraded, &fresh), only(&fresh, &upgraded)]
}

#[test]
fn upgrade_from_every_release_equals_a_fresh_installation() {
    let cluster = Cluster::shared();
    let directory = scripts(&cluster.empty_database());
    assert!(released().iter().any(|version| version == VERSION));
    for version in released().iter().filter(|version| *version != VERSION) {
        fs::copy(
            frozen().join(script_name(version)),
            directory.join(script_name(version)),
        )
        .unwrap();
        assert_eq!(
            differences(&cluster, version, VERSION),
            [const { Vec::<String>::new() }; 2],
            "{version}"
        );
    }
}

/// The next version's install script and an upgrade to it, as somebody writes them by hand.
fn rehearse(
    cluster: &std::sync::Arc<Cluster>,
    name: &str,
    added: &str,
    upgrade: &str,
) -> [Vec<String>; 2] {
    let next = format!("{VERSION}.{name}");
    let db = cluster.empty_database();
    let directory = scripts(&db);
    let install = directory.join(script_name(&next));
    let update = directory.join(format!("tenant_guard--{VERSION}--{next}.sql"));
    fs::write(&install, install_script(&db) + added).unwrap();
    fs::write(&update, upgrade).unwrap();
    let found = differences(cluster, VERSION, &next);
    fs::remove_file(install).unwrap();
    fs::remove_file(update).unwrap();
    found
}

/// What a next version might bring.
const ADDED: &str = "
    CREATE FUNCTION tenant_guard.rehearsed(n integer) RETURNS integer LANGUAGE sql IMMUTABLE
        SET search_path = pg_catalog, pg_temp RETURN n + 1;
    COMMENT ON FUNCTION tenant_guard.rehearsed(integer) IS 'one more';
    REVOKE ALL ON FUNCTION tenant_guard.rehearsed(integer) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION tenant_guard.rehearsed(integer) TO tenant_guard_admin;
    CREATE VIEW tenant_guard.rehearsal AS SELECT tenant_guard.rehearsed(1) AS two;
";

#[test]
fn upgrade_script_that_does_all_leaves_no_difference() {
    let found = rehearse(&Cluster::shared(), "whole", ADDED, ADDED);
    assert_eq!(found, [const { Vec::<String>::new() }; 2]);
}

/// What somebody forgets or writes otherwise in an upgrade script, and the line that tells.
#[test]
fn upgrade_script_that_forgets_something_is_found() {
    let forgets: [(&str, &str, &str, &str); 5] = [
        ("body", "RETURN n + 1;", "RETURN n + 2;", "RETURN (n + 2)"),
        (
            "revoke",
            "REVOKE ALL ON FUNCTION tenant_guard.rehearsed(integer) FROM PUBLIC;",
            "",
            "rights of PUBLIC: EXECUTE",
        ),
        ("comment", "'one more'", "'one more '", "comment one more "),
        (
            "path",
            "SET search_path = pg_catalog, pg_temp",
            "",
            "CREATE OR REPLACE FUNCTION tenant_guard.rehearsed",
        ),
        (
            "depends",
            "SELECT tenant_guard.rehearsed(1)",
            "SELECT 2",
            "AS two",
        ),
    ];
    for (name, right, wrong, told) in forgets {
        let upgrade = ADDED.replace(right, wrong);
        assert_ne!(upgrade, ADDED, "{name}");
        let [upgraded, fresh] = rehearse(&Cluster::shared(), name, ADDED, &upgrade);
        assert!(
            upgraded.iter().any(|line| line.contains(told)),
            "{name}: {upgraded:#?}\n{fresh:#?}"
        );
    }
}
