//! Relations whose parts, columns, keys or names another command takes away or changes.

use tenant_guard_core::history::{Difference, Event, Fold, Scope, Track, Unknown, Why};

use super::{Change, Log, rows};

/// Two rows of account `a`, and a system event of action `ddl` after them.
fn with_command(data: &str) -> Log {
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Insert(2, "a".into()));
    log.system("ddl", data);
    log
}

fn fold(log: &Log, leaf: impl Fn(usize) -> Option<&'static str>) -> Fold {
    let mut fold = Fold::new(log.names(), Scope::All);
    for (n, made) in log.made.iter().enumerate() {
        let event = Event {
            leaf: leaf(n),
            ..made.event()
        };
        fold.apply(&event).expect("it fits");
    }
    fold
}

#[test]
fn partitions_that_left_are_those_the_event_names() {
    let leaves = [None, Some("s.\"P 1\""), Some("s.p2"), None];
    for (detached, left) in [
        (r#"["s.\"P 1\""]"#, Some(1)),
        (r#"["s.p2","s.\"P 1\""]"#, Some(0)),
        (r#"["other.p2"]"#, Some(2)),
        ("[]", None),
    ] {
        let command = format!(r#"{{"actions":["detach partition p2"],"detached":{detached}}}"#);
        let mut fold = fold(&with_command(&command), |n| leaves[n]);
        let known = fold.known().is_ok().then(|| fold.rows().count());
        assert_eq!(known, left, "{detached}");
    }
    let arrivals = |data| fold(&with_command(data), |n| leaves[n]).known().is_ok();
    assert!(!arrivals(r#"{"actions":["attach partition s.p3"]}"#));
    assert!(arrivals(
        r#"{"actions":["attach partition s.p3"],"empty":true}"#
    ));
}

/// Who began before a partition left may still write it, until the command is over.
#[test]
fn rows_written_to_a_partition_that_is_leaving_are_none_of_the_table() {
    let mut log = with_command(r#"{"detached":["s.p1"],"leaving":true}"#);
    log.apply(Change::Insert(3, "a".into()));
    log.system(
        "ddl",
        r#"{"actions":["detach partition s.p1"],"detached":["s.p1"]}"#,
    );
    log.apply(Change::Insert(4, "a".into()));
    let mut fold = fold(&log, |n| (n > 0).then_some("s.p1"));
    assert!(fold.known().is_ok());
    // The first two left with it; one of the name that comes later is another one.
    assert_eq!(fold.rows().count(), 1);
}

#[test]
fn rows_of_a_table_that_a_crash_empties_are_not_known_until_it_is_logged() {
    let why = |log: &Log| fold(log, |_| None).known().err().map(|unknown| unknown.why);
    let mut log = with_command(r#"{"actions":["set unlogged"]}"#);
    log.system("record_baseline", r#"{"unlogged":true}"#);
    assert_eq!(why(&log), Some(Why::Unlogged));
    log.system("ddl", r#"{"actions":["set logged"]}"#);
    assert!(why(&log).is_some());
    log.system("record_baseline", "{}");
    assert_eq!(why(&log), None);
}

/// What a row says of another object is not known, but where it says nothing.
#[test]
fn columns_that_follow_other_objects_are_not_known() {
    let mut log = with_command(r#"{"actions":["add column of"],"follows":["of"]}"#);
    let key = |id: i64| Some(format!(r#"{{"id":{id}}}"#));
    let change = r#"{"old":{"of":"s.x"},"new":{"of":null}}"#;
    log.push("row", "update", "a", key(1), Some(change.into()));
    let renamed = r#"{"renamed":"of","to":"at","object":"column"}"#;
    log.system("ddl", renamed);
    let change = r#"{"old":{"at":"s.x"},"new":{"at":"s.y"}}"#;
    log.push("row", "update", "a", key(2), Some(change.into()));
    let mut fold = fold(&log, |_| None);
    let unknown = fold.unknown_columns();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!(
        (unknown[0].event, &unknown[0].why),
        (Some(log.made[3].key), &Why::Follows("at".into()))
    );
    let image =
        |id: i64, at: &str| format!(r#"{{"id":{id},"account":"a","c0":{id}.50,"at":{at}}}"#);
    for (id, at) in [(1, "null"), (2, r#""whatever""#)] {
        let compared = fold.compare("a", key(id).as_deref(), &image(id, at), None);
        assert_eq!(compared, Difference::None, "{id}");
    }
}

/// A key of such a column does not tell rows apart.
#[test]
fn key_that_follows_other_objects_makes_rows_unknown() {
    let mut log = Log::new();
    log.system("audit", r#"{"empty":true,"follows":["id"]}"#);
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Delete(1));
    let fold = fold(&log, |_| None);
    let unknown = fold.known().expect_err("no row can be told from others");
    assert_eq!(unknown.why, Why::Follows("id".into()));
    assert_eq!(fold.known_of(Some("b")), Err(unknown));
}

#[test]
fn event_of_another_account_is_not_named() {
    let unknown = |account: &str| Unknown {
        event: Some(Log::new().made[0].key),
        account: account.to_owned(),
        why: Why::Double,
    };
    assert_eq!(unknown("a").told("a"), unknown("a"));
    assert_eq!(unknown("").told("a"), unknown(""));
    let told = unknown("b").told("a");
    assert_eq!((told.event, told.account.as_str()), (None, ""));
    // Two rows of one key: the later one is another account's.
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    let twin = log.made[1].data.clone();
    log.push("row", "insert", "b", log.made[1].row_key.clone(), twin);
    let known = fold(&log, |_| None).known_of(Some("a"));
    let unknown = known.expect_err("two rows of one key");
    assert_eq!(
        (unknown.event, unknown.account.as_str()),
        (Some(log.made[2].key), "b")
    );
}

/// The table has another primary key, and no event since.
#[test]
fn rows_are_compared_by_the_key_of_now() {
    let log = with_command(r#"{"actions":["drop constraint t_pkey","add constraint c0_pkey"]}"#);
    let mut all = fold(&log, |_| None);
    for (id, row) in &log.table.rows {
        let key = format!(r#"{{"c0":{id}.50}}"#);
        let same = all.compare("a", Some(&key), &log.image(*id, row), None);
        assert_eq!(same, Difference::None);
    }
    assert_eq!(all.rows().count(), 0);
    // A key whose values no event holds.
    let log = with_command(r#"{"actions":["add column n"]}"#);
    let mut all = fold(&log, |_| None);
    let image = r#"{"id":1,"account":"a","c0":1.50,"n":7}"#;
    let compared = all.compare("a", Some(r#"{"n":7}"#), image, None);
    assert!(
        matches!(&compared, Difference::Unknown(unknown) if unknown.why == Why::Column("n".into())),
        "{compared:?}"
    );
    assert_eq!(
        all.compare("a", Some(r#"{"n":8}"#), image, None),
        Difference::None
    );
    assert_eq!(all.rows().count(), 0);
}

/// A table that was dropped and made again has the history of the second one, and one that nobody made
/// again that of the first.
#[test]
fn history_is_that_of_the_last_relation_of_the_name() {
    let mut log = with_command(r#"{"dropped":"relation"}"#);
    log.table.rows.clear();
    let taken = |log: &Log, any: bool| -> Vec<i32> {
        let mut track = Track::new(log.names(), &log.commands(), r#"{"id":1}"#);
        if any {
            track = track.of_any();
        }
        log.made.iter().for_each(|made| track.look(&made.event()));
        track.decide();
        let taken = log
            .made
            .iter()
            .filter(|made| track.take(&made.event()).is_some());
        taken.map(|made| made.key.ordinal).collect()
    };
    assert_eq!(taken(&log, false), [1]);
    log.system(
        "protect",
        r#"{"account_column":"account","audit":true,"empty":true}"#,
    );
    log.apply(Change::Insert(5, "a".into()));
    log.apply(Change::Key(5, 1));
    assert_eq!(taken(&log, false), [5, 6]);
    assert_eq!(taken(&log, true), [1, 5, 6]);
    // One that gave its name away, and another one that has it since.
    log.apply(Change::RenameTable);
    let away = log.table.name.clone();
    log.table.name = "s.t".into();
    log.table.rows.clear();
    log.system(
        "protect",
        r#"{"account_column":"account","audit":true,"empty":true}"#,
    );
    log.apply(Change::Insert(1, "a".into()));
    assert_eq!(taken(&log, false), [9]);
    assert_eq!(taken(&log, true), [1, 5, 6, 9]);
    let known = rows(&mut fold(&log, |_| None), None);
    assert_eq!(known, [r#"{"id":1,"account":"a","c0":1.50}"#]);
    log.table.name = away;
    assert_eq!(taken(&log, false), [5, 6]);
}
