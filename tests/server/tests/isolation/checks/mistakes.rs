//! Mistakes that check() once let pass, and fixes that failed, doubled or undid each other.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::super::Shop;
use super::{findings, sound};

/// Severity, object, detail and fix of the findings of a code.
fn of_code(shop: &Shop, code: &str) -> Vec<String> {
    let columns = "severity || '|' || object || '|' || detail, fix";
    shop.check_where(columns, &format!("code = '{code}'"))
}

/// Customers and their tags, of which the tags were forgotten.
fn tags_forgotten(rights: &str) -> Shop {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.customer (id int PRIMARY KEY, account_id uuid NOT NULL, UNIQUE (account_id, id));
         CREATE TABLE shop.tag (id int PRIMARY KEY, account_id uuid NOT NULL);
         CREATE TABLE shop.customer_tag (customer_id int REFERENCES shop.customer,
             tag_id int REFERENCES shop.tag, PRIMARY KEY (customer_id, tag_id));
         INSERT INTO shop.customer VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.tag VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         INSERT INTO shop.customer_tag VALUES (1, 1), (2, 2);
         SELECT tenant_guard.protect('shop.customer'), tenant_guard.protect('shop.tag')"
    ));
    shop.run(&format!(
        "REVOKE ALL ON shop.customer_tag FROM {app}; GRANT {rights} ON shop.customer_tag TO {app}",
        app = shop.app
    ));
    shop
}

const TAGS: &str = "SELECT customer_id FROM shop.customer_tag ORDER BY 1";

#[test]
fn child_that_is_only_read_shows_every_account() {
    let shop = tags_forgotten("SELECT");
    assert_eq!(lines(&mut shop.app(), TAGS), ["1", "2"]);
    let fix = "SELECT tenant_guard.protect('shop.customer_tag', via => 'customer_id');";
    let finding = format!(
        "error|shop.customer_tag|refers to shop.customer, shop.tag, whose rows have accounts, and shows {} \
         its rows of every account: it is not protected|{fix}",
        shop.app
    );
    assert_eq!(of_code(&shop, "12-row-security-not-enabled"), [finding]);
    assert_eq!(of_code(&shop, "25-foreign-key-oracle"), [""; 0]);
    shop.run(fix);
    assert_eq!(of_code(&shop, "12-row-security-not-enabled"), [""; 0]);
    assert_eq!(
        shop.within(ACCOUNT_B, |session| lines(session, TAGS)),
        ["2"]
    );
    expect_error(
        shop.app().query(TAGS, &[]),
        "28000",
        "no identity is bound to this transaction",
    );
}

#[test]
fn right_to_write_is_not_taken_where_protection_is_meant() {
    let shop = tags_forgotten("SELECT, INSERT");
    let fix = "SELECT tenant_guard.protect('shop.customer_tag', via => 'customer_id');";
    let fixes = shop.check_where("DISTINCT fix", "code ~ '^(12|25)-'");
    assert_eq!(fixes, [fix]);
    assert_eq!(
        shop.check_where("severity, code", "code ~ '^(12|25)-'"),
        [
            "error|12-row-security-not-enabled",
            "warning|25-foreign-key-oracle",
            "warning|25-foreign-key-oracle"
        ]
    );
}

#[test]
fn forgotten_child_is_accepted_or_declared_or_read_by_nobody() {
    let found = |shop: &Shop| of_code(shop, "12-row-security-not-enabled").len();
    let shop = tags_forgotten("SELECT");
    shop.run(
        "SELECT tenant_guard.accept_finding('12-row-security-not-enabled', 'shop.customer_tag', 'shown on purpose')",
    );
    assert_eq!(found(&shop), 0);
    let shop = tags_forgotten("SELECT");
    shop.run("SELECT tenant_guard.protect('shop.customer_tag', archetype => 'reference')");
    assert_eq!(found(&shop), 0);
    assert_eq!(found(&tags_forgotten("INSERT")), 0);
}

#[test]
fn key_of_several_columns_leaves_the_decision_to_a_person() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute(
            "CREATE TABLE shop.label (of uuid, contact int,
                 FOREIGN KEY (of, contact) REFERENCES shop.contact (account_id, id))",
        )
        .unwrap();
    let detail = "refers to shop.contact, whose rows have accounts, and shows APP its rows of every account: \
                  it is not protected, and no column of it alone leads to a parent: give it an account column, \
                  or a foreign key of one column, and call tenant_guard.protect()"
        .replace("APP", &shop.app);
    assert_eq!(
        of_code(&shop, "12-row-security-not-enabled"),
        [format!("error|shop.label|{detail}|")]
    );
    // With an account in every row, that column is the account column.
    shop.unguarded_owner()
        .batch_execute("ALTER TABLE shop.label ALTER of SET NOT NULL")
        .unwrap();
    let fix = "SELECT tenant_guard.protect('shop.label', account_column => 'of');";
    assert_eq!(
        shop.check_where("DISTINCT fix", "object = 'shop.label'"),
        [fix]
    );
    shop.run(fix);
    assert_eq!(shop.check_where("code", "object = 'shop.label'"), [""; 0]);
}

#[test]
fn account_of_a_type_that_cannot_be_protected_has_no_fix() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute(
            "CREATE DOMAIN shop.account_key AS uuid;
             CREATE TABLE shop.a_short (account_id smallint);
             CREATE TABLE shop.b_padded (account_id char(8));
             CREATE TABLE shop.c_domain (account_id shop.account_key)",
        )
        .unwrap();
    let finding = |(table, kind): (&str, &str)| {
        format!(
            "error|shop.{table}|has the account column account_id, but is not protected, and cannot be by a \
             column of type {kind}: an account is of type uuid, integer, bigint, text or character varying, \
             no domain, and compared by a deterministic collation|"
        )
    };
    let expected = [
        ("a_short", "smallint"),
        ("b_padded", "character"),
        ("c_domain", "shop.account_key"),
    ];
    let mut found = of_code(&shop, "12-row-security-not-enabled");
    found.sort();
    assert_eq!(found, expected.map(finding));
}

#[test]
fn constraint_that_two_keys_need_is_made_once() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute(
            "ALTER TABLE shop.booking ADD COLUMN former int REFERENCES shop.booking,
                 ADD COLUMN later int REFERENCES shop.booking",
        )
        .unwrap();
    assert_eq!(
        shop.check_where("DISTINCT fix", "code = '26-foreign-key-without-account'"),
        ["SELECT tenant_guard.bind_foreign_keys('shop');"]
    );
    shop.run("SELECT tenant_guard.bind_foreign_keys('shop')");
    assert_eq!(of_code(&shop, "26-foreign-key-without-account"), [""; 0]);
    let unique = "SELECT count(*) FROM pg_constraint
                  WHERE conrelid = 'shop.booking'::regclass AND contype = 'u'";
    assert_eq!(lines(&mut shop.db.superuser(), unique), ["1"]);
}

#[test]
fn bound_key_that_was_dropped_is_found_before_somebody_writes() {
    for drop in [
        "ALTER TABLE shop.customer_tag DROP CONSTRAINT customer_tag_tag_id_fkey",
        "ALTER TABLE shop.tag DROP CONSTRAINT tag_pkey CASCADE",
    ] {
        let shop = tags_forgotten("SELECT, INSERT");
        shop.run(
            "SELECT tenant_guard.protect('shop.customer_tag', via => 'customer_id');
             SELECT tenant_guard.bind_foreign_keys('shop')",
        );
        assert_eq!(of_code(&shop, "26-foreign-key-without-account"), [""; 0]);
        shop.run(drop);
        let write = "INSERT INTO shop.customer_tag VALUES (1, 7)";
        shop.within(ACCOUNT_A, |session| {
            expect_error(
                session.execute(write, &[]),
                "55000",
                "foreign key \"customer_tag_tag_id_fkey\" of shop.customer_tag is held to the account, \
                 but is not there",
            );
        });
        let fix = "SELECT tenant_guard.bind_foreign_keys('shop');";
        let gone = "foreign key customer_tag_tag_id_fkey is not there, and the trigger that held it to the \
                    account refuses";
        assert_eq!(
            of_code(&shop, "26-foreign-key-without-account"),
            [
                format!("error|shop.customer_tag|{gone} every row|{fix}"),
                format!("error|shop.tag|{gone} to change or delete a row|{fix}"),
            ]
        );
        shop.run(fix);
        assert_eq!(of_code(&shop, "26-foreign-key-without-account"), [""; 0]);
        shop.within(ACCOUNT_A, |session| session.execute(write, &[]).unwrap());
    }
}

#[test]
fn unique_index_over_an_expression_keeps_the_account_first() {
    let shop = sound();
    shop.unguarded_owner()
        .batch_execute("CREATE UNIQUE INDEX contact_name ON shop.contact (lower(name))")
        .unwrap();
    let found = |columns: &str| shop.check_where(columns, "object = 'shop.contact_name'");
    assert_eq!(
        found("code, fix"),
        [
            "27-unique-across-accounts|BEGIN; DROP INDEX shop.contact_name; CREATE UNIQUE INDEX contact_name \
             ON shop.contact USING btree (account_id, lower(name)); COMMIT;",
            "74-index-unusable|",
        ]
    );
    shop.run(&found("fix").concat());
    assert_eq!(
        found("code, fix"),
        [
            "74-index-unusable|BEGIN; ALTER TABLE shop.contact ADD COLUMN lower_name text GENERATED ALWAYS \
             AS (lower(name)) STORED; DROP INDEX shop.contact_name; CREATE UNIQUE INDEX contact_name ON \
             shop.contact (account_id, lower_name); COMMIT;"
        ]
    );
    shop.run(&found("fix").concat());
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn schema_restored_without_its_registration_is_found() {
    let shop = Shop::with(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid NOT NULL);
         CREATE TABLE shop.note (id int PRIMARY KEY, contact_id int NOT NULL REFERENCES shop.contact);
         SELECT tenant_guard.protect('shop.contact');
         SELECT tenant_guard.protect('shop.note', via => 'contact_id')",
    );
    let other = Database::new();
    let dump = shop.db.pg_dump(&["--schema=shop"]);
    let output = other.psql(&[], &dump);
    assert!(output.status.success(), "{output:?}");
    let query = "SELECT severity, object, detail, fix FROM tenant_guard.check()
                 WHERE code = '15-guard-disabled' ORDER BY object";
    let detail =
        "has policies of tenant_guard, but is not registered as protected: no guard keeps them";
    let elsewhere = "; apply the manifest of where it came from|";
    let fix = "SELECT tenant_guard.protect('shop.contact', account_column => 'account_id');";
    let mut superuser = other.superuser();
    assert_eq!(
        lines(&mut superuser, query),
        [
            format!("error|shop.contact|{detail}|{fix}"),
            format!("error|shop.note|{detail}{elsewhere}"),
        ]
    );
    superuser.batch_execute(fix).unwrap();
    assert_eq!(
        lines(&mut superuser, query),
        [format!("error|shop.note|{detail}{elsewhere}")]
    );
    expect_error(
        superuser.batch_execute("ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY"),
        "42501",
        "cannot disable row security of protected relation shop.contact",
    );
}

/// To protect them by their policies alone would open what was closed, and log what was left out.
#[test]
fn restored_tables_with_more_than_their_policies_say_have_no_fix() {
    let shop = Shop::with(
        "CREATE TABLE shop.secret (id int PRIMARY KEY, account_id uuid NOT NULL, pin text);
         CREATE TABLE shop.own (id int PRIMARY KEY, account_id uuid NOT NULL, author text);
         CREATE TABLE shop.narrow (id int PRIMARY KEY, account_id uuid NOT NULL);
         SELECT tenant_guard.protect('shop.secret', redact => '{pin}')",
    );
    shop.run(&format!(
        "SELECT tenant_guard.protect('shop.narrow', roles => '{{{app}}}'), tenant_guard.protect('shop.own');
         SELECT tenant_guard.define_role('member');
         SELECT tenant_guard.allow('member', 'shop.own', '{{select}}', 'own', owner_column => 'author')",
        app = shop.app
    ));
    let other = Database::new();
    let output = other.psql(&[], &shop.db.pg_dump(&["--schema=shop"]));
    assert!(output.status.success(), "{output:?}");
    let detail =
        "has policies of tenant_guard, but is not registered as protected: no guard keeps them";
    let fix = format!(
        "SELECT tenant_guard.protect('shop.narrow', account_column => 'account_id', roles => '{{{}}}');",
        shop.app
    );
    let mut superuser = other.superuser();
    let found = "SELECT object, detail, fix FROM tenant_guard.check()
                 WHERE severity <> 'info' AND code ~ '^(12|15)-' ORDER BY object";
    let elsewhere = "; apply the manifest of where it came from|";
    let left = [
        format!("shop.own|{detail}{elsewhere}"),
        format!("shop.secret|{detail}{elsewhere}"),
    ];
    let mut all = left.to_vec();
    all.insert(0, format!("shop.narrow|{detail}|{fix}"));
    assert_eq!(lines(&mut superuser, found), all);
    superuser.batch_execute(&fix).unwrap();
    assert_eq!(lines(&mut superuser, found), left);
    let readers = "SELECT roles FROM tenant_guard.protected_relation";
    assert_eq!(
        lines(&mut superuser, readers),
        [format!("{{{}}}", shop.app)]
    );
}

#[test]
fn memberships_in_a_schema_of_an_odd_name_are_looked_at() {
    let shop = Shop::empty();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(
            "CREATE SCHEMA \"My Shop\";
             CREATE TABLE \"My Shop\".member (person text, account uuid, PRIMARY KEY (person, account));
             SELECT tenant_guard.set_membership('\"My Shop\".member', 'person', 'account');
             ALTER TABLE \"My Shop\".member RENAME COLUMN person TO subject",
        )
        .unwrap();
    let found = "SELECT object FROM tenant_guard.check(ARRAY['My Shop']) WHERE code = '48-membership-altered'";
    assert_eq!(lines(&mut superuser, found), ["\"My Shop\".member"]);
}

#[test]
fn restored_capture_without_its_registration_is_found() {
    let shop = Shop::with(
        "CREATE TABLE shop.price (id int PRIMARY KEY, amount int);
         CREATE TABLE shop.token (id int PRIMARY KEY, secret text);
         CREATE TABLE shop.part (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES FROM (0) TO (9);
         SELECT tenant_guard.audit('shop.price'), tenant_guard.audit('shop.part'),
             tenant_guard.audit('shop.token', redact => '{secret}')",
    );
    let code = "15-guard-disabled";
    assert_eq!(of_code(&shop, code), [""; 0]);
    let other = Database::new();
    let output = other.psql(&[], &shop.db.pg_dump(&["--schema=shop"]));
    assert!(output.status.success(), "{output:?}");
    let found = format!(
        "SELECT severity, object, detail, fix FROM tenant_guard.check() WHERE code = '{code}' ORDER BY 2"
    );
    let detail = "has the capture trigger of tenant_guard, but is not registered as audited: no guard keeps it";
    let elsewhere = "; apply the manifest of where it came from";
    let token = format!("warning|shop.token|{detail}{elsewhere}|");
    let audit =
        |table: &str| format!("warning|{table}|{detail}|SELECT tenant_guard.audit('{table}');");
    let mut superuser = other.superuser();
    assert_eq!(
        lines(&mut superuser, &found),
        [audit("shop.part"), audit("shop.price"), token.clone()]
    );
    superuser
        .batch_execute("SELECT tenant_guard.audit('shop.part'), tenant_guard.audit('shop.price')")
        .unwrap();
    assert_eq!(lines(&mut superuser, &found), [token]);
    expect_error(
        superuser.batch_execute("DROP TRIGGER tenant_guard_capture ON shop.price"),
        "42501",
        "",
    );
}
