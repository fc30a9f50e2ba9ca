//! The recipes of docs/roles.md, run as they stand there, every cell of their matrix proven.

use super::super::Shop;
use super::matrix::{Meanings, prove};
use super::{findings, signed_in};
use tenant_guard_tests::lines;

const RECIPES: &str = include_str!("../../../../../docs/roles.md");

/// The SQL block of the page under this heading.
fn recipe(heading: &str) -> String {
    let after = RECIPES
        .split_once(heading)
        .expect("the page has the heading")
        .1;
    let block = after.split_once("```sql\n").expect("SQL follows").1;
    block
        .split_once("```")
        .expect("the block ends")
        .0
        .to_owned()
}

fn is_subject(column: &str) -> String {
    format!("{column} = current_setting('test.subject')")
}

#[test]
fn provider_owner_customer_admin_and_user() {
    let shop = Shop::with(
        "CREATE TABLE shop.project (id int PRIMARY KEY, account_id uuid, owner text, name text);
         CREATE TABLE shop.task (id int PRIMARY KEY, account_id uuid,
             project_id int REFERENCES shop.project ON DELETE CASCADE);
         CREATE TABLE shop.member (id int PRIMARY KEY, account_id uuid, person text, rights text);
         CREATE TABLE shop.invoice (id int PRIMARY KEY, account_id uuid, amount int);
         INSERT INTO shop.project
             SELECT n, CASE WHEN n < 6 THEN 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa'::uuid ELSE 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb' END,
                 CASE WHEN n % 2 = 0 THEN 'ann' ELSE 'abe' END, 'p' FROM generate_series(1, 8) AS n;
         INSERT INTO shop.task SELECT id, account_id, id FROM shop.project;
         INSERT INTO shop.member SELECT id, account_id, owner, 'user' FROM shop.project;
         INSERT INTO shop.invoice SELECT id, account_id, id FROM shop.project",
    );
    shop.run(&recipe("## Provider owner, customer admin, user"));
    let own = is_subject("owner");
    let person = is_subject("person");
    let meanings = Meanings::from([
        ("shop.project own owner", own.as_str()),
        ("shop.member own person", &person),
        ("shop.task via shop.project", "project_id"),
    ]);
    assert!(prove(&shop, "ann", &meanings) > 400);
    assert_eq!(findings(&shop, "severity, code, object"), [""; 0]);
}

#[test]
fn superadmin_admin_manager_and_agent() {
    let shop = Shop::with(
        "CREATE TABLE shop.prospect (id int PRIMARY KEY, account_id uuid, name text, phone text,
             score int);
         CREATE TABLE shop.prospect_agent (id int PRIMARY KEY, account_id uuid,
             prospect_id int REFERENCES shop.prospect ON DELETE CASCADE, agent text);
         CREATE TABLE shop.call_log (id int PRIMARY KEY, account_id uuid,
             prospect_id int REFERENCES shop.prospect ON DELETE CASCADE, note text);
         INSERT INTO shop.prospect
             SELECT n, CASE WHEN n < 6 THEN 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa'::uuid ELSE 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb' END,
                 'p', '0', n FROM generate_series(1, 8) AS n;
         INSERT INTO shop.prospect_agent
             SELECT id, account_id, id, CASE WHEN id % 2 = 0 THEN 'ann' ELSE 'abe' END FROM shop.prospect;
         INSERT INTO shop.call_log SELECT id, account_id, id, 'n' FROM shop.prospect",
    );
    shop.run(&recipe("## Superadmin, admin, manager, agent"));
    let assigned = "EXISTS (SELECT FROM shop.prospect_agent AS a WHERE a.prospect_id = t.id
        AND a.account_id = t.account_id AND a.agent = current_setting('test.subject'))";
    let mine = is_subject("agent");
    let meanings = Meanings::from([
        ("shop.prospect assigned shop.prospect_agent", assigned),
        ("shop.call_log via shop.prospect", "prospect_id"),
        ("shop.prospect_agent own agent", &mine),
    ]);
    assert!(prove(&shop, "ann", &meanings) > 400);
    assert_eq!(findings(&shop, "severity, code, object"), [""; 0]);

    // What the recipe promises, told without the matrix.
    signed_in(&shop, "ann", &["agent"], |session| {
        for relation in ["prospect", "call_log", "prospect_agent"] {
            let seen = lines(
                session,
                &format!("SELECT id FROM shop.{relation} ORDER BY id"),
            );
            assert_eq!(seen, ["2", "4"], "{relation}");
        }
    });
    signed_in(&shop, "zoe", &["agent"], |session| {
        assert_eq!(lines(session, "SELECT count(*) FROM shop.prospect"), ["0"]);
    });
    signed_in(&shop, "zoe", &["manager"], |session| {
        assert_eq!(lines(session, "SELECT count(*) FROM shop.prospect"), ["5"]);
    });
}
