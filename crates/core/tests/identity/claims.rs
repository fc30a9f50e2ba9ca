//! What a well signed token must claim (RFC 7519 section 4) and how it names its account.

use serde_json::{Value, json};
use tenant_guard_core::identity::Identity;
use tenant_guard_core::issuer::{Issuer, IssuerSettings, Issuers};
use tenant_guard_core::token::{Refusal, Verified};

use crate::keys::{ACCOUNT, ISSUER, NOW, claims_with, key, outcome, settings, verify, verify_with};

const SECOND: i64 = 1_000_000;

fn token(changes: Value) -> String {
    key("HS256").token(&claims_with(changes))
}

/// The outcome under the default settings.
fn judged(changes: Value) -> &'static str {
    outcome(verify(&token(changes)))
}

fn accepted(changes: Value) -> Identity {
    verify(&token(changes)).unwrap().identity
}

fn verify_at(settings: IssuerSettings, token: &str, now_us: i64) -> Result<Verified, Refusal> {
    Issuers::new([Issuer::new(settings).unwrap()]).verify(token, None, now_us)
}

fn choose(changes: Value, account: &str) -> Result<Verified, Refusal> {
    let issuers = Issuers::new([Issuer::new(settings()).unwrap()]);
    issuers.verify(&token(changes), Some(account), NOW * SECOND)
}

fn with_paths(paths: Value, changes: Value) -> Result<Verified, Refusal> {
    let settings = IssuerSettings {
        claim_paths: paths.to_string(),
        ..settings()
    };
    verify_with(settings, &token(changes))
}

/// RFC 7519 section 4.1.4: not accepted on or after `exp`; the leeway moves that instant.
#[test]
fn expiry_is_exact_to_the_microsecond() {
    let expiring = token(json!({ "exp": NOW }));
    for leeway_us in [0, 1, 30 * SECOND] {
        let lenient = || IssuerSettings {
            leeway_us,
            ..settings()
        };
        let end = NOW * SECOND + leeway_us;
        let last = verify_at(lenient(), &expiring, end - 1).unwrap();
        assert_eq!(last.identity.valid_until_us, end);
        assert_eq!(verify_at(lenient(), &expiring, end), Err(Refusal::Expired));
        assert_eq!(
            verify_at(lenient(), &expiring, i64::MAX),
            Err(Refusal::Expired)
        );
    }
}

/// RFC 7519 sections 4.1.5 and 4.1.6.
#[test]
fn the_start_is_exact_to_the_microsecond() {
    for name in ["nbf", "iat"] {
        let coming = token(json!({ name: NOW }));
        for leeway_us in [0, 30 * SECOND] {
            let lenient = || IssuerSettings {
                leeway_us,
                ..settings()
            };
            let start = NOW * SECOND - leeway_us;
            assert_eq!(
                verify_at(lenient(), &coming, start).unwrap().valid_from_us,
                start
            );
            assert_eq!(
                verify_at(lenient(), &coming, start - 1),
                Err(Refusal::NotYetValid)
            );
            assert_eq!(
                verify_at(lenient(), &coming, i64::MIN),
                Err(Refusal::NotYetValid)
            );
        }
    }
    let both = token(json!({ "nbf": NOW - 5, "iat": NOW - 10 }));
    assert_eq!(verify(&both).unwrap().valid_from_us, (NOW - 5) * SECOND);
    assert_eq!(verify(&token(json!({}))).unwrap().valid_from_us, i64::MIN);
}

#[test]
fn expiry_is_required_unless_the_issuer_says_otherwise() {
    let endless = token(json!({ "exp": null }));
    assert_eq!(outcome(verify(&endless)), "no_expiry");
    let lax = || IssuerSettings {
        require_exp: false,
        ..settings()
    };
    assert_eq!(
        verify_with(lax(), &endless)
            .unwrap()
            .identity
            .valid_until_us,
        i64::MAX
    );
    assert_eq!(
        outcome(verify_with(lax(), &token(json!({ "exp": NOW })))),
        "expired"
    );
    assert_eq!(
        outcome(verify_with(lax(), &token(json!({ "exp": "never" })))),
        "claim_shape"
    );
}

#[test]
fn the_maximum_age_counts_from_the_issue_time() {
    let aged = || IssuerSettings {
        max_age_us: Some(60 * SECOND),
        leeway_us: 5 * SECOND,
        ..settings()
    };
    let issued = token(json!({ "iat": NOW, "exp": NOW + 3600 }));
    let end = (NOW + 60) * SECOND;
    assert_eq!(
        verify_at(aged(), &issued, end - 1)
            .unwrap()
            .identity
            .valid_until_us,
        end
    );
    assert_eq!(verify_at(aged(), &issued, end), Err(Refusal::TooOld));
    assert_eq!(
        outcome(verify_with(aged(), &token(json!({})))),
        "no_issue_time"
    );
    // The earlier of expiry and age ends the identity.
    let short = token(json!({ "iat": NOW, "exp": NOW + 10 }));
    let identity = verify_at(aged(), &short, NOW * SECOND).unwrap().identity;
    assert_eq!(identity.valid_until_us, (NOW + 15) * SECOND);
}

/// RFC 7519 section 2: a NumericDate is a JSON number; ours are whole seconds up to the year 9999.
#[test]
fn times_of_another_shape_are_refused() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1800000060"),
            json!(1_800_000_060.5),
            json!(1.8e9),
            json!(-1),
            json!(253_402_300_800_i64),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(true),
            json!([NOW]),
            json!({ "seconds": NOW }),
        ] {
            let refusal = verify(&token(json!({ name: value }))).unwrap_err();
            assert_eq!(refusal, Refusal::ClaimShape(name), "{name} {value}");
        }
        let text = claims_with(json!({})).to_string();
        let null = format!(
            "{{\"{name}\":null,{}",
            &text.replace("\"exp\":", "\"x\":")[1..]
        );
        let signed = key("HS256").sign_text(r#"{"alg":"HS256","kid":"HS256"}"#, &null);
        assert_eq!(verify(&signed), Err(Refusal::ClaimShape(name)));
    }
    let distant = json!({ "exp": 253_402_300_799_i64 });
    assert_eq!(accepted(distant).valid_until_us, 253_402_300_799 * SECOND);
}

/// RFC 7519 section 4.1.3.
#[test]
fn the_audience_must_match_when_one_is_expected() {
    let expecting = |names: &[&str]| IssuerSettings {
        audiences: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..settings()
    };
    for (aud, expected) in [
        (json!("api"), "accepted"),
        (json!("web"), "accepted"),
        (json!(["other", "api"]), "accepted"),
        (json!("API"), "audience"),
        (json!("api/"), "audience"),
        (json!("api web"), "audience"),
        (json!([]), "audience"),
        (json!(["other"]), "audience"),
        (json!(null), "audience"),
        (json!(1), "claim_shape"),
        (json!({ "api": true }), "claim_shape"),
        (json!(["api", 1]), "claim_shape"),
        (json!([["api"]]), "claim_shape"),
    ] {
        let result = verify_with(expecting(&["api", "web"]), &token(json!({ "aud": aud })));
        assert_eq!(outcome(result), expected, "{aud}");
    }
    assert_eq!(judged(json!({ "aud": "anything" })), "accepted");
}

#[test]
fn the_account_is_canonical() {
    for (claim, account) in [
        (json!(ACCOUNT), ACCOUNT),
        (json!(ACCOUNT.to_uppercase()), ACCOUNT),
        (json!(7), "7"),
        (json!(-7), "-7"),
        (json!(i64::MAX), "9223372036854775807"),
        (json!(i64::MIN), "-9223372036854775808"),
        (json!("007"), "007"),
        (json!(" "), " "),
        (json!("Ünïcode"), "Ünïcode"),
        (json!([7]), "7"),
        (json!([ACCOUNT, ACCOUNT.to_uppercase()]), ACCOUNT),
    ] {
        let identity = accepted(json!({ "account_id": claim }));
        assert_eq!(identity.account.as_str(), account, "{claim}");
    }
}

#[test]
fn an_account_of_another_shape_is_refused() {
    for claim in [
        json!(""),
        json!(true),
        json!(false),
        json!(7.0),
        json!(7.5),
        json!(1e3),
        json!(u64::MAX),
        json!({}),
        json!({ "id": 7 }),
        json!([]),
        json!([""]),
        json!([7, null]),
        json!([7, true]),
        json!([7.5]),
        json!([[7]]),
        json!([{ "id": 7 }]),
    ] {
        assert_eq!(
            judged(json!({ "account_id": claim })),
            "account_shape",
            "{claim}"
        );
        let chosen = choose(json!({ "account_id": claim }), "7");
        assert_eq!(outcome(chosen), "account_shape", "{claim} with a choice");
    }
    let null = format!(
        r#"{{"iss":"{ISSUER}","exp":{},"account_id":null}}"#,
        NOW + 60
    );
    let signed = key("HS256").sign_text(r#"{"alg":"HS256","kid":"HS256"}"#, &null);
    assert_eq!(outcome(verify(&signed)), "account_shape");
    assert_eq!(judged(json!({ "account_id": null })), "no_account");
}

#[test]
fn one_of_several_accounts_is_chosen() {
    let several = || json!({ "account_id": [7, "007", ACCOUNT] });
    assert_eq!(judged(several()), "account_not_chosen");
    for (choice, account) in [
        ("7", "7"),
        ("007", "007"),
        (ACCOUNT, ACCOUNT),
        (&ACCOUNT.to_uppercase(), ACCOUNT),
    ] {
        let identity = choose(several(), choice).unwrap().identity;
        assert_eq!(identity.account.as_str(), account);
    }
    for choice in ["8", "07", "7 ", "+7", "", "7\0", "7.0", "[7]", "*", "%"] {
        assert_eq!(
            outcome(choose(several(), choice)),
            "account_not_allowed",
            "{choice:?}"
        );
        let single = choose(json!({ "account_id": 7 }), choice);
        assert_eq!(outcome(single), "account_not_allowed", "{choice:?}");
    }
    assert_eq!(outcome(choose(json!({ "account_id": 7 }), "7")), "accepted");
    assert_eq!(
        outcome(choose(json!({ "account_id": "007" }), "7")),
        "account_not_allowed"
    );
    assert_eq!(
        outcome(choose(json!({ "account_id": null }), "7")),
        "no_account"
    );
}

#[test]
fn names_are_texts() {
    for (claim, name) in [
        ("sub", "subject"),
        ("sid", "session"),
        ("aal", "assurance"),
        ("jti", "jti"),
    ] {
        for value in [json!(1), json!(true), json!([1]), json!({}), json!("")] {
            let refusal = verify(&token(json!({ claim: value }))).unwrap_err();
            assert_eq!(refusal, Refusal::ClaimShape(name), "{claim} {value}");
        }
    }
    let full = accepted(json!({ "sub": "u", "sid": "s", "aal": "aal2", "jti": "j" }));
    assert_eq!(full.subject.as_deref(), Some("u"));
    assert_eq!(full.session.as_deref(), Some("s"));
    assert_eq!(full.assurance.as_deref(), Some("aal2"));
    assert_eq!(full.token_id.as_deref(), Some("j"));
    let bare = accepted(json!({ "sub": null }));
    assert_eq!(
        (bare.subject, bare.session, bare.assurance, bare.token_id),
        (None, None, None, None)
    );
}

#[test]
fn roles_are_a_list_or_a_single_text() {
    for (claim, roles) in [
        (json!(null), vec![]),
        (json!([]), vec![]),
        (json!(["b", "a", "b"]), vec!["b", "a", "b"]),
        (json!("admin"), vec!["admin"]),
        (json!("admin user"), vec!["admin user"]),
        (json!("admin,user"), vec!["admin,user"]),
    ] {
        assert_eq!(accepted(json!({ "roles": claim })).roles, roles);
    }
    for claim in [
        json!(1),
        json!(true),
        json!({ "admin": true }),
        json!([1]),
        json!([["admin"]]),
        json!([null]),
        json!(["admin", 1]),
        json!(""),
        json!([""]),
    ] {
        let refusal = verify(&token(json!({ "roles": claim }))).unwrap_err();
        assert_eq!(refusal, Refusal::ClaimShape("roles"), "{claim}");
    }
}

/// `amr` (RFC 8176) states several; only the assurance may be a list.
#[test]
fn assurance_may_be_a_list_of_names() {
    for (claim, assurance) in [
        (json!("aal2"), Some("aal2")),
        (json!(["pwd", "mfa"]), Some("pwd mfa")),
        (json!([]), None),
    ] {
        let accepted = accepted(json!({ "aal": claim }));
        assert_eq!(accepted.assurance.as_deref(), assurance, "{claim}");
    }
    for claim in [json!(["pwd mfa"]), json!(["pwd", 1]), json!([""])] {
        let refusal = verify(&token(json!({ "aal": claim }))).unwrap_err();
        assert_eq!(refusal, Refusal::ClaimShape("assurance"), "{claim}");
    }
    for list in ["sub", "sid", "jti"] {
        assert!(verify(&token(json!({ list: ["x"] }))).is_err(), "{list}");
    }
}

#[test]
fn paths_lead_through_objects() {
    let paths = json!({
        "account": ["app_metadata", "tenant", "id"],
        "subject": ["email"],
        "roles": ["realm_access", "roles"],
        "session": ["session_id"],
        "assurance": ["acr"],
    });
    let identity = with_paths(
        paths.clone(),
        json!({
            "app_metadata": { "tenant": { "id": 42 } },
            "email": "a@example.com",
            "realm_access": { "roles": ["owner"] },
            "session_id": "s1",
            "acr": "mfa",
            "account_id": "ignored",
        }),
    )
    .unwrap()
    .identity;
    assert_eq!(identity.account.as_str(), "42");
    assert_eq!(identity.subject.as_deref(), Some("a@example.com"));
    assert_eq!(identity.roles, ["owner"]);
    assert_eq!(identity.session.as_deref(), Some("s1"));
    assert_eq!(identity.assurance.as_deref(), Some("mfa"));

    for metadata in [
        json!(null),
        json!({}),
        json!({ "tenant": null }),
        json!({ "tenant": 42 }),
        json!({ "tenant": [{ "id": 42 }] }),
        json!([{ "tenant": { "id": 42 } }]),
        json!("tenant"),
        json!({ "Tenant": { "id": 42 } }),
    ] {
        let result = with_paths(paths.clone(), json!({ "app_metadata": metadata }));
        assert_eq!(outcome(result), "no_account", "{metadata}");
    }
    // A name with dots or slashes is one member, not a path.
    let flat = json!({ "account": ["https://example.com/account.id"] });
    let result = with_paths(flat, json!({ "https://example.com/account.id": "A" }));
    assert_eq!(result.unwrap().identity.account.as_str(), "A");
}

/// What is bound survives the way through the setting.
#[test]
fn a_verified_identity_round_trips() {
    let identity = accepted(json!({ "roles": ["a", "b:1"], "sid": "s", "note": "ü\n\"" }));
    let text = identity.encode();
    assert_eq!(
        Identity::parse(&text).unwrap().to_identity(),
        Some(identity)
    );
}

/// Messages name the reason and never hold a piece of the token.
#[test]
fn messages_hold_nothing_of_the_token() {
    let secret = "s3cr3t-v4lue";
    for changes in [
        json!({ "iss": secret }),
        json!({ "iss": [secret] }),
        json!({ "exp": secret }),
        json!({ "roles": { secret: secret } }),
        json!({ "account_id": { secret: secret } }),
        json!({ "sub": [secret] }),
    ] {
        let refusal = verify(&token(changes)).unwrap_err();
        assert!(!refusal.to_string().contains("s3cr3t"), "{refusal}");
        assert!(refusal.to_string().starts_with("token "), "{refusal}");
    }
}
