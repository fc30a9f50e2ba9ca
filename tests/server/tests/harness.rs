//! The harness itself: a guard that could not fail would make every test of isolation worthless.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tenant_guard_tests::{
    ACCOUNT_A, Cluster, Database, Issuer, assert_ordinary, expect_error, lines,
};

#[test]
fn extension_is_installed() {
    let db = Database::new();
    let version = lines(&mut db.superuser(), "SELECT tenant_guard.version()");
    assert_eq!(version, [env!("CARGO_PKG_VERSION")]);
}

#[test]
fn server_does_not_listen_on_the_network() {
    let db = Database::new();
    let mut client = db.superuser();
    assert_eq!(lines(&mut client, "SHOW listen_addresses"), [""]);
    assert_eq!(lines(&mut client, "SHOW unix_socket_permissions"), ["0700"]);
}

/// `Cluster` itself asserts the same of the file of each one that is started.
#[test]
fn server_lets_nobody_in_from_the_network() {
    let rules = "SELECT DISTINCT type, auth_method, error FROM pg_hba_file_rules ORDER BY type";
    let expected = ["host|reject|<null>", "local|trust|<null>"];
    let db = Database::new();
    assert_eq!(lines(&mut db.superuser(), rules), expected);
}

#[test]
fn private_directory_is_new_and_closed() {
    use std::os::unix::fs::PermissionsExt;

    let cluster = Cluster::shared();
    let (one, other) = (cluster.private_directory(), cluster.private_directory());
    assert_ne!(one, other);
    assert!(one.starts_with(cluster.directory()));
    for directory in [one.as_path(), cluster.directory()] {
        let mode = directory.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory:?}");
    }
}

#[test]
fn databases_are_apart() {
    let (one, two) = (Database::new(), Database::new());
    one.superuser().batch_execute("CREATE TABLE t ()").unwrap();
    expect_error(
        two.superuser().batch_execute("TABLE t"),
        "42P01",
        "\"t\" does not exist",
    );
}

#[test]
#[should_panic(expected = "expected an error 42P01")]
fn expect_error_rejects_another_code() {
    let db = Database::new();
    expect_error(db.superuser().batch_execute("SELECT 1/0"), "42P01", "");
}

#[test]
#[should_panic(expected = "but the server agreed")]
fn expect_error_rejects_success() {
    let db = Database::new();
    expect_error(db.superuser().batch_execute("SELECT 1"), "42P01", "");
}

#[test]
#[should_panic(expected = "may bypass row security")]
fn superuser_is_not_ordinary() {
    let db = Database::new();
    assert_ordinary(&mut db.superuser());
}

#[test]
#[should_panic(expected = "may bypass row security")]
fn member_of_a_bypassing_role_is_not_ordinary() {
    let db = Database::new();
    let (app, loader) = (db.role("app"), db.role("loader"));
    db.superuser()
        .batch_execute(&format!(
            "ALTER ROLE {loader} BYPASSRLS NOINHERIT; GRANT {loader} TO {app}"
        ))
        .unwrap();
    drop(db.connect_as(&app));
}

#[test]
#[should_panic(expected = "tables without FORCE")]
fn owner_of_an_unforced_table_is_not_ordinary() {
    let db = Database::new();
    let owner = db.role("owner");
    db.superuser()
        .batch_execute(&format!(
            "CREATE TABLE t (); ALTER TABLE t OWNER TO {owner}; ALTER TABLE t ENABLE ROW LEVEL SECURITY"
        ))
        .unwrap();
    assert_ordinary(&mut db.connect_as(&owner));
}

#[test]
fn cluster_of_a_test_has_its_own_settings_identity_and_end() {
    let cluster = Cluster::start(&["wal_level=logical"]);
    let db = cluster.database();
    let identifier = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    let shared = Database::new();
    assert_ne!(
        lines(&mut db.superuser(), identifier),
        lines(&mut shared.superuser(), identifier)
    );
    cluster.restart();
    assert_eq!(lines(&mut db.superuser(), "SHOW wal_level"), ["logical"]);
    let directory = cluster.directory().to_owned();
    drop((db, cluster));
    assert!(!directory.exists());
}

#[test]
fn dumps_restore() {
    let db = Database::empty();
    db.superuser()
        .batch_execute("CREATE TABLE t AS SELECT 1 AS n")
        .unwrap();
    let (plain, archive) = (Database::empty(), Database::empty());
    plain.restore(&db.pg_dump(&[]));
    archive.pg_restore(&["--single-transaction"], &db.pg_dump(&["--format=custom"]));
    assert_eq!(lines(&mut plain.superuser(), "TABLE t"), ["1"]);
    assert_eq!(lines(&mut archive.superuser(), "TABLE t"), ["1"]);
}

#[test]
fn issuers_sign_what_their_key_set_verifies() {
    for issuer in [
        Issuer::es256("https://issuer.example"),
        Issuer::eddsa("https://issuer.example"),
        Issuer::rs256("https://issuer.example"),
        Issuer::hs256("https://issuer.example"),
    ] {
        let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(issuer.jwks()).unwrap();
        let key = DecodingKey::from_jwk(keys.find(issuer.kid()).unwrap()).unwrap();
        let token = issuer.token(ACCOUNT_A);
        let algorithm: Algorithm = jsonwebtoken::decode_header(&token).unwrap().alg;
        let claims =
            jsonwebtoken::decode::<serde_json::Value>(&token, &key, &Validation::new(algorithm));
        assert_eq!(claims.unwrap().claims["account_id"], ACCOUNT_A);
    }
}
