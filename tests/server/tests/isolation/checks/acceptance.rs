//! Findings that somebody accepts, reports of all, and the gate that opens when none is left.

use tenant_guard_tests::{expect_error, lines};

use super::{findings, sound};
use crate::isolation::Shop;

/// A sound schema with two findings of one code about one table.
fn two_open_keys() -> Shop {
    let shop = sound();
    shop.owner()
        .batch_execute(
            "ALTER TABLE shop.booking ADD first_one int CONSTRAINT a REFERENCES shop.contact,
                 ADD second_one int CONSTRAINT b REFERENCES shop.contact",
        )
        .unwrap();
    shop
}

const FOUND: &str = "error|26-foreign-key-without-account|shop.booking";
const ACCEPT: &str = "SELECT tenant_guard.accept_finding('26-foreign-key-without-account', \
                      'shop.booking', 'ids are random')";

#[test]
fn accepted_finding_is_hidden_until_it_says_something_else() {
    let shop = two_open_keys();
    shop.owner()
        .batch_execute("ALTER TABLE shop.booking DROP CONSTRAINT b")
        .unwrap();
    shop.owner().batch_execute(ACCEPT).unwrap();
    assert_eq!(findings(&shop), [""; 0]);
    let mut superuser = shop.db.superuser();
    let accepted = "SELECT severity, object, detail, fix <> '' FROM tenant_guard.check(accepted => true) \
                    WHERE code LIKE '26-%'";
    assert_eq!(
        lines(&mut superuser, accepted),
        [format!(
            "accepted|shop.booking|foreign key a (first_one) to shop.contact does not include the \
             account; accepted by {}: ids are random|t",
            shop.owner
        )]
    );
    // Another key of the same table is another finding.
    superuser
        .batch_execute(
            "ALTER TABLE shop.booking ADD FOREIGN KEY (second_one) REFERENCES shop.contact",
        )
        .unwrap();
    assert_eq!(findings(&shop), [FOUND]);
    assert_eq!(shop.check("detail ~ 'second_one'"), ["t"]);
}

#[test]
fn acceptance_ends_when_it_was_to_end_and_when_it_is_withdrawn() {
    let shop = two_open_keys();
    let mut superuser = shop.db.superuser();
    let until = |time: &str| ACCEPT.replace("random'", &format!("random', until => {time}"));
    superuser
        .batch_execute(&until("now() + interval '1 hour'"))
        .unwrap();
    assert_eq!(findings(&shop), [""; 0]);
    expect_error(
        superuser.batch_execute(&until("now() - interval '1 second'")),
        "22023",
        "until does not fit: it is in the past",
    );
    superuser
        .batch_execute(
            "UPDATE tenant_guard.finding_acceptance SET until = now() - interval '1 second'",
        )
        .unwrap();
    assert_eq!(findings(&shop), [FOUND, FOUND]);
    superuser.batch_execute(ACCEPT).unwrap();
    assert_eq!(findings(&shop), [""; 0]);
    let withdraw =
        "SELECT tenant_guard.withdraw_acceptance('26-foreign-key-without-account', 'shop.booking')";
    superuser.batch_execute(withdraw).unwrap();
    assert_eq!(findings(&shop), [FOUND, FOUND]);
    expect_error(
        superuser.batch_execute(withdraw),
        "42704",
        "finding 26-foreign-key-without-account of shop.booking is not accepted",
    );
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT action, data FROM tenant_guard.audit_log WHERE action ~ 'accept' ORDER BY xid DESC LIMIT 1"
        ),
        [
            r#"withdraw_acceptance|{"code":"26-foreign-key-without-account","object":"shop.booking","reason":null}"#
        ]
    );
}

#[test]
fn accepted_warning_that_becomes_an_error_is_open_again() {
    let shop = sound();
    let reporter = shop.db.role("reporter");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "GRANT USAGE, CREATE ON SCHEMA shop TO {reporter}; GRANT SELECT ON shop.contact TO {reporter};
             CREATE VIEW shop.all_names AS SELECT name FROM shop.contact;
             ALTER VIEW shop.all_names OWNER TO {reporter}; GRANT SELECT ON shop.all_names TO PUBLIC;
             REVOKE CREATE ON SCHEMA shop FROM {reporter}"
        ))
        .unwrap();
    let found = || shop.check_where("severity", "code LIKE '19-%'");
    assert_eq!(found(), ["warning"]);
    superuser
        .batch_execute(
            "SELECT tenant_guard.accept_finding('19-view-runs-as-owner', 'shop.all_names', 'bound')",
        )
        .unwrap();
    assert_eq!(found(), [""; 0]);
    superuser
        .batch_execute(&format!("ALTER ROLE {reporter} BYPASSRLS"))
        .unwrap();
    assert_eq!(found(), ["error"]);
}

#[test]
fn schemas_that_do_not_exist_pass_no_gate() {
    let shop = sound();
    let mut superuser = shop.db.superuser();
    for (call, code, message) in [
        (
            "check_gate('error', '{shpo}')",
            "3F000",
            "schema \"shpo\" does not exist",
        ),
        (
            "check('{shop,shpo}')",
            "3F000",
            "schema \"shpo\" does not exist",
        ),
        (
            "check_data('{shpo}')",
            "3F000",
            "schema \"shpo\" does not exist",
        ),
        (
            "check('{NULL}')",
            "22004",
            "an element of schemas must not be null",
        ),
        ("check('{}')", "22023", "schemas must not be empty"),
    ] {
        let asked = superuser.batch_execute(&format!("SELECT * FROM tenant_guard.{call}"));
        expect_error(asked, code, message);
    }
    let pieces = superuser.batch_execute("CALL tenant_guard.check_data_in_pieces('{shpo}')");
    expect_error(pieces, "3F000", "schema \"shpo\" does not exist");
}

#[test]
fn acceptance_that_fits_nothing_any_more_is_a_finding() {
    let shop = two_open_keys();
    let mut superuser = shop.db.superuser();
    superuser.batch_execute(ACCEPT).unwrap();
    superuser
        .batch_execute("ALTER TABLE shop.booking DROP first_one, DROP second_one")
        .unwrap();
    assert_eq!(findings(&shop), ["info|00-acceptance-unused|shop.booking"]);
    for fix in shop.check("fix") {
        superuser.batch_execute(&fix).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn accepting_needs_a_finding_a_reason_and_the_right() {
    let shop = two_open_keys();
    let mut superuser = shop.db.superuser();
    expect_error(
        superuser
            .batch_execute("SELECT tenant_guard.accept_finding('26-x', 'shop.booking', 'typing')"),
        "42704",
        "there is no finding 26-x of shop.booking",
    );
    expect_error(
        superuser.batch_execute(&ACCEPT.replace("ids are random", " ")),
        "22023",
        "reason must not be empty",
    );
    let auditor = shop.db.role("auditor");
    superuser
        .batch_execute(&format!("GRANT tenant_guard_auditor TO {auditor}"))
        .unwrap();
    expect_error(
        shop.db.connect_as(&auditor).batch_execute(ACCEPT),
        "42501",
        "permission denied for function accept_finding",
    );
}

#[test]
fn acceptances_are_dumped() {
    let shop = two_open_keys();
    shop.db.superuser().batch_execute(ACCEPT).unwrap();
    let dump = String::from_utf8(
        shop.db
            .pg_dump(&["--table=tenant_guard.finding_acceptance"]),
    )
    .unwrap();
    assert!(dump.contains("ids are random"), "{dump}");
}

#[test]
fn reports_hold_every_finding() {
    let shop = two_open_keys();
    let mut superuser = shop.db.superuser();
    superuser.batch_execute(ACCEPT).unwrap();
    shop.unguarded()
        .batch_execute("ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    let json = "SELECT f ->> 'severity', f ->> 'code', f ->> 'object', f ->> 'accepted', f ->> 'fix' <> ''
                FROM jsonb_array_elements(tenant_guard.check_report(schemas => '{shop}') -> 'findings') AS f
                WHERE f ->> 'severity' = 'error' AND f ->> 'code' NOT LIKE '58-%'";
    let accepted = "error|26-foreign-key-without-account|shop.booking|\
                    accepted by postgres: ids are random|t";
    assert_eq!(
        lines(&mut superuser, json),
        [
            "error|01-row-security-not-forced|shop.contact|<null>|t",
            accepted,
            accepted
        ]
    );
    let sarif = "SELECT r ->> 'ruleId', r ->> 'level', r -> 'message' ->> 'text',
                     r #>> '{locations,0,logicalLocations,0,fullyQualifiedName}',
                     jsonb_array_length(r -> 'suppressions')
                 FROM (SELECT tenant_guard.check_report('sarif', '{shop}') -> 'runs' -> 0) AS t (run),
                     jsonb_array_elements(run -> 'results') AS r
                 WHERE r ->> 'level' = 'error' AND r ->> 'ruleId' LIKE '01-%'";
    assert_eq!(
        lines(&mut superuser, sarif),
        [format!(
            "01-row-security-not-forced|error|shop.contact: row security does not hold for the owner, \
             role {}|shop.contact|0",
            shop.owner
        )]
    );
    expect_error(
        superuser.batch_execute("SELECT tenant_guard.check_report('xml')"),
        "22023",
        "format \"xml\" is not json or sarif",
    );
}

#[test]
fn gate_fails_the_command_until_everything_is_mended_or_accepted() {
    let shop = two_open_keys();
    shop.db.accept_its_age();
    let gate = |command: &str| {
        let output = shop
            .db
            .psql(&["-v", "ON_ERROR_STOP=1", "-qc", command], b"");
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (status, said) = gate("SELECT tenant_guard.check_gate(schemas => '{shop}')");
    assert_eq!(status, Some(1));
    assert!(said.contains("ERROR:  2 open findings"), "{said}");
    assert!(said.contains(&FOUND.replace('|', " ")), "{said}");
    shop.db.superuser().batch_execute(ACCEPT).unwrap();
    assert_eq!(
        gate("SELECT tenant_guard.check_gate(schemas => '{shop}')").0,
        Some(0)
    );
    shop.db
        .superuser()
        .batch_execute("CREATE INDEX ON shop.contact (lower(name))")
        .unwrap();
    assert_eq!(
        gate("SELECT tenant_guard.check_gate('error', '{shop}')").0,
        Some(0)
    );
    assert_eq!(
        gate("SELECT tenant_guard.check_gate('info', '{shop}')").0,
        Some(1)
    );
    expect_error(
        shop.db
            .superuser()
            .batch_execute("SELECT tenant_guard.check_gate('bad')"),
        "22023",
        "severity \"bad\" is not error, warning or info",
    );
}
