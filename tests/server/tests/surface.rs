//! The whole SQL surface, compared with `tests/server/surface.txt`: who may call what, and how.
//!
//! A new or changed object changes that file in the same commit, where a reviewer sees it.
//! `TENANT_GUARD_BLESS=1` writes the file from the catalog instead of comparing.

use std::path::Path;

use tenant_guard_tests::{Database, Issuer, expect_error, lines};

/// One line an object. Everything in the schema counts, extension member or not, and the group
/// roles. An ACL of NULL is printed as what it means, so that "default" cannot hide PUBLIC.
const INVENTORY: &str = r#"
WITH acl (kind, oid, owner, acl) AS (
    SELECT 'function', oid, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
    UNION ALL
    SELECT 'relation', oid, relowner, coalesce(relacl, acldefault('r', relowner)) FROM pg_class
    UNION ALL
    SELECT 'schema', oid, nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
), rights AS (
    SELECT acl.kind, acl.oid, string_agg(line, '; ' ORDER BY line) AS rights
    FROM acl CROSS JOIN LATERAL (
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
               || ': ' || string_agg(privilege_type, ', ' ORDER BY privilege_type)
        FROM aclexplode(acl.acl) WHERE grantee <> acl.owner GROUP BY grantee
    ) AS grants (line)
    GROUP BY acl.kind, acl.oid
), objects (kind, name, facts) AS (
    SELECT 'schema', n.nspname::text, 'rights ' || coalesce(r.rights, 'none')
    FROM pg_namespace n LEFT JOIN rights r ON r.kind = 'schema' AND r.oid = n.oid
    WHERE n.nspname = 'tenant_guard'
    UNION ALL
    SELECT CASE p.prokind WHEN 'f' THEN 'function' WHEN 'p' THEN 'procedure' ELSE 'aggregate' END,
           format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)),
           concat_ws(', ',
               'returns ' || pg_get_function_result(p.oid),
               l.lanname,
               CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable'
                                  ELSE 'volatile' END,
               CASE p.proparallel WHEN 's' THEN 'parallel safe' WHEN 'r' THEN 'parallel restricted'
                                  ELSE 'parallel unsafe' END,
               CASE WHEN p.proisstrict THEN 'strict' ELSE 'called on null' END,
               CASE WHEN p.prosecdef THEN 'security definer' ELSE 'security invoker' END,
               CASE WHEN p.proleakproof THEN 'leakproof' END,
               'set ' || array_to_string(p.proconfig, '; '),
               'rights ' || coalesce(r.rights, 'none'))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         LEFT JOIN rights r ON r.kind = 'function' AND r.oid = p.oid
    WHERE p.pronamespace = 'tenant_guard'::regnamespace
    UNION ALL
    SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index'
                          WHEN 'S' THEN 'sequence' ELSE 'relation of kind ' || c.relkind::text END,
           c.relname::text,
           concat_ws(', ',
               CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid)
                    ELSE (SELECT string_agg(format('%s %s%s', a.attname,
                                                   format_type(a.atttypid, a.atttypmod),
                                                   CASE WHEN a.attnotnull THEN ' not null' END),
                                            ', ' ORDER BY a.attnum)
                          FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
               END,
               'options ' || array_to_string(c.reloptions, '; '),
               CASE WHEN c.relforcerowsecurity THEN 'row security forced'
                    WHEN c.relrowsecurity THEN 'row security' END,
               CASE WHEN c.relkind <> 'i' THEN 'rights ' || coalesce(r.rights, 'none') END)
    FROM pg_class c LEFT JOIN rights r ON r.kind = 'relation' AND r.oid = c.oid
    WHERE c.relnamespace = 'tenant_guard'::regnamespace
    UNION ALL
    SELECT 'type', typname::text, format_type(oid, NULL)
    FROM pg_type
    WHERE typnamespace = 'tenant_guard'::regnamespace AND typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT 'trigger', format('%s on %s', t.tgname, c.relname),
           format('%s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'tenant_guard'::regnamespace AND NOT t.tgisinternal
    UNION ALL
    SELECT 'event trigger', evtname::text, format('on %s, enabled %s', evtevent, evtenabled)
    FROM pg_event_trigger
    UNION ALL
    SELECT 'setting', name, format('%s, %s, default %L', vartype, context, boot_val)
    FROM pg_settings WHERE name LIKE 'tenant\_guard.%'
    UNION ALL
    SELECT 'role', rolname::text,
           format('login %s, superuser %s, bypassrls %s, createrole %s, createdb %s',
                  rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb)
    FROM pg_roles WHERE rolname LIKE 'tenant\_guard%'
)
SELECT format('%s %s: %s', kind, name, regexp_replace(facts, '\s+', ' ', 'g'))
FROM objects ORDER BY kind COLLATE "C", name COLLATE "C""#;

#[test]
fn surface_is_exactly_the_reviewed_one() {
    let db = Database::new();
    let mut client = db.superuser();
    // The library defines its settings when it is first called.
    client
        .batch_execute("SELECT tenant_guard.version()")
        .unwrap();
    let found = lines(&mut client, INVENTORY).join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("surface.txt");
    if std::env::var_os("TENANT_GUARD_BLESS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    let (only_found, only_expected) = difference(&found, &expected);
    assert!(
        found == expected,
        "the SQL surface is not the reviewed one.\nin the database only:\n{only_found}\n\
         in surface.txt only:\n{only_expected}\n\
         TENANT_GUARD_BLESS=1 writes the file anew; then read the difference",
    );
}

/// The lines that only one of two texts has.
fn difference(one: &str, other: &str) -> (String, String) {
    let only = |of: &str, without: &str| {
        let lines = of
            .lines()
            .filter(|line| !without.lines().any(|seen| seen == *line));
        lines.collect::<Vec<_>>().join("\n")
    };
    (only(one, other), only(other, one))
}

/// Texts of tokens and of the log have no form in most other encodings.
#[test]
fn database_in_another_encoding_is_refused() {
    let db = Database::empty();
    let latin1 = format!("{}_latin1", db.name());
    let create = format!("CREATE DATABASE {latin1} ENCODING 'LATIN1' TEMPLATE template0");
    db.superuser()
        .batch_execute(&create)
        .expect("the name is new");
    let mut config = db.config("postgres");
    let mut client = config
        .dbname(&latin1)
        .connect(postgres::NoTls)
        .expect("it can be used");
    let refused = client.batch_execute("CREATE EXTENSION tenant_guard");
    expect_error(
        refused,
        "0A000",
        "tenant_guard needs a database in encoding UTF8",
    );
}

/// Calls, reads and writes that a session of each kind has no right to, every one of them tried.
#[test]
fn everything_is_refused_to_every_role_without_the_right() {
    let db = Database::new();
    let mut superuser = db.superuser();
    superuser
        .batch_execute("SELECT tenant_guard.init_ledger()")
        .unwrap();
    // A strict function of a constant NULL would be none at all before rights are looked at.
    let attempts = "
        SELECT format('SELECT tenant_guard.%I(%s)', p.proname, (
                   SELECT string_agg(format(CASE p.prokind WHEN 'p' THEN 'NULL::%s' ELSE '(SELECT NULL::%s)' END, format_type(t, NULL)), ', ' ORDER BY n)
                   FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n))),
               'permission denied for ' || CASE p.prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END || p.proname
        FROM pg_proc AS p
        WHERE p.pronamespace = 'tenant_guard'::regnamespace
            AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
            AND NOT has_function_privilege(p.oid, 'EXECUTE')
        UNION ALL
        SELECT format(v.statement, c.relname), 'permission denied for ' || k.kind || c.relname
        FROM pg_class AS c JOIN (VALUES ('r', 'table '), ('p', 'table '), ('v', 'view ')) AS k (relkind, kind)
                 ON k.relkind = c.relkind::text
             JOIN (VALUES ('SELECT', 'SELECT FROM tenant_guard.%I'), ('INSERT', 'INSERT INTO tenant_guard.%I DEFAULT VALUES'),
                          ('DELETE', 'DELETE FROM tenant_guard.%I'), ('TRUNCATE', 'TRUNCATE tenant_guard.%I'))
                 AS v (privilege, statement) ON v.privilege = 'SELECT' OR k.relkind <> 'v'
        WHERE c.relnamespace = 'tenant_guard'::regnamespace AND NOT has_table_privilege(c.oid, v.privilege)
            AND NOT CASE WHEN v.privilege IN ('SELECT', 'INSERT') THEN has_any_column_privilege(c.oid, v.privilege) ELSE false END
        ORDER BY 1";
    for (group, least) in [
        ("", 100),
        ("tenant_guard_auditor", 90),
        ("tenant_guard_admin", 70),
    ] {
        let role = db.role(if group.is_empty() { "app" } else { group });
        if !group.is_empty() {
            superuser
                .batch_execute(&format!("GRANT {group} TO {role}"))
                .unwrap();
        }
        let mut session = db.connect_as(&role);
        let refusals = session.query(attempts, &[]).unwrap();
        assert!(refusals.len() >= least, "{group}: {}", refusals.len());
        for refusal in refusals {
            let (statement, message): (String, String) = (refusal.get(0), refusal.get(1));
            let call = statement.replacen("SELECT tenant_guard", "CALL tenant_guard", 1);
            let statement = if message.contains("procedure") {
                call
            } else {
                statement
            };
            expect_error(session.batch_execute(&statement), "42501", &message);
        }
    }
}

/// Members of these roles need no grant.
#[test]
fn read_all_and_write_all_reach_nothing_that_nobody_is_granted() {
    let db = Database::new();
    let mut superuser = db.superuser();
    Issuer::es256("https://issuer.test").register(&mut superuser);
    let app = db.role("app");
    superuser
        .batch_execute(&format!(
            "INSERT INTO tenant_guard.capture_key VALUES (true, decode(repeat('2a', 32), 'hex'));
             GRANT pg_read_all_data, pg_write_all_data TO {app}"
        ))
        .unwrap();
    let open = "SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'tenant_guard'::regnamespace AND c.relkind IN ('r', 'p') AND NOT EXISTS (
                SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)
            AND (NOT c.relrowsecurity
                OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid))";
    assert_eq!(lines(&mut superuser, open), [""; 0]);
    let written_through = "SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'tenant_guard'::regnamespace AND c.relkind = 'v'
            AND pg_relation_is_updatable(c.oid, true) <> 0";
    assert_eq!(lines(&mut superuser, written_through), [""; 0]);
    let mut session = db.connect_as(&app);
    let secrets = "SELECT keys FROM tenant_guard.issuer UNION ALL
        SELECT to_jsonb(key) FROM tenant_guard.capture_key";
    assert_eq!(lines(&mut superuser, secrets).len(), 2);
    assert_eq!(lines(&mut session, secrets), [""; 0]);
    for table in [
        "issuer",
        "identity_source",
        "protection_member",
        "revocation",
    ] {
        let statement = format!(
            "INSERT INTO tenant_guard.{table} SELECT (r).* FROM (
            SELECT jsonb_populate_record(NULL::tenant_guard.{table}, '{{}}') AS r) AS q"
        );
        let message = format!("new row violates row-level security policy for table \"{table}\"");
        expect_error(session.batch_execute(&statement), "42501", &message);
    }
    for statement in [
        "UPDATE tenant_guard.issuer SET keys = '[]'",
        "DELETE FROM tenant_guard.issuer",
        "DELETE FROM tenant_guard.capture_key",
    ] {
        assert_eq!(session.execute(statement, &[]).unwrap(), 0, "{statement}");
    }
    let outcome = session.batch_execute("UPDATE tenant_guard.product_schema SET owner = 0");
    expect_error(outcome, "55000", "cannot update view \"product_schema\"");
    // In every database of the cluster it would be found.
    superuser
        .batch_execute(&format!(
            "REVOKE pg_read_all_data, pg_write_all_data FROM {app}"
        ))
        .unwrap();
}
