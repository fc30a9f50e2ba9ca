//! Recipes of identity providers: the page's `add_issuer` call and the page's payload, signed by an
//! issuer of the test, give the identity that is meant.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{block, sections};

/// What the payload under a heading of the page means.
struct Provider {
    heading: &'static str,
    account: &'static str,
    subject: &'static str,
    roles: &'static str,
    session: &'static str,
    assurance: &'static str,
}

const NONE: &str = "<null>";

const PROVIDERS: [Provider; 7] = [
    Provider {
        heading: "Auth0",
        account: "org_9Zt4kLm2QwErTy",
        subject: "auth0|6571b2f0c9a4d8e7f1a2b3c4",
        roles: "manager",
        session: NONE,
        assurance: NONE,
    },
    Provider {
        heading: "Keycloak",
        account: "acme",
        subject: "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
        roles: "agent,offline_access",
        session: "2a88c258-f73a-4103-b862-e1fbd8f4e04e",
        assurance: "2",
    },
    Provider {
        heading: "Amazon Cognito",
        account: "4711",
        subject: "a2b5c4d4-10f1-70aa-9f3c-5e4d3c2b1a00",
        roles: "admin,billing",
        session: "0f9e8d7c-6b5a-4493-8271-605f4e3d2c1b",
        assurance: NONE,
    },
    Provider {
        heading: "Microsoft Entra ID",
        account: "8f14e45f-ceea-4672-9b1c-2d3e4f5a6b7c",
        subject: "5b6c7d8e-9f01-4234-a567-89abcdef0123",
        roles: "Shop.Manage",
        session: "004f5e6d-7c8b-4a90-b1c2-d3e4f5061728",
        assurance: NONE,
    },
    Provider {
        heading: "Firebase",
        account: "c0ffee00-1234-4abc-8def-0123456789ab",
        subject: "kQ7vZ0nXh3Wb8RtYpL2sDf6gJc91",
        roles: "owner",
        session: NONE,
        assurance: "totp",
    },
    Provider {
        heading: "Supabase",
        account: "42",
        subject: "123e4567-e89b-42d3-a456-426614174000",
        roles: "agent,billing",
        session: "9c1f0e2d-3b4a-4567-8901-23456789abcd",
        assurance: "aal2",
    },
    Provider {
        heading: "Clerk",
        account: "org_2hWqAcMeCoRp",
        subject: "user_2hWq8LmN4pRsTuVx",
        roles: "admin",
        session: "sess_2hWqB1cD3eFgHiJk",
        assurance: NONE,
    },
];

/// The payload of a provider's section with its times moved to now.
fn payload(provider: &Provider) -> Value {
    let mut payload: Value =
        serde_json::from_str(block(provider.heading, "json")).expect("a payload is JSON");
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("the clock is past 1970").as_secs();
    let written = payload["iat"].as_u64().expect("every sample has iat");
    for time in ["iat", "nbf", "exp"] {
        if let Some(at) = payload[time].as_u64() {
            payload[time] = (at + now - written).into();
        }
    }
    payload
}

/// An issuer with a key of the kind the recipe expects.
fn issuer(provider: &Provider) -> Issuer {
    let name = payload(provider)["iss"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match provider.heading {
        "Supabase" => Issuer::es256(&name),
        _ => Issuer::rs256(&name),
    }
}

/// The page's call, with `jwks` where psql would put it.
fn registration(provider: &Provider, issuer: &Issuer) -> String {
    let call = block(provider.heading, "sql");
    let jwks = format!("'{}'", issuer.jwks());
    assert!(call.contains(":'jwks'"), "{call}");
    call.replace(":'jwks'", &jwks)
}

#[test]
fn provider_payloads_give_the_identity_they_mean() {
    let db = Database::new();
    let app = db.role("app");
    let mut superuser = db.superuser();
    let mut client = db.connect_as(&app);
    for provider in &PROVIDERS {
        let issuer = issuer(provider);
        superuser
            .batch_execute(&registration(provider, &issuer))
            .unwrap_or_else(|error| panic!("{}: {error:?}", provider.heading));
        let token = issuer.sign(&payload(provider));

        let mut transaction = client.transaction().unwrap();
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap_or_else(|error| panic!("{}: {error:?}", provider.heading));
        let bound = lines(
            &mut transaction,
            "SELECT tenant_guard.account_id_text() || E'\\n' || tenant_guard.subject() || E'\\n'
                    || array_to_string(tenant_guard.roles(), ',') || E'\\n'
                    || coalesce(tenant_guard.session_id(), '<null>')",
        );
        let meant = [
            provider.account,
            provider.subject,
            provider.roles,
            provider.session,
        ];
        assert_eq!(bound, [meant.join("\n")], "{}", provider.heading);
        transaction.commit().unwrap();

        let assurance = superuser
            .query_one(
                "SELECT tenant_guard.verify_token($1)->>'assurance'",
                &[&token],
            )
            .unwrap()
            .get::<_, Option<String>>(0);
        assert_eq!(
            assurance.as_deref().unwrap_or(NONE),
            provider.assurance,
            "{}",
            provider.heading
        );
    }
}

#[test]
fn providers_of_the_page_are_the_providers_of_the_test() {
    let page = include_str!("../../../../docs/integrations.md");
    let headings: Vec<&str> = sections(page)
        .filter(|(_, text)| text.contains("add_issuer("))
        .map(|(heading, _)| heading)
        .collect();
    let tested: Vec<&str> = PROVIDERS.iter().map(|provider| provider.heading).collect();
    assert_eq!(headings, tested);
}

#[test]
fn token_for_another_application_of_the_provider_is_refused() {
    let db = Database::new();
    let app = db.role("app");
    let mut client = db.connect_as(&app);
    for provider in &PROVIDERS {
        let issuer = issuer(provider);
        db.superuser()
            .batch_execute(&registration(provider, &issuer))
            .unwrap_or_else(|error| panic!("{}: {error:?}", provider.heading));
        let mut payload = payload(provider);
        if payload["aud"].is_null() {
            // Clerk writes no audience, and the page says so.
            assert_eq!(provider.heading, "Clerk");
            continue;
        }
        payload["aud"] = "another-application".into();
        let refused = client.execute(
            "SELECT tenant_guard.authenticate($1)",
            &[&issuer.sign(&payload)],
        );
        expect_error(refused, "28000", "token audience is not accepted");
    }
}

#[test]
fn account_that_users_write_themselves_is_refused_as_a_source() {
    let db = Database::new();
    let supabase = PROVIDERS.iter().find(|one| one.heading == "Supabase");
    let supabase = supabase.expect("the page has a recipe for it");
    let issuer = issuer(supabase);
    let call = registration(supabase, &issuer);
    for writable in ["user_metadata", "unsafe_metadata"] {
        let planted = call.replace("app_metadata", writable);
        assert_ne!(planted, call);
        let refused = db.superuser().batch_execute(&planted);
        expect_error(refused, "22023", "which users can write");
    }
}
