//! Foreign keys held to the account, by themselves and by triggers.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::super::Shop;

pub(super) const BIND: &str =
    "SELECT relation, statement FROM tenant_guard.bind_foreign_keys('shop')";
const PLAN: &str = "SELECT relation, statement FROM tenant_guard.bind_foreign_keys('shop', true)";
const KEYS: &str = "SELECT conrelid::regclass, pg_get_constraintdef(oid), convalidated
    FROM pg_constraint WHERE contype = 'f' AND connamespace = 'shop'::regnamespace
    ORDER BY 1, 2";

/// Contacts and bookings of two accounts, without a key of the kind asked for yet: contact 1 and
/// booking 10 are A's, contact 2 is B's.
pub(super) fn shop(ddl: &str) -> Shop {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.booking (id int PRIMARY KEY, account_id uuid, contact_id int);
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.booking VALUES (10, '{ACCOUNT_A}', 1);
         SELECT tenant_guard.protect_schema('shop')"
    ));
    run_unseeing(&shop, ddl);
    shop
}

/// Runs statements as the owner, who under FORCE sees the rows of an account that has none: so
/// PostgreSQL takes every key for valid.
pub(super) fn run_unseeing(shop: &Shop, statements: &str) {
    let mut owner = shop.owner();
    let mut transaction = owner.transaction().unwrap();
    shop.issuer
        .sign_in(&mut transaction, "cccccccc-cccc-4ccc-8ccc-cccccccccccc");
    transaction.batch_execute(statements).unwrap();
    transaction.commit().unwrap();
}

pub(super) fn key(clauses: &str) -> String {
    format!(
        "ALTER TABLE shop.booking ADD CONSTRAINT k FOREIGN KEY (contact_id)
             REFERENCES shop.contact {clauses}"
    )
}

#[track_caller]
pub(super) fn refused(client: &mut Client, statement: &str, sqlstate: &str, message: &str) {
    expect_error(client.batch_execute(statement), sqlstate, message);
}

/// What account A cannot write through a session of the application.
#[track_caller]
fn refused_to_a(shop: &Shop, statement: &str, sqlstate: &str, message: &str) {
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    expect_error(transaction.batch_execute(statement), sqlstate, message);
}

#[track_caller]
fn done_by_a(shop: &Shop, statement: &str) {
    shop.within(ACCOUNT_A, |transaction| {
        transaction.batch_execute(statement).unwrap();
    });
}

#[test]
fn pointing_at_a_row_of_another_account_is_refused_once_the_key_is_bound() {
    let shop = shop(&key("ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE"));
    done_by_a(
        &shop,
        "UPDATE shop.booking SET contact_id = 2 WHERE id = 10",
    );
    done_by_a(
        &shop,
        "UPDATE shop.booking SET contact_id = 1 WHERE id = 10",
    );
    let mut owner = shop.owner();
    let planned = lines(&mut owner, PLAN);
    // A key that would set the account too is held by triggers.
    let (statements, bound) = if shop.db.sets_some_columns() {
        (
            vec![
                "shop.contact|ALTER TABLE shop.contact ADD UNIQUE (account_id, id)",
                "shop.booking|SELECT tenant_guard.replace_foreign_key('shop.booking', 'k', \
                 'FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact (account_id, id) \
                 ON UPDATE CASCADE ON DELETE SET NULL (contact_id) DEFERRABLE')",
            ],
            "shop.booking|FOREIGN KEY (account_id, contact_id) \
             REFERENCES shop.contact(account_id, id) \
             ON UPDATE CASCADE ON DELETE SET NULL (contact_id) DEFERRABLE|t",
        )
    } else {
        (
            vec![
                "shop.booking|CREATE CONSTRAINT TRIGGER tenant_guard_bind_k \
                 AFTER INSERT OR UPDATE ON shop.booking DEFERRABLE FOR EACH ROW \
                 EXECUTE FUNCTION tenant_guard.check_binding('k')",
                "shop.booking|ALTER TABLE shop.booking ENABLE ALWAYS TRIGGER tenant_guard_bind_k",
                "shop.contact|CREATE CONSTRAINT TRIGGER tenant_guard_bound_k \
                 AFTER UPDATE ON shop.contact DEFERRABLE FOR EACH ROW \
                 EXECUTE FUNCTION tenant_guard.check_bound('k')",
                "shop.contact|ALTER TABLE shop.contact ENABLE ALWAYS TRIGGER tenant_guard_bound_k",
            ],
            "shop.booking|FOREIGN KEY (contact_id) REFERENCES shop.contact(id) \
             ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE|t",
        )
    };
    assert_eq!(planned, statements);
    assert_eq!(lines(&mut owner, BIND), planned);
    assert_eq!(lines(&mut owner, BIND), [""; 0]);
    assert_eq!(lines(&mut owner, KEYS), [bound]);
    refused_to_a(
        &shop,
        "UPDATE shop.booking SET contact_id = 2 WHERE id = 10",
        "23503",
        "violates foreign key constraint \"k\"",
    );
    done_by_a(&shop, "DELETE FROM shop.contact WHERE id = 1");
    assert_eq!(
        lines(
            &mut shop.db.superuser(),
            "SELECT account_id, contact_id FROM shop.booking"
        ),
        [format!("{ACCOUNT_A}|<null>")]
    );
    assert_eq!(
        shop.check_where("code, object", "code LIKE '26-%'"),
        [""; 0]
    );
}

#[test]
fn a_key_that_the_owner_validated_under_force_over_broken_rows_is_found_out() {
    let shop = shop("");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.booking VALUES (11, '{ACCOUNT_A}', 2), (12, '{ACCOUNT_B}', 1)"
        ))
        .unwrap();
    run_unseeing(&shop, &key(""));
    let before = shop.dump();
    let mut owner = shop.owner();
    for call in [PLAN, BIND] {
        let error = owner.query(call, &[]).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "23503");
        assert_eq!(
            error.message(),
            "foreign keys of schema \"shop\" cannot be bound to the account"
        );
        assert_eq!(
            error.detail(),
            Some("2 rows of shop.booking refer to a row of another account by key \"k\"")
        );
    }
    assert_eq!(shop.dump(), before);
}

#[test]
fn a_key_that_is_not_enforced_says_what_refers_and_is_bound_to_nothing() {
    let shop = shop(&key(""));
    if shop.db.version() < 18 {
        return;
    }
    run_unseeing(
        &shop,
        "ALTER TABLE shop.booking ALTER CONSTRAINT k NOT ENFORCED",
    );
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.booking VALUES (11, '{ACCOUNT_A}', 2)"
        ))
        .unwrap();
    shop.owner().batch_execute(BIND).unwrap();
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'k'";
    assert_eq!(
        lines(&mut superuser, key),
        ["FOREIGN KEY (contact_id) REFERENCES shop.contact(id) NOT ENFORCED"]
    );
    let crossing = "SELECT object, count FROM tenant_guard.check_data()";
    assert_eq!(lines(&mut shop.owner(), crossing), ["shop.booking|1"]);
}

#[test]
fn a_key_that_was_never_validated_is_validated_or_its_rows_are_counted() {
    let shop = shop("");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.booking VALUES (11, '{ACCOUNT_A}', 9)"
        ))
        .unwrap();
    run_unseeing(&shop, &key("NOT VALID"));
    let mut owner = shop.owner();
    let error = owner.query(BIND, &[]).unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().detail(),
        Some("1 rows of shop.booking refer to no row by key \"k\", which was never validated")
    );
    superuser
        .batch_execute("DELETE FROM shop.booking WHERE id = 11")
        .unwrap();
    owner.batch_execute(BIND).unwrap();
    assert_eq!(
        lines(&mut owner, KEYS),
        ["shop.booking|FOREIGN KEY (account_id, contact_id) \
          REFERENCES shop.contact(account_id, id)|t"]
    );
}

#[test]
fn an_index_that_is_there_is_used_again_and_a_self_reference_is_bound() {
    let shop = shop(
        "ALTER TABLE shop.booking ADD COLUMN former int REFERENCES shop.booking ON DELETE CASCADE;
         CREATE UNIQUE INDEX ON shop.booking (id, account_id) INCLUDE (contact_id)",
    );
    let mut owner = shop.owner();
    assert_eq!(
        lines(&mut owner, BIND),
        [
            "shop.booking|SELECT tenant_guard.replace_foreign_key('shop.booking', \
          'booking_former_fkey', 'FOREIGN KEY (account_id, former) \
          REFERENCES shop.booking (account_id, id) ON DELETE CASCADE')"
        ]
    );
    done_by_a(
        &shop,
        "INSERT INTO shop.booking (id, former) VALUES (11, 10), (12, 12)",
    );
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.booking VALUES (20, '{ACCOUNT_B}')"
        ))
        .unwrap();
    refused_to_a(
        &shop,
        "UPDATE shop.booking SET former = 20 WHERE id = 11",
        "23503",
        "violates foreign key constraint \"booking_former_fkey\"",
    );
}

#[test]
fn partitions_on_both_sides_and_keys_of_several_columns_are_bound() {
    let shop = shop("");
    let deleted = if shop.db.sets_some_columns() {
        "ON DELETE SET NULL (b)"
    } else {
        "ON DELETE CASCADE"
    };
    let tables = format!(
        "CREATE TABLE shop.part (a int, b text, account_id uuid, PRIMARY KEY (a, b))
             PARTITION BY LIST (a);
         CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES IN (1);
         CREATE TABLE shop.item (a int, b text, account_id uuid, n int,
             CONSTRAINT k FOREIGN KEY (a, b) REFERENCES shop.part {deleted})
             PARTITION BY RANGE (n);
         CREATE TABLE shop.item_1 PARTITION OF shop.item FOR VALUES FROM (0) TO (10);
         SELECT tenant_guard.protect_schema('shop')"
    );
    run_unseeing(&shop, &tables);
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.part VALUES (1, 'mine', '{ACCOUNT_A}'), (1, 'theirs', '{ACCOUNT_B}');
             INSERT INTO shop.item VALUES (1, 'theirs', '{ACCOUNT_A}', 1)"
        ))
        .unwrap();
    let mut owner = shop.owner();
    refused(&mut owner, BIND, "23503", "cannot be bound");
    superuser
        .batch_execute("UPDATE shop.item SET b = 'mine'")
        .unwrap();
    owner.batch_execute(BIND).unwrap();
    shop.run("CREATE TABLE shop.item_2 PARTITION OF shop.item FOR VALUES FROM (10) TO (20)");
    for n in [1, 11] {
        refused_to_a(
            &shop,
            &format!("INSERT INTO shop.item (a, b, n) VALUES (1, 'theirs', {n})"),
            "23503",
            "violates foreign key constraint \"k\"",
        );
        done_by_a(
            &shop,
            &format!("INSERT INTO shop.item (a, b, n) VALUES (1, 'mine', {n})"),
        );
    }
}

#[test]
fn a_parent_in_another_schema_is_bound_and_one_of_another_owner_refused() {
    let shop = shop("");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "CREATE SCHEMA other AUTHORIZATION {owner};
             SET ROLE {owner};
             CREATE TABLE other.thing (id int PRIMARY KEY, account_id uuid);
             SELECT tenant_guard.protect('other.thing');
             ALTER TABLE shop.booking ADD CONSTRAINT k
                 FOREIGN KEY (contact_id) REFERENCES other.thing NOT VALID;
             RESET ROLE;
             DELETE FROM shop.booking;
             CREATE ROLE {owner}_else NOLOGIN;
             ALTER TABLE other.thing OWNER TO {owner}_else",
            owner = shop.owner
        ))
        .unwrap();
    let mut owner = shop.owner();
    refused(
        &mut owner,
        BIND,
        "42501",
        "must be owner of relation other.thing",
    );
    superuser
        .batch_execute(&format!("ALTER TABLE other.thing OWNER TO {}", shop.owner))
        .unwrap();
    owner.batch_execute(BIND).unwrap();
    assert_eq!(
        lines(&mut owner, KEYS),
        ["shop.booking|FOREIGN KEY (account_id, contact_id) \
          REFERENCES other.thing(account_id, id)|t"]
    );
}

#[test]
fn a_key_that_names_accounts_is_left_alone() {
    let shop = Shop::with(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY, parent_id uuid REFERENCES shop.account);
         SELECT tenant_guard.protect('shop.account', 'id')",
    );
    assert_eq!(lines(&mut shop.owner(), BIND), [""; 0]);
    assert_eq!(
        shop.check_where("code, object", "code LIKE '26-%'"),
        [""; 0]
    );
}

/// A key to templates of which some are everybody's: template 1 is A's, 2 B's, 3 nobody's.
pub(super) fn templates() -> Shop {
    let shop = shop(
        "CREATE TABLE shop.template (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.template', archetype => 'shared_defaults');
         ALTER TABLE shop.booking ADD COLUMN template_id int
             CONSTRAINT t REFERENCES shop.template ON UPDATE SET NULL DEFERRABLE",
    );
    shop.db
        .superuser()
        .batch_execute(&format!(
            "INSERT INTO shop.template VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}'), (3, NULL)"
        ))
        .unwrap();
    assert_eq!(
        lines(&mut shop.owner(), BIND),
        [
            "shop.booking|CREATE CONSTRAINT TRIGGER tenant_guard_bind_t AFTER INSERT OR UPDATE \
             ON shop.booking DEFERRABLE FOR EACH ROW \
             EXECUTE FUNCTION tenant_guard.check_binding('t')",
            "shop.booking|ALTER TABLE shop.booking ENABLE ALWAYS TRIGGER tenant_guard_bind_t",
            "shop.template|CREATE CONSTRAINT TRIGGER tenant_guard_bound_t AFTER UPDATE \
             ON shop.template DEFERRABLE FOR EACH ROW \
             EXECUTE FUNCTION tenant_guard.check_bound('t')",
            "shop.template|ALTER TABLE shop.template ENABLE ALWAYS TRIGGER tenant_guard_bound_t",
        ]
    );
    assert_eq!(lines(&mut shop.owner(), BIND), [""; 0]);
    shop
}

pub(super) const T: &str = "violates foreign key constraint \"t\"";

#[test]
fn a_template_of_another_account_is_refused_and_everybodys_is_taken() {
    let shop = templates();
    for id in [1, 3] {
        done_by_a(
            &shop,
            &format!("UPDATE shop.booking SET template_id = {id}"),
        );
    }
    refused_to_a(&shop, "UPDATE shop.booking SET template_id = 2", "23503", T);
    refused_to_a(
        &shop,
        "INSERT INTO shop.booking (id, template_id) VALUES (11, 2)",
        "23503",
        T,
    );
    // Said as PostgreSQL says it of a row that is not there.
    refused_to_a(
        &shop,
        "UPDATE shop.booking SET template_id = 99",
        "23503",
        T,
    );
    assert_eq!(
        shop.check_where("code, object", "code LIKE '26-%'"),
        [""; 0]
    );
}

#[test]
fn not_even_a_superuser_or_a_replica_points_into_another_account() {
    let shop = templates();
    let mut superuser = shop.db.superuser();
    let wrong = "UPDATE shop.booking SET template_id = 2";
    refused(&mut superuser, wrong, "23503", T);
    superuser
        .batch_execute("SET session_replication_role = replica")
        .unwrap();
    refused(&mut superuser, wrong, "23503", T);
    let moved = format!("UPDATE shop.template SET account_id = '{ACCOUNT_B}' WHERE id = 1");
    superuser
        .batch_execute("UPDATE shop.booking SET template_id = 1")
        .unwrap();
    refused(
        &mut superuser,
        &moved,
        "23503",
        "update or delete on table \"template\" violates foreign key constraint \"t\" on table \"booking\"",
    );
    superuser
        .batch_execute("UPDATE shop.template SET account_id = NULL WHERE id = 1")
        .unwrap();
}

#[test]
fn what_is_put_right_before_a_deferred_check_passes() {
    let shop = templates();
    done_by_a(
        &shop,
        "SET CONSTRAINTS ALL DEFERRED;
         UPDATE shop.booking SET template_id = 2; UPDATE shop.booking SET template_id = 1",
    );
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED;
             UPDATE shop.template SET account_id = '{ACCOUNT_B}' WHERE id = 1;
             UPDATE shop.booking SET account_id = '{ACCOUNT_B}'; COMMIT"
        ))
        .unwrap();
    refused(
        &mut superuser,
        &format!(
            "BEGIN; SET CONSTRAINTS ALL DEFERRED;
             UPDATE shop.booking SET account_id = '{ACCOUNT_A}'; COMMIT"
        ),
        "23503",
        T,
    );
}

#[test]
fn a_parent_that_moves_beside_an_open_reference_waits_and_is_refused() {
    let shop = templates();
    let mut session = shop.app();
    let mut open = session.transaction().unwrap();
    shop.issuer.sign_in(&mut open, ACCOUNT_A);
    open.batch_execute("UPDATE shop.booking SET template_id = 1")
        .unwrap();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("SET lock_timeout = '200ms'")
        .unwrap();
    let moved = format!("UPDATE shop.template SET account_id = '{ACCOUNT_B}' WHERE id = 1");
    refused(&mut superuser, &moved, "55P03", "lock timeout");
    open.commit().unwrap();
    refused(&mut superuser, &moved, "23503", T);
}

#[test]
fn a_reference_made_in_an_old_snapshot_sees_where_the_parent_is_now() {
    let shop = templates();
    let mut session = shop.app();
    let mut old = session
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()
        .unwrap();
    shop.issuer.sign_in(&mut old, ACCOUNT_A);
    old.batch_execute("SELECT FROM shop.booking").unwrap();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "UPDATE shop.template SET account_id = '{ACCOUNT_B}' WHERE id = 1"
        ))
        .unwrap();
    expect_error(
        old.batch_execute("INSERT INTO shop.booking (id, template_id) VALUES (11, 1)"),
        "23503",
        T,
    );
}

#[test]
fn taking_the_triggers_away_is_refused_while_they_hold_a_key() {
    let shop = templates();
    let mut owner = shop.owner();
    for (command, what) in [
        ("DROP TRIGGER tenant_guard_bind_t ON shop.booking", "drop"),
        ("DROP TRIGGER tenant_guard_bound_t ON shop.template", "drop"),
        (
            "ALTER TABLE shop.booking DISABLE TRIGGER tenant_guard_bind_t",
            "disable",
        ),
        (
            "ALTER TABLE shop.template ENABLE TRIGGER tenant_guard_bound_t",
            "change the firing of",
        ),
        (
            "ALTER TRIGGER tenant_guard_bind_t ON shop.booking RENAME TO away",
            "rename",
        ),
    ] {
        refused(
            &mut owner,
            command,
            "42501",
            &format!("cannot {what} trigger"),
        );
    }
    owner
        .batch_execute("ALTER TABLE shop.booking RENAME CONSTRAINT t TO u")
        .unwrap();
    refused_to_a(
        &shop,
        "UPDATE shop.booking SET template_id = 1",
        "55000",
        "foreign key \"t\" of shop.booking is held to the account, but is not there",
    );
    owner.batch_execute(BIND).unwrap();
    refused_to_a(
        &shop,
        "UPDATE shop.booking SET template_id = 2",
        "23503",
        "constraint \"u\"",
    );
    assert_eq!(lines(&mut owner, BIND), [""; 0]);
    owner
        .batch_execute(
            "ALTER TABLE shop.booking DROP CONSTRAINT u;
             DROP TRIGGER tenant_guard_bind_u ON shop.booking",
        )
        .unwrap();
}

#[test]
fn a_trigger_under_our_name_that_never_fires_is_refused_and_counts_for_nothing() {
    let shop = shop("");
    let idle =
        "CREATE CONSTRAINT TRIGGER tenant_guard_bind_t AFTER INSERT OR UPDATE ON shop.booking
        FOR EACH ROW WHEN (false) EXECUTE FUNCTION tenant_guard.check_binding('t')";
    run_unseeing(
        &shop,
        "ALTER TABLE shop.booking ADD CONSTRAINT t FOREIGN KEY (contact_id)
             REFERENCES shop.contact ON UPDATE SET NULL",
    );
    refused(
        &mut shop.owner(),
        idle,
        "42501",
        "cannot replace trigger \"tenant_guard_bind_t\" of protected relation shop.booking",
    );
    shop.unguarded_owner().batch_execute(idle).unwrap();
    shop.unguarded_owner()
        .batch_execute("ALTER TABLE shop.booking ENABLE ALWAYS TRIGGER tenant_guard_bind_t")
        .unwrap();
    assert_eq!(
        shop.check_where("code, object", "code LIKE '26-%'"),
        ["26-foreign-key-without-account|shop.booking"]
    );
    refused(&mut shop.owner(), BIND, "42710", "already exists");
}

#[test]
fn unprotect_takes_the_triggers_along_and_leaves_composite_keys() {
    let shop = templates();
    run_unseeing(&shop, &key(""));
    let mut owner = shop.owner();
    owner.batch_execute(BIND).unwrap();
    owner
        .batch_execute(
            "SELECT tenant_guard.unprotect('shop.booking'), tenant_guard.unprotect('shop.template')",
        )
        .unwrap();
    assert_eq!(
        lines(
            &mut owner,
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN
            ('shop.booking'::regclass, 'shop.template'::regclass)"
        ),
        [""; 0]
    );
    assert_eq!(lines(&mut owner, KEYS).len(), 2);
}

#[test]
fn children_without_an_account_column_are_held_through_their_parents() {
    let shop = shop(
        "CREATE TABLE shop.line (id int PRIMARY KEY, booking_id int REFERENCES shop.booking,
             contact_id int CONSTRAINT c REFERENCES shop.contact);
         CREATE TABLE shop.note (id int PRIMARY KEY, account_id uuid,
             line_id int CONSTRAINT l REFERENCES shop.line);
         SELECT tenant_guard.protect('shop.line', via => 'booking_id'),
             tenant_guard.protect('shop.note');
         SELECT tenant_guard.bind_foreign_keys('shop')",
    );
    assert_eq!(lines(&mut shop.owner(), BIND), [""; 0]);
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.booking VALUES (20, '{ACCOUNT_B}');
             INSERT INTO shop.line VALUES (1, 10, 1), (2, 20, 2)"
        ))
        .unwrap();
    refused(
        &mut superuser,
        "INSERT INTO shop.line VALUES (3, 10, 2)",
        "23503",
        "constraint \"c\"",
    );
    refused_to_a(
        &shop,
        "INSERT INTO shop.note (id, line_id) VALUES (1, 2)",
        "23503",
        "\"l\"",
    );
    done_by_a(&shop, "INSERT INTO shop.note (id, line_id) VALUES (1, 1)");
    refused(
        &mut superuser,
        "UPDATE shop.line SET booking_id = 20 WHERE id = 1",
        "23503",
        "\"",
    );
    assert_eq!(
        shop.check_where("code, object", "code LIKE '26-%'"),
        [""; 0]
    );
}

#[test]
fn bound_keys_come_back_from_a_dump() {
    let shop = templates();
    run_unseeing(&shop, &key(""));
    shop.owner().batch_execute(BIND).unwrap();
    let restored = Database::empty();
    restored.restore(&shop.db.pg_dump(&[]));
    let mut superuser = restored.superuser();
    refused(
        &mut superuser,
        "UPDATE shop.booking SET template_id = 2",
        "23503",
        T,
    );
    refused(
        &mut superuser,
        "UPDATE shop.booking SET contact_id = 2",
        "23503",
        "constraint \"k\"",
    );
    assert_eq!(lines(&mut superuser, BIND), [""; 0]);
}

#[test]
fn match_full_and_names_that_need_quotes_are_kept() {
    let shop = shop(
        "CREATE TABLE shop.\"It's \"\"one\"\"\" (\"A\" int, \"b c\" text, account_id uuid,
             UNIQUE (\"A\", \"b c\"));
         CREATE TABLE shop.\"Two\" (a int, \"B\" text, account_id uuid,
             n int CONSTRAINT one_column REFERENCES shop.contact MATCH FULL,
             CONSTRAINT \"K'k\" FOREIGN KEY (a, \"B\")
                 REFERENCES shop.\"It's \"\"one\"\"\" (\"A\", \"b c\") MATCH FULL)",
    );
    let mut owner = shop.owner();
    owner.batch_execute(BIND).unwrap();
    assert_eq!(lines(&mut owner, BIND), [""; 0]);
    assert_eq!(
        lines(
            &mut owner,
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
             WHERE contype = 'f' AND conrelid = 'shop.\"Two\"'::regclass ORDER BY 1"
        ),
        [
            "K'k|FOREIGN KEY (a, \"B\") REFERENCES shop.\"It's \"\"one\"\"\"(\"A\", \"b c\") MATCH FULL",
            "one_column|FOREIGN KEY (account_id, n) REFERENCES shop.contact(account_id, id)",
        ]
    );
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "INSERT INTO shop.\"It's \"\"one\"\"\" VALUES (1, 'a', '{ACCOUNT_A}'), (2, 'b', '{ACCOUNT_B}')"
        ))
        .unwrap();
    done_by_a(
        &shop,
        "INSERT INTO shop.\"Two\" (a, \"B\") VALUES (1, 'a'), (NULL, NULL)",
    );
    refused_to_a(
        &shop,
        "INSERT INTO shop.\"Two\" (a, \"B\") VALUES (2, 'b')",
        "23503",
        "violates foreign key constraint \"K'k\"",
    );
}

#[test]
fn binding_is_the_admins_who_owns_the_tables() {
    let shop = shop(&key(""));
    refused(
        &mut shop.app(),
        BIND,
        "42501",
        "permission denied for function bind_foreign_keys",
    );
    let admin = shop.db.role("admin");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    let mut admin = shop.db.connect_as(&admin);
    refused(
        &mut admin,
        BIND,
        "42501",
        "must be owner of relation shop.contact",
    );
    let unknown = "SELECT tenant_guard.bind_foreign_keys('nowhere')";
    refused(
        &mut shop.owner(),
        unknown,
        "3F000",
        "schema \"nowhere\" does not exist",
    );
}

#[test]
fn an_index_of_the_owners_does_not_run_as_the_superuser_who_binds_keys() {
    let shop = shop(&key(""));
    shop.run(
        "CREATE TABLE shop.spoils (who text);
         CREATE FUNCTION shop.spy() RETURNS int LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO shop.spoils VALUES (current_user);
             RETURN 1;
         END $$;
         CREATE FUNCTION shop.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN (SELECT shop.spy()); END $$;
         CREATE INDEX ON shop.booking (contact_id) WHERE shop.one(1) = 1;
         TRUNCATE shop.spoils",
    );
    let mut superuser = shop.db.superuser();
    superuser.batch_execute(BIND).unwrap();
    let definition =
        "FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact (account_id, id) NOT VALID";
    superuser
        .batch_execute(&format!(
            "SELECT tenant_guard.replace_foreign_key('shop.booking', 'k', '{definition}');
             SELECT tenant_guard.validate_foreign_key('shop.booking', 'k')"
        ))
        .unwrap();
    // It ran, and as nobody else.
    assert_eq!(
        lines(&mut superuser, "SELECT DISTINCT who FROM shop.spoils"),
        [shop.owner.as_str()]
    );
    assert_eq!(
        lines(&mut superuser, KEYS),
        [
            "shop.booking|FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact(account_id, id)|t"
        ]
    );
}

#[test]
fn an_admin_replaces_no_foreign_key_of_somebody_elses_table() {
    let shop = shop(&key(""));
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    let mut session = shop.db.connect_as(&admin);
    for call in [
        "replace_foreign_key('shop.booking', 'k', 'FOREIGN KEY (contact_id) REFERENCES shop.contact')",
        "validate_foreign_key('shop.booking', 'k')",
    ] {
        refused(
            &mut session,
            &format!("SELECT tenant_guard.{call}"),
            "42501",
            "must be owner of relation shop.booking",
        );
    }
}
