//! Tables that come to stand below a protected one.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::super::Shop;
use super::{done, findings, members, refused};

/// A protected partitioned table whose owner is no admin, and sub-partitions.
fn messages() -> Shop {
    let shop = Shop::with(
        "CREATE TABLE shop.message (account_id uuid, at int, secret text) PARTITION BY LIST (at);
         CREATE TABLE shop.message_1 PARTITION OF shop.message FOR VALUES IN (1);
         CREATE TABLE shop.message_2 PARTITION OF shop.message FOR VALUES IN (2, 3)
             PARTITION BY LIST (at);
         SELECT tenant_guard.protect('shop.message', redact => '{secret}');
         SELECT tenant_guard.require_assurance('shop.message', 'aal2', '{delete}')",
    );
    done(
        &mut shop.db.superuser(),
        &format!("REVOKE tenant_guard_admin FROM {}", shop.owner),
    );
    shop
}

/// Asserts that the relation is as protected as one made before: reads, writes and the log.
#[track_caller]
fn assert_protected(shop: &Shop, relation: &str, value: i32) {
    assert_eq!(findings(shop), [""; 0]);
    done(
        &mut shop.db.superuser(),
        &format!(
            "GRANT SELECT, INSERT, DELETE ON {relation} TO {};
             INSERT INTO {relation} VALUES ('{ACCOUNT_A}', {value}, 'hush'),
                 ('{ACCOUNT_B}', {value}, 'hush')",
            shop.app
        ),
    );
    shop.within(ACCOUNT_A, |t| {
        let query = format!("SELECT account_id FROM {relation}");
        assert_eq!(lines(t, &query), [ACCOUNT_A]);
        let delete = format!("DELETE FROM {relation}");
        let mut savepoint = t.transaction().unwrap();
        tenant_guard_tests::expect_error(savepoint.batch_execute(&delete), "42501", "aal2");
    });
    let logged = format!(
        "SELECT account_id, redacted FROM tenant_guard.audit_log WHERE action = 'insert'
             AND '{relation}' IN (relation, leaf_relation) ORDER BY account_id"
    );
    assert_eq!(
        lines(&mut shop.db.superuser(), &logged),
        [
            format!("{ACCOUNT_A}|{{secret}}"),
            format!("{ACCOUNT_B}|{{secret}}")
        ]
    );
}

#[test]
fn new_partition_is_protected_though_its_author_is_no_admin() {
    let shop = messages();
    done(
        &mut shop.owner(),
        "CREATE TABLE shop.message_4 PARTITION OF shop.message FOR VALUES IN (4)",
    );
    assert_protected(&shop, "shop.message_4", 4);
}

#[test]
fn new_partition_of_a_partition_is_protected() {
    let shop = messages();
    done(
        &mut shop.owner(),
        "CREATE TABLE shop.message_3 PARTITION OF shop.message_2 FOR VALUES IN (3)",
    );
    assert_protected(&shop, "shop.message_3", 3);
    assert_eq!(
        members(&shop),
        [
            "shop.message|shop.message",
            "shop.message_1|shop.message",
            "shop.message_2|shop.message",
            "shop.message_3|shop.message",
        ]
    );
}

#[test]
fn attached_table_and_its_partitions_are_protected() {
    let shop = messages();
    done(
        &mut shop.owner(),
        "CREATE TABLE shop.message_4 (account_id uuid NOT NULL, at int, secret text)
             PARTITION BY LIST (at);
         CREATE TABLE shop.message_4a PARTITION OF shop.message_4 FOR VALUES IN (4);
         ALTER TABLE shop.message ATTACH PARTITION shop.message_4 FOR VALUES IN (4)",
    );
    assert_protected(&shop, "shop.message_4a", 4);
}

#[test]
fn copy_by_like_is_protected_and_can_be_attached() {
    let shop = messages();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE TABLE shop.message_4 (LIKE shop.message INCLUDING ALL)",
    );
    assert_protected(&shop, "shop.message_4", 4);
    done(
        &mut owner,
        "ALTER TABLE shop.message ATTACH PARTITION shop.message_4 FOR VALUES IN (4)",
    );
    assert_eq!(findings(&shop), [""; 0]);
    assert!(members(&shop).contains(&"shop.message_4|shop.message".to_owned()));
    let row_triggers = "SELECT tgparentid <> 0 FROM pg_trigger
        WHERE tgrelid = 'shop.message_4'::regclass AND tgname = 'tenant_guard_capture'";
    assert_eq!(lines(&mut owner, row_triggers), ["t"]);
}

#[test]
fn attaching_what_fails_leaves_everything_as_it_was() {
    let shop = messages();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE TABLE shop.message_4 (LIKE shop.message)",
    );
    let before = shop.dump();
    refused(
        &mut owner,
        "ALTER TABLE shop.message ATTACH PARTITION shop.message_4 FOR VALUES IN (1)",
        "42P17",
        "would overlap partition",
    );
    assert_eq!(shop.dump(), before);
}

#[test]
fn child_by_inheritance_is_protected_or_refused_with_its_rows_without_account() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    done(
        &mut owner,
        &format!(
            "CREATE TABLE shop.person () INHERITS (shop.contact);
             CREATE TABLE shop.loose (id int NOT NULL, account_id uuid NOT NULL, name text);
             INSERT INTO shop.loose VALUES (1, '{ACCOUNT_B}', 'bea');
             ALTER TABLE shop.loose INHERIT shop.contact"
        ),
    );
    assert_eq!(
        members(&shop),
        [
            "shop.contact|shop.contact",
            "shop.loose|shop.contact",
            "shop.person|shop.contact",
        ]
    );
    assert_eq!(findings(&shop), [""; 0]);
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT name FROM shop.loose"), [""; 0]);
    });

    // The NOT NULL of a parent does not stop a child where it was taken off again.
    done(
        &mut owner,
        "ALTER TABLE shop.contact ALTER account_id DROP NOT NULL;
         CREATE TABLE shop.nulls (id int NOT NULL, account_id uuid, name text);
         INSERT INTO shop.nulls VALUES (1, NULL, 'nobody')",
    );
    refused(
        &mut owner,
        "ALTER TABLE shop.nulls INHERIT shop.contact",
        "23502",
        "column \"account_id\" has null values: 1 in shop.nulls",
    );
}

#[test]
fn partition_of_another_owner_who_logs_in_is_refused() {
    let shop = messages();
    let developer = shop.db.role("developer");
    done(
        &mut shop.db.superuser(),
        &format!(
            "GRANT {} TO {developer}; GRANT CREATE ON SCHEMA shop TO {developer}",
            shop.owner
        ),
    );
    let mut session = shop.db.connect_as(&developer);
    let create = "CREATE TABLE shop.message_4 PARTITION OF shop.message FOR VALUES IN (4)";
    refused(
        &mut session,
        create,
        "42501",
        "relation shop.message_4 belongs to another role, which can log in",
    );
    done(&mut session, &format!("SET ROLE {}; {create}", shop.owner));
    assert_eq!(findings(&shop), [format!("05-member-of-owner|{developer}")]);
}

#[test]
fn foreign_table_as_partition_is_refused() {
    let shop = messages();
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        "CREATE FOREIGN DATA WRAPPER nowhere;
         CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere",
    );
    refused(
        &mut superuser,
        "CREATE FOREIGN TABLE shop.far PARTITION OF shop.message FOR VALUES IN (4) SERVER nowhere",
        "42809",
        "shop.far is a foreign table",
    );
}

#[test]
fn partition_made_with_the_guards_off_is_found_and_leaves_an_event() {
    let shop = messages();
    done(
        &mut shop.unguarded_owner(),
        "CREATE TABLE shop.message_4 PARTITION OF shop.message FOR VALUES IN (4)",
    );
    assert_eq!(findings(&shop), ["13-child-not-protected|shop.message_4"]);
    let events = "SELECT relation, data::jsonb ->> 'command' FROM tenant_guard.audit_log
                  WHERE action = 'guards off'";
    assert_eq!(
        lines(&mut shop.db.superuser(), events),
        ["shop.message_4|CREATE TABLE"]
    );
}

#[test]
fn detached_partition_keeps_policies_and_capture() {
    let shop = messages();
    done(
        &mut shop.owner(),
        "ALTER TABLE shop.message DETACH PARTITION shop.message_1",
    );
    assert_protected(&shop, "shop.message_1", 1);
}

#[test]
fn attaching_waits_for_no_reader_of_the_others() {
    let shop = messages();
    let mut reader = shop.db.superuser();
    let mut reading = reader.transaction().unwrap();
    reading.batch_execute("SELECT FROM shop.message").unwrap();
    done(
        &mut shop.owner(),
        "SET lock_timeout = '5s';
         CREATE TABLE shop.message_4 (LIKE shop.message);
         ALTER TABLE shop.message ATTACH PARTITION shop.message_4 FOR VALUES IN (4)",
    );
}

#[test]
fn partition_goes_with_unprotect_to_what_it_would_have_been() {
    let made_before = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1)",
    );
    let made_under = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         SELECT tenant_guard.protect('shop.t');
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         SELECT tenant_guard.unprotect('shop.t')",
    );
    let named = |shop: &Shop| shop.dump().replace(shop.db.name(), "db");
    assert_eq!(named(&made_under), named(&made_before));
}

#[test]
fn parent_that_is_open_or_protected_less_is_no_way_around() {
    let shop = Shop::contacts();
    done(
        &mut shop.owner(),
        "CREATE TABLE shop.plain (id int);
         CREATE TABLE shop.whole (id int NOT NULL, account_id uuid NOT NULL, name text)
             PARTITION BY LIST (id);
         CREATE TABLE shop.word (id int, name text);
         SELECT tenant_guard.protect('shop.word', archetype => 'reference');
         CREATE TABLE shop.unlogged (id int, account_id uuid NOT NULL, name text);
         SELECT tenant_guard.protect('shop.unlogged', audit => false);
         CREATE TABLE shop.same (id int, account_id uuid NOT NULL, name text);
         SELECT tenant_guard.protect('shop.same');
         CREATE TABLE shop.wide (id int, account_id uuid NOT NULL, name text);
         SELECT tenant_guard.protect('shop.wide');
         SELECT tenant_guard.define_role('clerk');
         SELECT tenant_guard.allow('clerk', 'shop.same', '{select}')",
    );
    let refused_below = |command: &str, member: &str, above: &str| {
        let message = format!(
            "protected relation {member} cannot be part of {above}, which is not protected as it is"
        );
        for mut session in [shop.owner(), shop.db.superuser()] {
            refused(&mut session, command, "42501", &message);
        }
    };
    for above in ["shop.plain", "shop.word", "shop.unlogged"] {
        let inherit = format!("ALTER TABLE shop.contact INHERIT {above}");
        refused_below(&inherit, "shop.contact", above);
    }
    let inherit = "ALTER TABLE shop.same INHERIT shop.wide";
    refused_below(inherit, "shop.same", "shop.wide");
    let attach = "ALTER TABLE shop.whole ATTACH PARTITION shop.contact DEFAULT";
    refused_below(attach, "shop.contact", "shop.whole");
    let both = "CREATE TABLE shop.child () INHERITS (shop.contact, shop.plain)";
    refused_below(both, "shop.child", "shop.plain");

    // One that is the same, or comes to be protected by what is above it, is.
    done(
        &mut shop.owner(),
        "DROP TABLE shop.whole;
         ALTER TABLE shop.contact INHERIT shop.wide",
    );
    assert_eq!(findings(&shop), [""; 0]);
    done(
        &mut shop.unguarded_owner(),
        "ALTER TABLE shop.contact INHERIT shop.plain",
    );
    assert_eq!(findings(&shop), ["13-child-not-protected|shop.plain"]);
}
