//! The log as lines.

use serde_json::Value;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::Shop;
use crate::capture::run;

/// The lines after a position, and the last position.
fn feed(client: &mut postgres::Client, after: &str, more: &str) -> (Vec<String>, String) {
    let after = match after {
        "" => "NULL".to_owned(),
        position => format!("'{position}'"),
    };
    let query = format!("SELECT position, line FROM tenant_guard.audit_feed({after}{more})");
    let rows = client.query(&query, &[]);
    let rows = rows.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let last = rows.last().map_or(String::new(), |row| row.get(0));
    (rows.iter().map(|row| row.get(1)).collect(), last)
}

/// All lines, so many at a time.
fn all(client: &mut postgres::Client, most: usize, more: &str) -> Vec<String> {
    let (mut found, mut at) = (Vec::new(), String::new());
    loop {
        let (lines, last) = feed(client, &at, &format!(", {most}{more}"));
        if lines.is_empty() {
            return found;
        }
        assert!(lines.len() <= most);
        found.extend(lines);
        at = last;
    }
}

fn sealed(shop: &Shop) -> Vec<String> {
    let mut superuser = shop.db.superuser();
    run(&mut superuser, "SELECT tenant_guard.seal()");
    for round in 0..4 {
        shop.write(
            [ACCOUNT_A, ACCOUNT_B][round % 2],
            &format!(
                "INSERT INTO shop.item (id, name) SELECT n, 'x' FROM generate_series({}, {}) AS n;
                 SELECT tenant_guard.record_event('done')",
                round * 100 + 10,
                round * 100 + 12
            ),
        );
        if round != 1 {
            run(&mut superuser, "SELECT tenant_guard.seal()");
        }
    }
    let ids = "SELECT event_id FROM tenant_guard.audit_event ORDER BY xid, ordinal";
    lines(&mut superuser, ids)
}

fn ids(found: &[String]) -> Vec<String> {
    let id = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["event_id"].as_str().unwrap().to_owned()
    };
    found.iter().map(id).collect()
}

#[test]
fn every_sealed_event_is_given_once_in_order_however_it_is_asked_for() {
    let shop = Shop::with_items();
    let events = sealed(&shop);
    // Not sealed, so not given.
    shop.write(ACCOUNT_A, "SELECT tenant_guard.record_event('open')");
    let mut auditor = shop.auditor();
    let whole = all(&mut auditor, 1000, "");
    assert_eq!(ids(&whole), events);
    for most in [1, 2, 3, 7] {
        assert_eq!(all(&mut auditor, most, ""), whole, "{most} at a time");
    }
    run(&mut shop.db.superuser(), "SELECT tenant_guard.seal()");
    let (_, last) = feed(&mut auditor, "", &format!(", {}", whole.len()));
    let (more, _) = feed(&mut auditor, &last, "");
    assert_eq!(more.len(), 1);
    assert_eq!(feed(&mut auditor, "", ", 0").0, [""; 0]);
}

#[test]
fn line_holds_the_event_its_block_and_its_context() {
    let shop = Shop::with_items();
    run(&mut shop.db.superuser(), "SELECT tenant_guard.seal()");
    let found = all(&mut shop.auditor(), 1000, &format!(", '{ACCOUNT_B}'"));
    assert_eq!(found.len(), 1);
    let line: Value = serde_json::from_str(&found[0]).unwrap();
    assert_eq!(line["block"], 1);
    assert_eq!(line["event"]["row_key"], r#"{"id":3}"#);
    assert_eq!(line["event"]["account_id"], ACCOUNT_B);
    assert_eq!(line["context"]["subject"], "tester");
    assert_eq!(line["context"]["xid"], line["event"]["xid"]);
    // The leaf hash leads to the proof.
    assert_eq!(line["event"]["leaf_hash"].as_str().unwrap().len(), 64);
    let names = line.as_object().unwrap().keys().cloned();
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["block", "context", "event", "event_id"]
    );
}

/// A row of the size of a film must not stop the feed for good.
#[test]
fn columns_too_long_for_a_line_are_left_out_and_named() {
    let shop = Shop::with_items();
    shop.run(
        "CREATE TABLE shop.film (account_id uuid, data text);
         SELECT tenant_guard.protect('shop.film')",
    );
    let film = |mebibytes| {
        format!(
            "INSERT INTO shop.film VALUES ('{ACCOUNT_B}', repeat('x', ({mebibytes} << 20) - 1000))"
        )
    };
    shop.write(ACCOUNT_B, &film(17));
    shop.write(ACCOUNT_B, &film(1));
    shop.write(
        ACCOUNT_B,
        "DELETE FROM shop.film WHERE length(data) > 10000000",
    );
    run(&mut shop.db.superuser(), "SELECT tenant_guard.seal()");
    let found = all(&mut shop.auditor(), 1, &format!(", '{ACCOUNT_B}'"));
    let parsed = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let [.., long, short, gone] = &*found.iter().map(parsed).collect::<Vec<_>>() else {
        panic!("{found:?}");
    };
    assert_eq!(long["left_out"], serde_json::json!(["data"]));
    // Without a key a row is its own.
    assert_eq!(gone["left_out"], serde_json::json!(["row_key", "data"]));
    assert!(long["event"].get("data").is_none());
    assert_eq!(long["event"]["leaf_hash"].as_str().unwrap().len(), 64);
    assert!(short.get("left_out").is_none());
    assert!(short["event"]["data"].as_str().unwrap().len() > 1_000_000);
}

#[test]
fn account_is_fed_alone_and_resumed() {
    let shop = Shop::with_items();
    sealed(&shop);
    let mut auditor = shop.auditor();
    let of_a = format!(", '{ACCOUNT_A}'");
    let whole = all(&mut auditor, 1000, &of_a);
    assert_eq!(whole.len(), 10);
    assert!(whole.iter().all(|line| line.contains(ACCOUNT_A)));
    assert_eq!(all(&mut auditor, 3, &of_a), whole);
}

/// A restored database is another server: what was unsealed is adopted, and positions stay.
#[test]
fn position_goes_on_over_a_restore_and_adoption() {
    let shop = Shop::with_items();
    sealed(&shop);
    shop.write(
        ACCOUNT_A,
        "SELECT tenant_guard.record_event('unsealed then')",
    );
    let (before, at) = feed(&mut shop.auditor(), "", ", 5");
    let restored = Database::empty();
    restored.restore(&shop.db.pg_dump(&[]));
    let mut superuser = restored.superuser();
    for statement in ["seal()", "define_role('more')", "seal()"] {
        run(&mut superuser, &format!("SELECT tenant_guard.{statement}"));
    }
    let mut found = before;
    found.extend(feed(&mut superuser, &at, "").0);
    let events =
        "SELECT count(*), count(DISTINCT (incarnation, xid, ordinal)) FROM tenant_guard.audit_log";
    let count = found.len();
    assert_eq!(lines(&mut superuser, events), [format!("{count}|{count}")]);
    let mut once = ids(&found);
    once.sort();
    once.dedup();
    assert_eq!(once.len(), count);
    assert_eq!(all(&mut superuser, 2, ""), found);
}

#[test]
fn position_of_another_ledger_is_refused() {
    let shop = Shop::with_items();
    sealed(&shop);
    let other = Shop::with_items();
    sealed(&other);
    let (_, foreign) = feed(&mut other.auditor(), "", "");
    let mut auditor = shop.auditor();
    for position in [foreign.as_str(), "99-0000000000000000/0000000000000000-1-0"] {
        let call = format!("SELECT tenant_guard.audit_feed('{position}')");
        expect_error(
            auditor.batch_execute(&call),
            "55000",
            "no position of this ledger",
        );
    }
}
