//! Identities that nobody signed: forged tokens, planted settings.

use jsonwebtoken::{Algorithm, Header};
use serde_json::json;
use tenant_guard_tests::{Cluster, Issuer, expect_error, lines};

use super::{ACME, BETA, Fixture, expect_no_identity, run};

#[test]
fn setting_the_variable_by_hand_is_refused() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, BETA);
    run(&mut client, "COMMIT");
    for attack in [
        "SET tenant_guard.identity = 'x'",
        "SET LOCAL tenant_guard.identity = 'x'",
        "SELECT set_config('tenant_guard.identity', 'x', true)",
        "SELECT set_config('tenant_guard.identity', 'x', false)",
        "UPDATE pg_settings SET setting = 'x' WHERE name = 'tenant_guard.identity'",
    ] {
        let refused = client.simple_query(attack);
        if !attack.starts_with("UPDATE") {
            expect_error(refused, "42501", "permission denied to set parameter");
        }
        expect_no_identity(&mut client);
    }
    let alter = format!("ALTER ROLE {} SET tenant_guard.identity = 'x'", fixture.app);
    expect_error(
        client.simple_query(&alter),
        "42501",
        "permission denied to set parameter",
    );
    for setting in [
        "on_missing_identity = 'empty'",
        "allow_session_identity = on",
    ] {
        let refused = client.simple_query(&format!("SET tenant_guard.{setting}"));
        expect_error(refused, "42501", "permission denied to set parameter");
    }
}

/// The bound value itself, taken from a session that holds a valid identity: the best thing an
/// attacker could plant.
pub(crate) fn stolen_value(fixture: &Fixture) -> String {
    let mut superuser = fixture.db.superuser();
    run(&mut superuser, "BEGIN");
    fixture.issuer.sign_in(&mut superuser, ACME);
    let value = lines(&mut superuser, "SHOW tenant_guard.identity").remove(0);
    assert!(value.contains(ACME), "the superuser sees the bound value");
    value
}

#[test]
fn granted_set_on_parameter_plants_nothing() {
    let fixture = Fixture::alone();
    if !fixture.db.grants_settings() {
        return;
    }
    let stolen = stolen_value(&fixture);
    let mut client = fixture.session();
    expect_no_identity(&mut client);
    run(
        &mut fixture.db.superuser(),
        &format!(
            "GRANT SET ON PARAMETER tenant_guard.identity TO {}",
            fixture.app
        ),
    );
    let planted = client.query(
        "SELECT set_config('tenant_guard.identity', $1, false)",
        &[&stolen],
    );
    expect_error(
        planted,
        "42501",
        "parameter \"tenant_guard.identity\" cannot be set",
    );
    expect_no_identity(&mut client);
    run(
        &mut fixture.db.superuser(),
        &format!(
            "REVOKE SET ON PARAMETER tenant_guard.identity FROM {}",
            fixture.app
        ),
    );
}

#[test]
fn superuser_cannot_set_it_either() {
    let fixture = Fixture::new();
    let stolen = stolen_value(&fixture);
    let mut superuser = fixture.db.superuser();
    run(&mut superuser, "SELECT tenant_guard.is_authenticated()");
    for scope in [true, false] {
        let planted = superuser.query(
            "SELECT set_config('tenant_guard.identity', $1, $2)",
            &[&stolen, &scope],
        );
        expect_error(
            planted,
            "42501",
            "parameter \"tenant_guard.identity\" cannot be set",
        );
    }
}

#[test]
fn planted_role_and_database_settings_choose_no_account() {
    let fixture = Fixture::alone();
    let stolen = stolen_value(&fixture).replace('\'', "''");
    // A session that has not loaded the library can plant anything.
    for target in [
        format!("ROLE {}", fixture.app),
        format!("DATABASE {}", fixture.db.name()),
        format!("ROLE {} IN DATABASE {}", fixture.app, fixture.db.name()),
    ] {
        let mut superuser = fixture.db.superuser();
        run(
            &mut superuser,
            &format!("ALTER {target} SET tenant_guard.identity = '{stolen}'"),
        );
        for preload in ["", "-c session_preload_libraries=tenant_guard"] {
            if preload.is_empty() {
                expect_no_identity(&mut fixture.session());
            } else {
                let alter = format!("ALTER {target} SET session_preload_libraries = tenant_guard");
                run(&mut superuser, &alter);
                expect_no_identity(&mut fixture.session());
                run(
                    &mut superuser,
                    &format!("ALTER {target} RESET session_preload_libraries"),
                );
            }
        }
        run(&mut superuser, &format!("ALTER {target} RESET ALL"));
    }
}

#[test]
fn pgoptions_choose_no_account() {
    let fixture = Fixture::new();
    let stolen = stolen_value(&fixture);
    let escaped: String = stolen
        .chars()
        .flat_map(|c| {
            if c == ' ' || c == '\\' {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect();
    let options = format!("-c tenant_guard.identity={escaped}");
    let mut client = fixture.db.connect_with_options(&fixture.app, &options);
    expect_no_identity(&mut client);
}

#[test]
fn configuration_file_chooses_no_account() {
    let cluster = Cluster::start(&["session_preload_libraries=tenant_guard"]);
    let fixture = Fixture::with(cluster.database(), Issuer::es256("https://issuer.test"));
    let stolen = stolen_value(&fixture).replace('\'', "''");
    let mut superuser = fixture.db.superuser();
    let refused = superuser.batch_execute(&format!(
        "ALTER SYSTEM SET tenant_guard.identity = '{stolen}'"
    ));
    expect_error(
        refused,
        "55P02",
        "parameter \"tenant_guard.identity\" cannot be changed",
    );
    let path = lines(&mut superuser, "SHOW config_file").remove(0);
    run(
        &mut superuser,
        &format!(
            "CREATE TABLE conf (line text);
             INSERT INTO conf VALUES ($$tenant_guard.identity = '{stolen}'$$);
             COPY conf TO PROGRAM $$cat >>'{path}'$$;
             SELECT pg_reload_conf();"
        ),
    );
    expect_no_identity(&mut fixture.session());
    cluster.restart();
    expect_no_identity(&mut fixture.session());
}

#[test]
fn forged_foreign_and_malformed_tokens_are_refused() {
    let fixture = Fixture::new();
    let issuer = &fixture.issuer;
    fixture.refuses("", "token is malformed");
    fixture.refuses("not a token", "token is malformed");
    fixture.refuses(
        &Issuer::es256("https://nobody.test").token(ACME),
        "names no known issuer",
    );
    fixture.refuses(
        &Issuer::es256(issuer.name()).token(ACME),
        "names no known key",
    );

    let mut impostor = Header::new(Algorithm::ES256);
    impostor.kid = Some(issuer.kid().to_owned());
    let forged = Issuer::es256(issuer.name()).sign_with(&impostor, &issuer.claims(ACME));
    fixture.refuses(&forged, "token signature is not valid");
    let mut wrong_type = Header::new(Algorithm::HS256);
    wrong_type.kid = Some(issuer.kid().to_owned());
    let wrong_type = Issuer::hs256(issuer.name()).sign_with(&wrong_type, &issuer.claims(ACME));
    fixture.refuses(&wrong_type, "token algorithm is not allowed for its key");

    let token = issuer.token(ACME);
    let [_, payload, _] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    // {"alg":"none"} and {"alg":"none","typ":"JWT"}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"] {
        fixture.refuses(&format!("{header}.{payload}."), "token is not signed");
    }

    let with = |name: &str, value: serde_json::Value| {
        let mut claims = issuer.claims(ACME);
        claims[name] = value;
        issuer.sign(&claims)
    };
    fixture.refuses(&with("exp", json!(1_000_000_000)), "token has expired");
    fixture.refuses(
        &with("nbf", json!(4_000_000_000_u64)),
        "token is not yet valid",
    );
    for shape in [json!(null), json!({"id": 1}), json!(1.5), json!([])] {
        fixture.refuses(
            &with("account_id", shape),
            "token account has an unusable shape",
        );
    }
    let mut anonymous = issuer.claims(ACME);
    anonymous
        .as_object_mut()
        .expect("claims are an object")
        .remove("account_id");
    fixture.refuses(&issuer.sign(&anonymous), "token names no account");
    anonymous
        .as_object_mut()
        .expect("claims are an object")
        .remove("iss");
    fixture.refuses(&issuer.sign(&anonymous), "token names no issuer");
}

#[test]
fn role_that_bypasses_row_security_cannot_sign_in() {
    let fixture = Fixture::new();
    let loose = fixture.db.role("loose");
    run(
        &mut fixture.db.superuser(),
        &format!("ALTER ROLE {loose} BYPASSRLS"),
    );
    let mut client = fixture
        .db
        .config(&loose)
        .connect(postgres::NoTls)
        .expect("the role can connect");
    let token = fixture.issuer.token(ACME);
    let refused = client.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
    expect_error(
        refused,
        "42501",
        &format!("role \"{loose}\" bypasses row security"),
    );
}
