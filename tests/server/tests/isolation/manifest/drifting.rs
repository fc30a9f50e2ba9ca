//! What stands otherwise than is registered.

use tenant_guard_tests::{ACCOUNT_A, expect_error};

use super::*;

#[test]
fn each_alteration_is_drift_and_its_statement_mends_it() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let steps = apply(&mut owner, &manifest(&shop, &relations()));
    run(
        &mut owner,
        of_phase(&steps, "after").iter().map(|step| &step.statement),
    );
    let sound = everything(&shop);
    for (alteration, object, detail) in [
        (
            "ALTER TABLE shop.contact NO FORCE ROW LEVEL SECURITY",
            "shop.contact",
            "row security is off or not forced",
        ),
        (
            "ALTER TABLE shop.message_2_1 DISABLE ROW LEVEL SECURITY",
            "shop.message",
            "row security is off or not forced",
        ),
        (
            "DROP POLICY tenant_guard_floor ON shop.message_1",
            "shop.message",
            "a policy is missing",
        ),
        (
            "ALTER POLICY tenant_guard_access ON shop.note USING (true)",
            "shop.note",
            "a policy was altered",
        ),
        (
            "ALTER TABLE shop.contact ALTER account_id DROP DEFAULT",
            "shop.contact",
            "the default of the account column was changed",
        ),
        (
            "ALTER TABLE shop.contact ALTER account_id DROP NOT NULL",
            "shop.contact",
            "the account column may be null",
        ),
        (
            "GRANT TRUNCATE ON shop.person TO PUBLIC",
            "shop.party",
            "privileges that reach past row security were granted",
        ),
        (
            "ALTER TABLE shop.note DISABLE TRIGGER tenant_guard_capture",
            "shop.note",
            "a trigger does not fire always",
        ),
        (
            "DROP TRIGGER tenant_guard_capture_truncate ON shop.note",
            "shop.note",
            "a trigger is missing",
        ),
        (
            "DROP POLICY tenant_guard_assurance_delete ON shop.contact",
            "shop.contact",
            "a policy of assurance was altered",
        ),
    ] {
        // Past the guards, as a superuser's mistake.
        let mut superuser = shop.db.superuser();
        let _ = superuser.batch_execute("SET tenant_guard.guards = off");
        superuser.batch_execute(alteration).unwrap();
        let found = drift(&shop, "object, state, split_part(detail, ':', 1)");
        let expected = format!("{object}|drift|{detail}");
        assert!(found.contains(&expected), "{alteration}: {found:?}");
        assert_eq!(
            drift(&shop, "DISTINCT object, state"),
            [format!("{object}|drift")]
        );
        let mend = drift(&shop, "DISTINCT statement");
        run(&mut owner, &mend);
        assert_eq!(
            drift(&shop, "object, detail"),
            [] as [&str; 0],
            "{alteration}"
        );
    }
    assert_eq!(everything(&shop), sound);
}

#[test]
fn apply_of_the_same_manifest_mends_drift() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    let wanted = manifest(&shop, &relations());
    apply(&mut owner, &wanted);
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute("ALTER TABLE shop.note NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    let steps = of_phase(&apply(&mut owner, &wanted), "apply");
    assert_eq!(
        steps,
        [Step {
            phase: "apply".into(),
            object: "shop.note".into(),
            statement: "SELECT tenant_guard.protect('shop.note', via => 'contact_id', \
                        parent => 'shop.contact')"
                .into(),
            reverse: None,
        }]
    );
    assert_eq!(drift(&shop, "DISTINCT state"), ["pending"]);
}

#[test]
fn partition_that_came_later_is_drift() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(
        &mut owner,
        &manifest(&shop, &json!({"shop.message": {"index": false}})),
    );
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute(&format!(
            "SET ROLE {};
             CREATE TABLE shop.message_3 PARTITION OF shop.message
                 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            shop.owner
        ))
        .unwrap();
    let found = drift(&shop, "DISTINCT split_part(detail, ':', 1)");
    assert!(
        found.contains(&"a partition or child is not protected".to_owned()),
        "{found:?}"
    );
    run(&mut owner, &drift(&shop, "DISTINCT statement"));
    assert_eq!(drift(&shop, "object, detail"), [] as [&str; 0]);
}

#[test]
fn account_column_that_is_gone_is_drift_without_a_remedy() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(
        &mut owner,
        &manifest(&shop, &json!({"shop.contact": {"index": false}})),
    );
    let mut superuser = shop.db.superuser();
    let _ = superuser.batch_execute("SET tenant_guard.guards = off");
    superuser
        .batch_execute("ALTER TABLE shop.contact DROP COLUMN account_id CASCADE")
        .unwrap();
    assert_eq!(
        drift(&shop, "object, state, detail"),
        ["shop.contact|drift|column \"account_id\" of relation shop.contact does not exist"]
    );
}

#[test]
fn auditor_sees_no_drift_in_tables_of_other_owners() {
    let shop = Shop::with(SCHEMA);
    apply(&mut shop.owner(), &manifest(&shop, &relations()));
    shop.run("REVOKE USAGE ON SCHEMA shop FROM PUBLIC");
    let auditor = shop.db.role("auditor");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_auditor TO {auditor}"))
        .unwrap();
    let drifted = "SELECT object, detail FROM tenant_guard.drift() WHERE state = 'drift'";
    assert_eq!(lines(&mut shop.db.connect_as(&auditor), drifted), [""; 0]);
    shop.unguarded()
        .batch_execute("ALTER TABLE shop.note NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    assert_eq!(
        lines(&mut shop.db.connect_as(&auditor), drifted),
        lines(&mut shop.db.superuser(), drifted)
    );
    assert_eq!(drift(&shop, "object")[..1], ["shop.note"]);
}

#[test]
fn renamed_columns_are_drift_and_the_statement_names_them_as_they_are() {
    let shop = Shop::with(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid NOT NULL, url text);
         CREATE TABLE shop.note (id int PRIMARY KEY, contact_id int NOT NULL REFERENCES shop.contact);
         CREATE TABLE shop.mark (id int PRIMARY KEY, of int NOT NULL);
         SELECT tenant_guard.protect('shop.contact', redact => '{url}');
         SELECT tenant_guard.protect('shop.note', via => 'contact_id');
         SELECT tenant_guard.protect('shop.mark', via => 'of', parent => 'shop.contact')",
    );
    shop.run(
        "ALTER TABLE shop.note RENAME COLUMN contact_id TO \"It's\";
         ALTER TABLE shop.mark RENAME COLUMN of TO contact;
         ALTER TABLE shop.contact RENAME COLUMN url TO uri",
    );
    let contact = "SELECT tenant_guard.protect('shop.contact', account_column => 'account_id', \
                   roles => NULL, redact => '{uri}', audit => true)";
    let note = "SELECT tenant_guard.protect('shop.note', roles => NULL, redact => '{}', audit => true, \
                archetype => 'child', via => 'It''s', parent => 'shop.contact')";
    let query = "SELECT object, detail, statement FROM tenant_guard.drift() WHERE state = 'drift'";
    assert_eq!(
        lines(&mut shop.owner(), query),
        [
            format!(
                "shop.contact|column \"url\" of relation shop.contact does not exist|{contact}"
            ),
            // Without a foreign key nothing says which column it is now.
            "shop.mark|column mark.of does not exist|<null>".to_owned(),
            format!("shop.note|column note.contact_id does not exist|{note}"),
            "shop.contact|column url is not the one that protect() named|<null>".to_owned(),
        ]
    );
    shop.run(contact);
    shop.run(note);
    shop.run(
        "SELECT tenant_guard.protect('shop.mark', via => 'contact', parent => 'shop.contact')",
    );
    assert_eq!(lines(&mut shop.owner(), query), [""; 0]);
}

#[test]
fn redaction_that_is_left_off_is_warned_of_and_its_hint_names_it() {
    let shop = Shop::with(
        "CREATE TABLE shop.webhook (id int PRIMARY KEY, account_id uuid NOT NULL, url text, secret text);
         SELECT tenant_guard.protect('shop.webhook', redact => '{url,secret}');
         ALTER TABLE shop.webhook RENAME COLUMN url TO uri",
    );
    shop.within(ACCOUNT_A, |session| {
        let error = session
            .batch_execute("INSERT INTO shop.webhook (id) VALUES (1)")
            .unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55000");
        assert_eq!(
            error.hint(),
            Some(
                "Call tenant_guard.protect() on the table again, with redact naming every column that is \
                 to be left out by the name it has now, or tenant_guard.audit() or \
                 tenant_guard.annotate() where that named the column."
            )
        );
    });
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT {} TO {admin}", shop.owner))
        .unwrap();
    let (mut session, notices) = shop.db.connect_with_notices(&admin);
    session
        .batch_execute("SELECT tenant_guard.protect('shop.webhook', redact => '{uri,secret}')")
        .unwrap();
    assert_eq!(notices.take(), [""; 0]);
    session
        .batch_execute("SELECT tenant_guard.protect('shop.webhook')")
        .unwrap();
    assert_eq!(
        notices.take(),
        [
            "01000: changes of relation shop.webhook are recorded with the values of uri, secret, which redact no \
          longer names"
        ]
    );
}

/// It was not compared, which says nothing of how it stands.
#[test]
fn relation_that_somebody_locks_has_not_drifted() {
    let shop = Shop::with(SCHEMA);
    let mut owner = shop.owner();
    apply(&mut owner, &manifest(&shop, &relations()));
    let mut other = shop.db.superuser();
    let mut holding = other.transaction().unwrap();
    holding
        .batch_execute("LOCK TABLE shop.note IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    owner.batch_execute("SET lock_timeout = '20ms'").unwrap();
    expect_error(
        owner.query("SELECT * FROM tenant_guard.drift()", &[]),
        "55P03",
        "canceling statement due to lock timeout",
    );
}
