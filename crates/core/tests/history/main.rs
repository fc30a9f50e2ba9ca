//! Events of random changes fold into the rows of a model that made them.

mod relations;

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::history::{Difference, Event, Fold, Misfit, Names, Scope, Track, Why};

/// A table as the model has it: rows by key, columns by their current names.
#[derive(Clone, Debug, Default)]
struct Table {
    name: String,
    columns: Vec<String>,
    rows: BTreeMap<i64, Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    account: String,
    values: BTreeMap<String, String>,
}

/// An event with texts of its own.
#[derive(Clone, Debug)]
struct Made {
    key: EventKey,
    kind: &'static str,
    action: &'static str,
    account: String,
    relation: String,
    row_key: Option<String>,
    data: Option<String>,
}

impl Made {
    fn event(&self) -> Event<'_> {
        Event {
            key: self.key,
            command_id: 0,
            kind: self.kind,
            action: self.action,
            account: &self.account,
            relation: Some(&self.relation),
            leaf: None,
            row_key: self.row_key.as_deref(),
            data: self.data.as_deref(),
            personal: None,
            erased: false,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(i64, String),
    Update(i64, usize, i64),
    Key(i64, i64),
    Move(i64, String),
    Delete(i64),
    Add(i64),
    Drop(usize),
    Rename(usize),
    RenameTable,
    Truncate,
    Baseline,
}

struct Log {
    table: Table,
    made: Vec<Made>,
    serial: i32,
}

impl Log {
    fn new() -> Self {
        let mut log = Self {
            table: Table {
                name: "s.t".into(),
                columns: vec!["c0".into()],
                rows: BTreeMap::new(),
            },
            made: Vec::new(),
            serial: 0,
        };
        let protect =
            r#"{"archetype":"account","account_column":"account","audit":true,"empty":true}"#;
        log.system("protect", protect);
        log
    }

    fn push(
        &mut self,
        kind: &'static str,
        action: &'static str,
        account: &str,
        row_key: Option<String>,
        data: Option<String>,
    ) {
        let key = EventKey {
            incarnation: 1,
            xid: 1,
            ordinal: self.made.len() as i32,
        };
        let relation = self.table.name.clone();
        let account = account.to_owned();
        self.made.push(Made {
            key,
            kind,
            action,
            account,
            relation,
            row_key,
            data,
        });
    }

    fn system(&mut self, action: &'static str, data: &str) {
        self.push("system", action, "", None, Some(data.to_owned()));
    }

    fn image(&self, id: i64, row: &Row) -> String {
        let mut out = format!(r#"{{"id":{id},"account":"{}""#, row.account);
        for column in &self.table.columns {
            out.push_str(&format!(",\"{column}\":{}", row.values[column]));
        }
        out + "}"
    }

    fn apply(&mut self, change: Change) {
        let key = |id: i64| Some(format!(r#"{{"id":{id}}}"#));
        match change {
            Change::Insert(id, account) => {
                if self.table.rows.contains_key(&id) {
                    return;
                }
                let values = { self.table.columns.iter() }.map(|c| (c.clone(), format!("{id}.50")));
                let row = Row {
                    account: account.clone(),
                    values: values.collect(),
                };
                let image = self.image(id, &row);
                self.table.rows.insert(id, row);
                self.push("row", "insert", &account, key(id), Some(image));
            }
            Change::Update(id, column, value) => {
                let Some(name) = self.table.columns.get(column).cloned() else {
                    return;
                };
                let Some(row) = self.table.rows.get_mut(&id) else {
                    return;
                };
                let account = row.account.clone();
                let old = row
                    .values
                    .insert(name.clone(), value.to_string())
                    .unwrap_or_default();
                let data = format!(r#"{{"old":{{"{name}":{old}}},"new":{{"{name}":{value}}}}}"#);
                self.push("row", "update", &account, key(id), Some(data));
            }
            Change::Key(id, to) => {
                if self.table.rows.contains_key(&to) {
                    return;
                }
                let Some(row) = self.table.rows.remove(&id) else {
                    return;
                };
                let account = row.account.clone();
                self.table.rows.insert(to, row);
                let data = format!(r#"{{"old":{{"id":{id}}},"new":{{"id":{to}}}}}"#);
                self.push("row", "update", &account, key(id), Some(data));
            }
            Change::Move(id, account) => {
                let Some(row) = self.table.rows.get_mut(&id) else {
                    return;
                };
                let from = std::mem::replace(&mut row.account, account.clone());
                if from == account {
                    return;
                }
                let data =
                    format!(r#"{{"old":{{"account":"{from}"}},"new":{{"account":"{account}"}}}}"#);
                self.push("row", "update", &from, key(id), Some(data.clone()));
                self.push("row", "update", &account, key(id), Some(data));
            }
            Change::Delete(id) => {
                let Some(row) = self.table.rows.remove(&id) else {
                    return;
                };
                let image = self.image(id, &row);
                self.push("row", "delete", &row.account, key(id), Some(image));
            }
            Change::Add(value) => {
                self.serial += 1;
                let name = format!("a{}", self.serial);
                for row in self.table.rows.values_mut() {
                    row.values.insert(name.clone(), value.to_string());
                }
                self.table.columns.push(name.clone());
                let data = format!(
                    r#"{{"actions":["add column {name}"],"filled":{{"{name}":"{value}"}}}}"#
                );
                self.system("ddl", &data);
            }
            Change::Drop(column) => {
                if column < self.table.columns.len() {
                    let name = self.table.columns.remove(column);
                    for row in self.table.rows.values_mut() {
                        row.values.remove(&name);
                    }
                    self.system("ddl", &format!(r#"{{"actions":["drop column {name}"]}}"#));
                }
            }
            Change::Rename(column) => {
                self.serial += 1;
                let to = format!("r{}", self.serial);
                let Some(name) = self.table.columns.get_mut(column) else {
                    return;
                };
                let from = std::mem::replace(name, to.clone());
                for row in self.table.rows.values_mut() {
                    let value = row.values.remove(&from).unwrap_or_default();
                    row.values.insert(to.clone(), value);
                }
                self.system(
                    "ddl",
                    &format!(r#"{{"object":"column","renamed":"{from}","to":"{to}"}}"#),
                );
            }
            Change::RenameTable => {
                self.serial += 1;
                let from = std::mem::replace(&mut self.table.name, format!("s.t{}", self.serial));
                let from = from.trim_start_matches("s.").to_owned();
                let data = format!(
                    r#"{{"object":"table","renamed":"{from}","to":"t{}"}}"#,
                    self.serial
                );
                self.system("ddl", &data);
            }
            Change::Truncate => {
                self.table.rows.clear();
                self.push("row", "truncate", "", None, None);
            }
            Change::Baseline => {
                self.system("record_baseline", "{}");
                for (id, row) in self.table.rows.clone() {
                    let image = self.image(id, &row);
                    self.push("row", "baseline", &row.account, key(id), Some(image));
                }
            }
        }
    }

    fn names(&self) -> Names {
        Names::from_commands(&self.table.name, &self.commands())
    }

    fn commands(&self) -> Vec<(EventKey, String, String)> {
        let commands = self.made.iter().filter(|made| made.action == "ddl");
        commands
            .map(|made| {
                (
                    made.key,
                    made.relation.clone(),
                    made.data.clone().unwrap_or_default(),
                )
            })
            .collect()
    }
}

fn change() -> impl Strategy<Value = Change> {
    let id = 0_i64..6;
    let account = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
    prop_oneof![
        6 => (id.clone(), account.clone()).prop_map(|(id, account)| Change::Insert(id, account)),
        6 => (id.clone(), 0_usize..4, 0_i64..9).prop_map(|(id, c, v)| Change::Update(id, c, v)),
        3 => (id.clone(), id.clone()).prop_map(|(id, to)| Change::Key(id, to)),
        2 => (id.clone(), account).prop_map(|(id, account)| Change::Move(id, account)),
        3 => id.prop_map(Change::Delete),
        1 => (0_i64..9).prop_map(Change::Add),
        1 => (0_usize..4).prop_map(Change::Drop),
        1 => (0_usize..4).prop_map(Change::Rename),
        1 => Just(Change::RenameTable),
        1 => Just(Change::Truncate),
        1 => Just(Change::Baseline),
    ]
}

fn folded(log: &Log, scope: Scope) -> Result<Fold, Misfit> {
    let of = match &scope {
        Scope::Account(account) => Some(account.clone()),
        Scope::All => None,
    };
    let mut fold = Fold::new(log.names(), scope);
    for made in &log.made {
        let own = of
            .as_ref()
            .is_none_or(|account| made.account == *account || made.account.is_empty());
        if own {
            fold.apply(&made.event())?;
        }
    }
    Ok(fold)
}

fn rows(fold: &mut Fold, account: Option<&str>) -> Vec<String> {
    let rows = fold
        .rows()
        .filter(|row| account.is_none_or(|account| row.account == account));
    let mut rows: Vec<_> = rows
        .map(|row| row.row.expect("every value is known"))
        .collect();
    rows.sort();
    rows
}

proptest! {
    #[test]
    fn events_fold_into_the_rows_that_made_them(changes in prop::collection::vec(change(), 0..60)) {
        let mut log = Log::new();
        for change in changes {
            log.apply(change);
        }
        let model = |account: Option<&str>| {
            let rows = log.table.rows.iter();
            let of = rows.filter(|(_, row)| account.is_none_or(|account| row.account == account));
            let mut rows: Vec<_> = of.map(|(id, row)| log.image(*id, row)).collect();
            rows.sort();
            rows
        };
        let mut all = folded(&log, Scope::All).expect("sound");
        prop_assert!(all.known().is_ok());
        // The live table is compared without a difference, and nothing is left.
        for (id, row) in &log.table.rows {
            let key = format!(r#"{{"id":{id}}}"#);
            let same = all.compare(&row.account, Some(&key), &log.image(*id, row), None);
            prop_assert_eq!(same, Difference::None);
        }
        prop_assert_eq!(all.rows().count(), 0);
        prop_assert_eq!(rows(&mut folded(&log, Scope::All).expect("sound"), None), model(None));
        for account in ["a", "b"] {
            let own = folded(&log, Scope::Account(account.to_owned()));
            match own {
                Ok(mut fold) => prop_assert_eq!(rows(&mut fold, None), model(Some(account))),
                Err(misfit) => prop_assert_eq!(misfit, Misfit::OtherAccount),
            }
        }
    }

    /// An event that is left out is noticed at the next one of its row, or in the end.
    #[test]
    fn event_that_is_lost_does_not_pass(changes in prop::collection::vec(change(), 1..60), which in any::<prop::sample::Index>()) {
        let mut log = Log::new();
        for change in changes {
            log.apply(change);
        }
        let of_rows: Vec<usize> = (0..log.made.len())
            .filter(|n| matches!(log.made[*n].action, "insert" | "update" | "delete"))
            .collect();
        prop_assume!(!of_rows.is_empty());
        let lost = of_rows[which.index(of_rows.len())];
        // What a later baseline or TRUNCATE says anew, or what went with its column, was not lost; a move has
        // two events of one change.
        let anew = |made: &Made| {
            matches!(made.action, "record_baseline" | "truncate")
                || made.data.as_ref().is_some_and(|data| data.contains("drop column"))
        };
        prop_assume!(!log.made[lost + 1..].iter().any(anew));
        prop_assume!(log.made[lost].data.as_ref().is_none_or(|data| !data.contains("old\":{\"account")));
        let without = Log {
            table: log.table.clone(),
            made: log.made.iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, m)| m.clone()).collect(),
            serial: 0,
        };
        let noticed = match folded(&without, Scope::All) {
            Err(_) => true,
            Ok(mut fold) => fold.known().is_err() || {
                let mut model: Vec<_> = log.table.rows.iter().map(|(id, row)| log.image(*id, row)).collect();
                model.sort();
                rows(&mut fold, None) != model
            },
        };
        let changed_nothing = log.made[lost].data.as_ref().is_some_and(|data| {
            data.split_once(",\"new\":").is_some_and(|(old, new)| {
                old.trim_start_matches("{\"old\":") == new.trim_end_matches('}').to_owned() + "}"
            })
        });
        prop_assert!(noticed || changed_nothing, "{:?}", log.made[lost]);
    }

    /// The history of the key a row has in the end has all events of that row.
    #[test]
    fn every_event_of_a_row_is_in_its_history(changes in prop::collection::vec(change(), 0..60)) {
        let mut log = Log::new();
        for change in changes {
            log.apply(change);
        }
        for id in log.table.rows.keys() {
            let key = format!(r#"{{ "id" : {id}.0 }}"#);
            let mut track = Track::new(log.names(), &log.commands(), &key);
            log.made.iter().for_each(|made| track.look(&made.event()));
            track.decide();
            let taken = log.made.iter().filter(|made| track.take(&made.event()).is_some());
            let taken: Vec<_> = taken.map(|made| made.key.ordinal).collect();
            // Back from the end, as the row went.
            let mut at = *id;
            let mut expected = Vec::new();
            for made in log.made.iter().rev() {
                let of = |id: i64| made.row_key.as_deref() == Some(&format!(r#"{{"id":{id}}}"#));
                let to = format!("\"new\":{{\"id\":{at}}}");
                if made.action == "update" && made.data.as_ref().is_some_and(|data| data.contains(&to)) {
                    let from = made.row_key.as_deref().and_then(|key| {
                        key.trim_start_matches("{\"id\":").trim_end_matches('}').parse().ok()
                    });
                    at = from.expect("a number");
                    expected.push(made.key.ordinal);
                } else if made.kind == "row" && of(at) {
                    expected.push(made.key.ordinal);
                    if made.action == "insert" {
                        break;
                    }
                }
            }
            prop_assert!(expected.iter().all(|event| taken.contains(event)), "{expected:?} {taken:?}");
        }
    }
}

/// What the fold says of events that do not fit.
#[test]
fn what_does_not_fit_is_named() {
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Update(1, 0, 5));
    let mut fold = Fold::new(log.names(), Scope::All);
    let results: Vec<_> = [0, 1].map(|n| fold.apply(&log.made[n].event())).into();
    assert_eq!(results, [Ok(()), Ok(())]);
    let mut other = log.made[2].clone();
    other.data = Some(r#"{"old":{"c0":9},"new":{"c0":5}}"#.into());
    let why = |result: Result<(), Misfit>| match result {
        Err(Misfit::Unknown(unknown)) => unknown.why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(fold.apply(&other.event())),
        Why::Differs(vec!["c0".into()])
    );
    other.row_key = Some(r#"{"id":2}"#.into());
    assert_eq!(why(fold.apply(&other.event())), Why::NoRow);
    other.data = Some("[]".into());
    assert_eq!(why(fold.apply(&other.event())), Why::Unreadable);
    assert_eq!(fold.known(), Ok(()));
}

/// Erased values are absent, and none of before stands in their place.
#[test]
fn erased_values_are_absent() {
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Update(1, 0, 5));
    let mut fold = Fold::new(log.names(), Scope::All);
    fold.apply(&log.made[0].event()).expect("sound");
    let insert = Event {
        personal: Some(r#"{"mail":"m"}"#),
        ..log.made[1].event()
    };
    fold.apply(&insert).expect("sound");
    let update = Event {
        erased: true,
        ..log.made[2].event()
    };
    fold.apply(&update).expect("sound");
    assert_eq!(rows(&mut fold, None), [r#"{"id":1,"account":"a","c0":5}"#]);
}

/// A log whose table has a personal column `mail`, as `annotate` says.
fn personal_log() -> Log {
    let mut log = Log::new();
    log.system("annotate", r#"{"personal":["mail"],"index":true}"#);
    log
}

/// A row of a table without a key, whose personal value stands apart.
fn event<'a>(made: &'a Made, personal: Option<&'a str>, erased: bool) -> Event<'a> {
    Event {
        personal,
        erased,
        ..made.event()
    }
}

/// What came with a new column stays when personal values go, and a row that has its values still does
/// not make those unknown that were erased.
#[test]
fn erasure_takes_personal_values_alone() {
    let mut log = personal_log();
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Add(7));
    log.apply(Change::Insert(2, "a".into()));
    log.apply(Change::Update(1, 0, 5));
    for erased in [vec![2], vec![2, 5], vec![5]] {
        let mut fold = Fold::new(log.names(), Scope::All);
        for (n, made) in log.made.iter().enumerate() {
            let personal = match (made.kind, made.action) {
                ("row", "insert") => Some(r#"{"mail":"m"}"#),
                ("row", _) => Some(r#"{"old":{"mail":"m"},"new":{"mail":"n"}}"#),
                _ => None,
            };
            let erased = erased.contains(&n);
            let event = event(made, personal.filter(|_| !erased), erased);
            fold.apply(&event).expect("sound");
        }
        assert_eq!(fold.unknown_columns(), []);
        let row = log.image(1, &log.table.rows[&1]);
        let mail = Some(r#"{"mail":"n"}"#);
        let same = fold.compare("a", Some(r#"{"id":1}"#), &row, mail);
        assert_eq!(same, Difference::None, "{erased:?}");
    }
    let mut fold = Fold::new(log.names(), Scope::All);
    for (n, made) in log.made.iter().enumerate() {
        let personal = (n == 4).then_some(r#"{"mail":"m"}"#);
        fold.apply(&event(made, personal, n == 2 || n == 5))
            .expect("sound");
    }
    // A column of the event itself is compared, and one that is not personal as well.
    let damaged = r#"{"id":1,"account":"a","c0":5,"a1":8}"#;
    let mut rows = rows(&mut fold, None);
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"{"id":1,"account":"a","c0":5,"a1":7}"#,
            r#"{"id":2,"account":"a","c0":2.50,"mail":"m","a1":2.50}"#,
        ]
    );
    let mut fold = Fold::new(log.names(), Scope::All);
    for (n, made) in log.made.iter().enumerate() {
        fold.apply(&event(made, None, n == 2 || n == 5))
            .expect("sound");
    }
    let differs = Difference::Columns(vec!["a1".into()]);
    assert_eq!(
        fold.compare("a", Some(r#"{"id":1}"#), damaged, Some(r#"{"mail":"n"}"#)),
        differs
    );
}

/// Values in `data` of an UPDATE before the column was personal are not what they were, once the later
/// change was erased.
#[test]
fn values_of_before_do_not_stand_for_erased_ones() {
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    log.system("annotate", r#"{"personal":["c0"]}"#);
    log.apply(Change::Update(1, 9, 0));
    let key = Some(r#"{"id":1}"#.to_owned());
    log.push(
        "row",
        "update",
        "a",
        key,
        Some(r#"{"old":{},"new":{}}"#.into()),
    );
    let mut fold = Fold::new(log.names(), Scope::All);
    for made in &log.made {
        let erased = made.action == "update";
        fold.apply(&event(made, None, erased)).expect("sound");
    }
    assert_eq!(rows(&mut fold, None), [r#"{"id":1,"account":"a"}"#]);
}

/// Rows without a key that differ in personal values only cannot be told apart by an UPDATE of others.
#[test]
fn rows_alike_are_unknown_after_a_change_of_one() {
    let mut log = personal_log();
    let row = r#"{"account":"b","v":1}"#;
    let own = r#"{"account":"a","v":1}"#;
    for image in [row, row, own] {
        let account = if image == row { "b" } else { "a" };
        log.push("row", "insert", account, None, Some(image.into()));
    }
    let change = r#"{"old":{"v":1},"new":{"v":2}}"#;
    log.push("row", "update", "b", Some(row.into()), Some(change.into()));
    let mails = [r#"{"mail":"p1"}"#, r#"{"mail":"p2"}"#, r#"{"mail":"p3"}"#];
    for differ in [false, true] {
        let mut fold = Fold::new(log.names(), Scope::All);
        for (n, made) in log.made.iter().enumerate() {
            let mail = match n {
                2 | 4 => Some(mails[0]),
                3 => Some(mails[usize::from(differ)]),
                _ => None,
            };
            fold.apply(&event(made, mail, false)).expect("it fits");
        }
        assert_eq!(fold.unknown_columns().len(), usize::from(differ));
        assert_eq!(fold.known_of(Some("a")), Ok(()));
        let (of_a, of_b): (Vec<_>, Vec<_>) = fold.rows().partition(|row| row.account == "a");
        assert!(of_a.iter().all(|row| row.row.is_ok()), "{of_a:?}");
        let known = of_b.iter().all(|row| row.row.is_ok());
        assert_eq!((of_b.len(), known), (2, !differ));
        assert!(
            differ
                || of_b
                    .iter()
                    .any(|row| row.row.as_deref() == Ok(r#"{"account":"b","v":2,"mail":"p1"}"#))
        );
    }
}

/// What does not fit rows of one account is not said of another's, until such a row comes to it.
#[test]
fn misfit_is_of_its_account() {
    let mut log = Log::new();
    log.apply(Change::Insert(1, "a".into()));
    log.apply(Change::Insert(2, "b".into()));
    let key = Some(r#"{"id":2}"#.to_owned());
    let unfit = Some(r#"{"old":{"c0":9},"new":{"c0":5}}"#.to_owned());
    log.push("row", "update", "b", key, unfit);
    let mut fold = Fold::new(log.names(), Scope::All);
    let results: Vec<_> = { log.made.iter() }
        .map(|made| fold.apply(&made.event()).is_ok())
        .collect();
    assert_eq!(results, [true, true, true, false]);
    assert_eq!(fold.known(), Ok(()));
    assert_eq!(fold.known_of(Some("a")), Ok(()));
    assert!(fold.known_of(Some("b")).is_err() && fold.known_of(None).is_err());
    log.apply(Change::Move(2, "a".into()));
    for made in &log.made[4..] {
        fold.apply(&made.event()).expect("the account is known");
    }
    let unknown = fold.known_of(Some("a")).expect_err("the row is not known");
    assert_eq!(unknown.event, log.made.last().map(|made| made.key));
    log.apply(Change::Baseline);
    let made = log.made.iter().skip(6);
    made.for_each(|made| fold.apply(&made.event()).expect("sound"));
    assert_eq!(fold.known_of(None), Ok(()));
}
