//! What is the server's: its version, its settings and its pg_hba.conf.

use std::net::{Ipv4Addr, TcpListener};

use tenant_guard_tests::{Cluster, lines};

use super::{findings, sound};

#[test]
fn row_58_versions_lack_fixes() {
    let shop = sound();
    let mut superuser = shop.db.superuser();
    let mut missing = |version: u32| {
        let query =
            format!("SELECT cve, fixed_in FROM tenant_guard.missing_fix({version}) ORDER BY 1");
        lines(&mut superuser, &query)
    };
    assert_eq!(
        missing(150002),
        [
            "CVE-2023-2455|15.3",
            "CVE-2023-39418|15.4",
            "CVE-2024-10976|15.9",
            "CVE-2024-10978|15.9",
            "CVE-2024-4317|15.7",
            "CVE-2025-8713|15.14",
            "CVE-2026-14666|15.19"
        ]
    );
    assert_eq!(missing(150018), ["CVE-2026-14666|15.19"]);
    assert_eq!(missing(180005), ["CVE-2026-14666|18.6"]);
    for mended in [140024, 150019, 160015, 170011, 180006, 190000] {
        assert_eq!(missing(mended), [""; 0]);
    }
}

#[test]
fn row_60_statistics_view_is_of_before_the_fix() {
    let shop = sound();
    shop.db
        .superuser()
        .batch_execute(
            "SET allow_system_table_mods = on;
             DO $$BEGIN EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.pg_stats_ext WITH (security_barrier) AS '
                 || regexp_replace(pg_get_viewdef('pg_stats_ext'::regclass),
                     'pg_has_role\\([^()]*\\)', 'true'); END$$",
        )
        .unwrap();
    assert_eq!(
        findings(&shop),
        ["warning|60-statistics-views|pg_catalog.pg_stats_ext"]
    );
}

#[test]
fn rows_71_to_73_server_lets_roles_in_unsafely() {
    // Documentation's addresses (RFC 5737) belong to no machine: nothing listens there, and nobody comes
    // from there.
    let local = std::process::id().to_be_bytes();
    let local = Ipv4Addr::new(127, local[1] | 1, local[2], local[3] | 1);
    let free = TcpListener::bind((local, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let cluster = Cluster::start(&[
        &format!("listen_addresses={local},203.0.113.1"),
        &format!("port={port}"),
        "password_encryption=md5",
        "lo_compat_privileges=on",
        "tenant_guard.allow_session_identity=on",
    ]);
    let db = cluster.database();
    let (app, group) = (db.role("app"), db.role("group"));
    let mut superuser = db.superuser();
    superuser
        .batch_execute(&format!(
            "GRANT {group} TO {app}; CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO {app};
             CREATE ROLE owner NOLOGIN; CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid);
             ALTER TABLE shop.contact OWNER TO owner; SELECT tenant_guard.protect('shop.contact');
             GRANT SELECT ON shop.contact TO {app}"
        ))
        .unwrap();
    std::fs::write(
        cluster.directory().join("data/pg_hba.conf"),
        format!(
            "local all postgres trust
             host all all 10.0.0.0/8 reject
             host all all 10.1.0.0/16 scram-sha-256
             host all {app} 198.51.100.0/24 trust
             host all +{group} 192.0.2.0 255.255.255.0 scram-sha-256
             hostssl all all 0.0.0.0/0 scram-sha-256
             host another all 0.0.0.0/0 trust
             local all all trust
             host all all ::1/128 scram-sha-256\n"
        ),
    )
    .unwrap();
    let found = "SELECT severity, code, object, detail FROM tenant_guard.check()
                 WHERE code NOT LIKE '58-%'";
    assert_eq!(
        lines(&mut superuser, found),
        [
            "error|32-large-object|lo_compat_privileges|on for the whole server: every large object is \
             open to everybody"
                .to_owned(),
            format!(
                "error|71-tls-off|ssl|off, while the server listens on {local},203.0.113.1: it needs a \
                 certificate and a reload"
            ),
            format!(
                "error|72-hba-lets-in|pg_hba.conf|line 4 (host all {app} 198.51.100.0 trust) lets {app} in \
                 without a password and without TLS"
            ),
            "warning|64-session-identity|tenant_guard.allow_session_identity|on for the whole server: \
             unsafe behind a transaction pooler"
                .to_owned(),
            format!(
                "warning|72-hba-lets-in|pg_hba.conf|line 5 (host all +{group} 192.0.2.0 scram-sha-256) lets \
                 {app} in without TLS"
            ),
            format!(
                "warning|72-hba-lets-in|pg_hba.conf|line 8 (local all all trust) lets {app} in without a \
                 password"
            ),
            "warning|73-password|password_encryption|md5 for the whole server: new passwords are stored \
             as MD5"
                .to_owned(),
        ]
    );
    for fix in lines(
        &mut superuser,
        "SELECT fix FROM tenant_guard.check() WHERE fix <> '' AND code !~ '^71'",
    ) {
        superuser.batch_execute(&fix).unwrap();
    }
    std::fs::write(
        cluster.directory().join("data/pg_hba.conf"),
        "local all postgres trust\nlocal all all scram-sha-256\n",
    )
    .unwrap();
    superuser.batch_execute("SELECT pg_reload_conf()").unwrap();
    drop(superuser);
    // A new session has read the settings as they are now.
    let left = "SELECT code FROM tenant_guard.check() WHERE code NOT LIKE '58-%'";
    assert_eq!(lines(&mut db.superuser(), left), ["71-tls-off"]);
}

#[test]
fn row_70_promises_are_switched_off_for_the_server() {
    let cluster = Cluster::start(&["tenant_guard.on_missing_identity=empty"]);
    let db = cluster.database();
    cluster.configure("tenant_guard.guards = false");
    let mut superuser = db.superuser();
    let found = "SELECT severity, code, object, detail FROM tenant_guard.check()
                 WHERE code NOT LIKE '58-%'";
    let weak = [
        "error|70-setting-planted|tenant_guard.guards|for the whole server: nothing refuses commands \
         that take protection or the ledger apart",
        "warning|70-setting-planted|tenant_guard.on_missing_identity|for the whole server: who forgets \
         to sign in sees no rows, and no error",
    ];
    assert_eq!(lines(&mut superuser, found), weak);
    // What the session set for itself hides nothing.
    superuser
        .batch_execute("SET tenant_guard.guards = on")
        .unwrap();
    assert_eq!(lines(&mut superuser, found)[..1], weak[..1]);
    let fixes = "SELECT fix FROM tenant_guard.check() WHERE code LIKE '70-%'";
    for fix in lines(&mut db.superuser(), fixes) {
        superuser.batch_execute(&fix).unwrap();
    }
    drop(superuser);
    // Mended in the file, and in force until the server is told.
    assert_eq!(lines(&mut db.superuser(), found), weak[1..]);
    cluster.restart();
    assert_eq!(lines(&mut db.superuser(), found), [""; 0]);
    let set = |settings: &str| {
        let database = format!("ALTER DATABASE {} SET {settings}", db.name());
        db.superuser().batch_execute(&database).unwrap();
    };
    set("tenant_guard.guards = 'no'");
    let kept = "SELECT severity, detail FROM tenant_guard.check()
                WHERE object = 'tenant_guard.guards'";
    assert_eq!(
        lines(&mut db.superuser(), kept),
        [format!(
            "error|kept in database {}: nothing refuses commands that take protection or the ledger apart",
            db.name()
        )]
    );
}

/// A command line goes before every file, so that no statement mends it.
#[test]
fn row_70_promises_are_switched_off_on_the_command_line() {
    let cluster = Cluster::start(&[]);
    let db = cluster.database();
    cluster.restart_with(&["tenant_guard.on_missing_identity=empty"]);
    let told =
        "SELECT severity, object, detail, fix FROM tenant_guard.check() WHERE code LIKE '70-%'";
    assert_eq!(
        lines(&mut db.superuser(), told),
        [
            "warning|tenant_guard.on_missing_identity|on the command line of the server: who forgets to sign \
             in sees no rows, and no error|"
        ]
    );
}

#[test]
fn row_70_guards_that_a_session_switched_off_for_itself_are_nobody_elses() {
    let shop = sound();
    let mut restoring = shop.db.superuser();
    restoring
        .batch_execute(
            "SET tenant_guard.guards = off; SET tenant_guard.on_missing_identity = empty",
        )
        .unwrap();
    // What other tests keep for their roles is found in every database of the cluster.
    let found = "SELECT object FROM tenant_guard.check()
                 WHERE code LIKE '70-%' AND detail LIKE 'for the whole server%'";
    assert_eq!(lines(&mut restoring, found), [""; 0]);
    let mut restoring = shop
        .db
        .config("postgres")
        .options("-c tenant_guard.guards=off")
        .connect(postgres::NoTls)
        .unwrap();
    assert_eq!(lines(&mut restoring, found), [""; 0]);
}
