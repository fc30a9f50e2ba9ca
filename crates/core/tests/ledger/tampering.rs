//! Whatever is edited in a ledger's tables is found, and named.

use proptest::prelude::*;
use serde_json::{Value, json};
use tenant_guard_core::ledger::{Code, Finding, Rows, Scope, Verifier};

use crate::model::{self, Ledger, sample};

const TABLES: [&str; 5] = [
    "audit_log",
    "audit_context",
    "ledger_account",
    "ledger_block",
    "ledger_leaf",
];

fn incarnation(ledger: &Ledger) -> i64 {
    ledger
        .ledger_block
        .last()
        .expect("sample has blocks")
        .incarnation
}

fn verify(ledger: &Ledger) -> Vec<Finding> {
    ledger.verify(Scope::All, None, incarnation(&sample()))
}

fn rows(ledger: &Ledger, table: &str) -> Vec<Value> {
    let ledger = serde_json::to_value(ledger).expect("plain data");
    ledger[table].as_array().expect("a table").clone()
}

fn with_rows(ledger: &Ledger, table: &str, rows: Vec<Value>) -> Ledger {
    let mut value = serde_json::to_value(ledger).expect("plain data");
    value[table] = Value::Array(rows);
    serde_json::from_value(value).expect("same types")
}

/// Another value of the same type.
fn edited(value: &Value, table: &str, column: &str) -> Value {
    match value {
        Value::Number(number) => json!(number.as_i64().expect("integers only").wrapping_add(1)),
        Value::String(text) if text.is_empty() => json!("00"),
        // Still hexadecimal where it was, still text where it was.
        Value::String(text) => {
            let flipped = if text.starts_with('0') { "1" } else { "0" };
            json!(format!("{flipped}{}", &text[1..]))
        }
        Value::Array(items) if items.is_empty() => json!(["other"]),
        Value::Array(items) => json!(items[1..]),
        Value::Null => match (table, column) {
            ("audit_log", "context") => json!(0),
            ("audit_context", "role") => json!([]),
            (_, "data_hash" | "personal_salt" | "personal_commitment" | "blinded_id") => {
                json!("00".repeat(32))
            }
            (_, "events_root" | "account_root") => json!("00".repeat(32)),
            (_, "events" | "account_size") => json!(1),
            _ => json!("was null"),
        },
        other => panic!("no edit for {other}"),
    }
}

/// Whether a finding names the row, by block, account, event or relation.
fn names(finding: &Finding, table: &str, row: &Value) -> bool {
    let of_row = |column: &str| row[column].as_str().map(str::to_owned);
    match table {
        "audit_log" => {
            let event_id = format!(
                "{:016x}-{}-{}",
                row["incarnation"].as_i64().unwrap_or_default(),
                row["xid"],
                row["ordinal"]
            );
            finding.event_id == Some(event_id) || finding.account == of_row("account_id")
        }
        "audit_context" => {
            let transaction = format!(
                "{:016x}-{}-",
                row["incarnation"].as_i64().unwrap_or_default(),
                row["xid"]
            );
            finding.detail.contains(&transaction)
                || finding
                    .event_id
                    .as_ref()
                    .is_some_and(|id| id.starts_with(&transaction))
        }
        "ledger_account" => finding.account == of_row("account_id"),
        _ => finding.block == row["block"].as_i64(),
    }
}

fn assert_named(ledger: &Ledger, table: &str, row: &Value, what: &str) -> Vec<Finding> {
    let findings = verify(ledger);
    assert!(
        findings.iter().any(|finding| names(finding, table, row)),
        "{table}: {what} of {row} not named: {findings:#?}"
    );
    findings
}

#[test]
fn a_sound_ledger_has_no_findings() {
    let ledger = sample();
    assert_eq!(verify(&ledger), []);
    for account in ["", "007", "2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788", "nobody"] {
        let scope = Scope::Account(account.to_owned());
        assert_eq!(ledger.verify(scope, None, incarnation(&ledger)), []);
    }
    for block in &ledger.ledger_block {
        let checkpoint = ledger.checkpoint(block);
        let findings = ledger.verify(Scope::All, Some(&checkpoint), incarnation(&ledger));
        assert_eq!(findings, []);
    }
    assert_eq!(Ledger::default().verify(Scope::All, None, 1), []);
}

/// The list of codes in the format's page is the one of the code.
#[test]
fn all_codes_are_documented() {
    let page = include_str!("../../../../docs/ledger-format.md");
    let findings = page.split_once("\n## Findings\n").expect("section").1;
    let documented: Vec<&str> = findings
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split_once('`')
                .map(|(code, _)| code)
        })
        .collect();
    assert_eq!(documented, Code::ALL.map(Code::as_str));
}

#[test]
fn each_edit_of_each_column_of_each_row_is_named() {
    let ledger = sample();
    for table in TABLES {
        let rows = rows(&ledger, table);
        for at in 0..rows.len() {
            for (column, value) in rows[at].as_object().expect("a row") {
                let mut changed = rows.clone();
                changed[at][column] = edited(value, table, column);
                let tampered = with_rows(&ledger, table, changed.clone());
                let what = format!("edit of {column}");
                let findings = verify(&tampered);
                let named = [&rows[at], &changed[at]];
                assert!(
                    findings
                        .iter()
                        .any(|f| named.iter().any(|row| names(f, table, row))),
                    "{table}: {what} of {} not named: {findings:#?}",
                    rows[at]
                );
            }
        }
    }
}

/// Where an edit cannot change which row is meant, the one finding says exactly what happened.
#[test]
fn an_edited_value_gives_one_finding_with_its_code() {
    let ledger = sample();
    let exact = [
        (
            "audit_log",
            Code::EventAltered,
            "action kind relation leaf_relation row_key target \
          occurred_at data data_hash redacted hashed leaf_hash",
        ),
        ("audit_log", Code::PersonalAltered, "personal personal_salt"),
        (
            "audit_context",
            Code::ContextAltered,
            "issuer token_id session subject role session_role current_role client_address \
          application_name transaction_start hash",
        ),
        (
            "ledger_account",
            Code::AccountAltered,
            "blinding size state",
        ),
        (
            "ledger_block",
            Code::BlockAltered,
            "version epoch timeline events accounts sealed_at \
          previous_hash previous_size previous_root previous_checkpoint configuration_hash hash tree_size root state",
        ),
        ("ledger_block", Code::ConfigurationAltered, "configuration"),
        (
            "ledger_leaf",
            Code::LeafAltered,
            "epoch account_id blinded_id events events_root \
          account_size account_root leaf_hash",
        ),
    ];
    for (table, code, columns) in exact {
        let rows = rows(&ledger, table);
        for column in columns.split_whitespace() {
            for at in 0..rows.len() {
                let mut changed = rows.clone();
                changed[at][column] = edited(&rows[at][column], table, column);
                let tampered = with_rows(&ledger, table, changed);
                let mut codes: Vec<Code> = verify(&tampered).iter().map(|f| f.code).collect();
                codes.dedup();
                // Where there was no data, it looks as if some had been removed, too.
                if column == "data_hash" && rows[at]["data"].is_null() {
                    assert_eq!(codes, [code, Code::DataMissing]);
                    continue;
                }
                assert_eq!(codes, [code], "{table}.{column} of {}", rows[at]);
            }
        }
    }
}

#[test]
fn each_deleted_row_is_named() {
    let ledger = sample();
    for table in TABLES {
        let rows = rows(&ledger, table);
        for at in 0..rows.len() {
            // An event that no block holds yet is in nobody's hash: the window of SECURITY.md.
            // Its context goes unnoticed only together with it.
            let unsealed = rows[at]["xid"] == json!(60);
            if table == "audit_log" && unsealed {
                continue;
            }
            let mut changed = rows.clone();
            let row = changed.remove(at);
            let tampered = with_rows(&ledger, table, changed);
            assert_named(&tampered, table, &row, "deletion");
        }
    }
}

#[test]
fn each_inserted_row_is_named() {
    let ledger = sample();
    for table in TABLES {
        let rows = rows(&ledger, table);
        for at in 0..rows.len() {
            let mut row = rows[at].clone();
            match table {
                "audit_log" => row["ordinal"] = json!(1000),
                "audit_context" => row["number"] = json!(1000),
                "ledger_account" => row["account_id"] = json!("forged"),
                "ledger_block" => row["block"] = json!(1000),
                _ => row["position"] = json!(1000),
            }
            if table == "audit_log" && row["xid"] == json!(60) {
                continue;
            }
            let mut changed = rows.clone();
            changed.push(row.clone());
            let tampered = with_rows(&ledger, table, changed);
            assert_named(&tampered, table, &row, "insertion");
        }
    }
}

/// The primary key dropped, and a row that says something else before or after the sound one.
#[test]
fn a_second_row_of_an_account_is_named() {
    let ledger = sample();
    for at in 0..ledger.ledger_account.len() {
        let sound = ledger.ledger_account[at].clone();
        let garbage = model::AccountRow {
            size: 4711,
            state: "00".to_owned(),
            ..sound.clone()
        };
        for (place, second) in [(at, garbage), (at + 1, sound.clone())] {
            let mut tampered = ledger.clone();
            tampered.ledger_account.insert(place, second);
            let findings = verify(&tampered);
            assert_eq!(findings.len(), 1, "{findings:#?}");
            assert_eq!(findings[0].code, Code::AccountAltered);
            assert_eq!(findings[0].account.as_ref(), Some(&sound.account_id));
            assert_eq!(findings[0].detail, "the account has another row");
        }
    }
}

/// No block will ever see it, so it would stand among the unsealed events for good.
#[test]
fn an_event_of_a_transaction_that_never_was_is_named() {
    let unsealed = |ledger: &Ledger| {
        let of = |event: &&model::Event| event.xid == 60;
        ledger.audit_log.iter().find(of).expect("in sample").clone()
    };
    for (xid, expected) in [
        (999, None),
        (1000, Some(())),
        (1_000_000_000_000_000, Some(())),
    ] {
        let mut ledger = sample();
        let forged = model::Event {
            xid,
            context: None,
            ..unsealed(&ledger)
        };
        ledger.capture(forged.clone());
        let findings = verify(&ledger);
        assert_eq!(findings.len(), expected.iter().count(), "{findings:#?}");
        for finding in findings {
            assert_eq!(finding.code, Code::EventUnclaimed);
            assert_eq!(finding.event_id, Some(forged.key().to_string()));
            assert_eq!(finding.detail, "no transaction has had its id yet");
        }
    }
}

/// More contexts in a transaction than are searched one by one.
#[test]
fn each_of_many_contexts_of_a_transaction_is_told_from_the_others() {
    let mut ledger = sample();
    let of = |xid| move |row: &&model::ContextRow| row.xid == xid;
    let context = ledger.audit_context.iter().find(of(60)).cloned();
    let event = ledger
        .audit_log
        .iter()
        .find(|event| event.xid == 60)
        .cloned();
    let (context, event) = (context.expect("in sample"), event.expect("in sample"));
    for number in 1..40 {
        let other = model::ContextRow {
            number,
            subject: Some(format!("user-{number}")),
            ..context.clone()
        };
        ledger.audit_context.push(other.hashed());
        ledger.capture(model::Event {
            ordinal: i32::from(number) + 1,
            context: Some(number),
            ..event.clone()
        });
    }
    assert_eq!(verify(&ledger), []);
    for number in [1, 8, 9, 39] {
        let mut tampered = ledger.clone();
        tampered
            .audit_context
            .retain(|row| (row.xid, row.number) != (60, number));
        let codes: Vec<_> = verify(&tampered).iter().map(|found| found.code).collect();
        assert_eq!(codes, [Code::ContextMissing], "{number}");
    }
}

/// Every row damaged: what is listed ends somewhere, and says how much is not.
#[test]
fn findings_without_end_are_counted() {
    let mut verifier = Verifier::new(Scope::All, None);
    let row = &sample().audit_context[0];
    for xid in 0..100_005 {
        let row = model::ContextRow { xid, ..row.clone() };
        row.with_context(|context| verifier.context(context, &[0; 32]));
    }
    verifier.finish();
    let findings = verifier.take_findings();
    assert_eq!(findings.len(), 100_001);
    let last = findings.last().expect("some");
    assert_eq!(last.code, Code::ContextUnreferenced);
    assert_eq!(
        last.detail,
        "and 100010 more findings, of this and other kinds"
    );
}

/// Two rows exchange everything but their keys.
#[test]
fn each_swap_of_rows_is_named() {
    let ledger = sample();
    let keys: [&[&str]; 5] = [
        &["incarnation", "xid", "ordinal"],
        &["incarnation", "xid", "number"],
        &["account_id"],
        &["block"],
        &["block", "position"],
    ];
    for (table, keys) in TABLES.into_iter().zip(keys) {
        let rows = rows(&ledger, table);
        for a in 0..rows.len() {
            for b in a + 1..rows.len() {
                let mut changed = rows.clone();
                changed.swap(a, b);
                for key in keys {
                    let (of_a, of_b) = (changed[a][*key].clone(), changed[b][*key].clone());
                    (changed[a][*key], changed[b][*key]) = (of_b, of_a);
                }
                if changed == rows {
                    continue;
                }
                let tampered = with_rows(&ledger, table, changed);
                assert_named(&tampered, table, &rows[a], "swap");
                assert_named(&tampered, table, &rows[b], "swap");
            }
        }
    }
}

/// Data and leaf hash edited together: no leaf contradicts its entry, the account's tree does.
#[test]
fn an_event_rewritten_with_its_hash_changes_the_account() {
    let sound = sample();
    for at in (0..sound.audit_log.len()).filter(|at| sound.audit_log[*at].xid != 60) {
        let mut ledger = sound.clone();
        let mut event = ledger.audit_log.remove(at);
        event.action = "DELETE".to_owned();
        ledger.capture(event.clone());
        let findings = verify(&ledger);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].code, Code::EventSetChanged);
        assert_eq!(
            findings[0].account.as_deref(),
            Some(event.account_id.as_str())
        );
        assert_eq!(
            findings[0].detail,
            "as many events as sealed, but altered or reordered"
        );
    }
}

#[test]
fn missing_and_added_events_are_counted() {
    let mut ledger = sample();
    ledger
        .audit_log
        .retain(|event| !(event.xid == 100 && event.ordinal > 1));
    let findings = verify(&ledger);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, Code::EventSetChanged);
    assert_eq!(findings[0].block, Some(1));
    assert_eq!(findings[0].detail, "2 events fewer than sealed");

    let mut ledger = sample();
    let back_dated = ledger
        .audit_log
        .iter()
        .find(|event| event.xid == 107)
        .expect("in sample");
    ledger.capture(model::Event {
        ordinal: 9,
        ..back_dated.clone()
    });
    let findings = verify(&ledger);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        (findings[0].code, findings[0].block),
        (Code::EventSetChanged, Some(2))
    );
    assert_eq!(findings[0].detail, "1 event more than sealed");
}

/// Damage in one block does not hide damage of the same account in a later one.
#[test]
fn damage_is_found_behind_damage() {
    let mut ledger = sample();
    ledger
        .audit_log
        .retain(|event| !matches!((event.xid, event.ordinal), (101, _) | (102, 2)));
    let findings = verify(&ledger);
    let found: Vec<_> = findings
        .iter()
        .map(|f| (f.code, f.block, f.detail.as_str()))
        .collect();
    let context = format!(
        "no event names context {:016x}-101-0",
        ledger.audit_log[0].incarnation
    );
    assert_eq!(
        found,
        [
            (Code::ContextUnreferenced, None, context.as_str()),
            (
                Code::EventSetChanged,
                Some(1),
                "1 event fewer than sealed: none is left"
            ),
            (Code::EventSetChanged, Some(2), "1 event fewer than sealed"),
        ]
    );
}

/// The newest block removed with all that speaks of it: only an earlier checkpoint tells.
#[test]
fn consistent_truncation_is_found_with_a_checkpoint_only() {
    let whole = sample();
    let mut cut = whole.clone();
    let (kept, lost) = (
        cut.ledger_block[1].clone(),
        cut.ledger_block.pop().expect("three"),
    );
    cut.ledger_leaf.retain(|leaf| leaf.block <= kept.block);
    cut.audit_log
        .retain(|event| event.incarnation == kept.incarnation && event.xid < 110);
    cut.audit_context
        .retain(|row| row.incarnation == kept.incarnation && row.xid < 110);
    cut.ledger_account = {
        let mut same = cut.clone();
        (same.ledger_block, same.ledger_leaf, same.ledger_account) = Default::default();
        for block in &cut.ledger_block {
            let cluster = (block.incarnation, block.timeline);
            same.seal(cluster, &block.snapshot, &block.adopted, block.sealed_at);
        }
        // Blindings are given out in order of first appearance.
        assert_eq!(same.ledger_block, cut.ledger_block);
        same.ledger_account
    };
    let verify = |against: &str| cut.verify(Scope::All, Some(against), kept.incarnation);
    assert_eq!(cut.verify(Scope::All, None, kept.incarnation), []);
    assert_eq!(verify(&cut.checkpoint(&kept)), []);
    let findings = verify(&whole.checkpoint(&lost));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, Code::CheckpointTruncated);
}

#[test]
fn a_checkpoint_of_another_ledger_does_not_match() {
    let ledger = sample();
    let codes = |checkpoint: String| {
        let findings = ledger.verify(Scope::All, Some(&checkpoint), incarnation(&ledger));
        findings
            .iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    let changed = |change: fn(&mut model::BlockRow)| {
        let mut block = ledger.ledger_block[1].clone();
        change(&mut block);
        ledger.checkpoint(&block)
    };
    assert_eq!(codes(changed(|_| ())), []);
    let other_root = changed(|block| block.root = "00".repeat(32));
    assert_eq!(codes(other_root), [Code::CheckpointMismatch]);
    assert_eq!(
        codes(changed(|block| block.tree_size -= 1)),
        [Code::CheckpointMismatch]
    );
    assert_eq!(
        codes(changed(|block| block.tree_size += 1)),
        [Code::CheckpointMismatch]
    );
    assert_eq!(
        codes(changed(|block| block.incarnation += 1)),
        [Code::CheckpointMismatch]
    );
    assert_eq!(
        codes(changed(|block| block.epoch = 3)),
        [Code::CheckpointTruncated]
    );
}

/// Events of a database whose successor has sealed without them are in no block.
#[test]
fn an_event_left_behind_is_reported() {
    let mut ledger = sample();
    let stray = ledger
        .audit_log
        .iter()
        .find(|event| event.xid == 112)
        .expect("in sample")
        .clone();
    let context = ledger
        .audit_context
        .iter()
        .find(|row| row.xid == 112)
        .expect("in sample")
        .clone();
    let row = model::ContextRow {
        xid: 500,
        ..context
    };
    ledger.audit_context.push(row.hashed());
    ledger.capture(model::Event { xid: 500, ..stray });
    let findings = verify(&ledger);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, Code::EventUnclaimed);
    assert!(
        findings[0]
            .event_id
            .as_ref()
            .is_some_and(|id| id.ends_with("-500-1"))
    );
}

#[test]
fn one_account_is_checked_alone() {
    let mut ledger = sample();
    for event in ledger.audit_log.iter_mut().filter(|event| event.xid == 101) {
        event.action = "DELETE".to_owned();
    }
    let verify = |account: &str| {
        let scope = Scope::Account(account.to_owned());
        ledger.verify(scope, None, incarnation(&sample())).len()
    };
    assert_eq!(verify("007"), 1);
    assert_eq!(verify("2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788"), 0);
}

/// Values at the ends of each type, as far as the column takes them.
fn extreme(value: &Value, choice: usize) -> Value {
    let numbers = [i64::MAX, i64::MIN, 0, -1, 1_000];
    match value {
        Value::Number(_) => json!(numbers[choice % numbers.len()]),
        Value::String(_) => json!(["", "00", "x", "0:0:", "1:9223372036854775807:"][choice % 5]),
        other => other.clone(),
    }
}

/// Edits cells at random; `None` if a column does not take its value.
fn with_edits(ledger: &Ledger, edits: &[(usize, usize, usize, usize)]) -> Option<Ledger> {
    let mut value = serde_json::to_value(ledger).expect("plain data");
    for (table, row, column, choice) in edits {
        let table = TABLES[table % TABLES.len()];
        let rows = value[table].as_array_mut()?;
        if rows.is_empty() {
            continue;
        }
        let at = row % rows.len();
        if choice % 7 == 0 {
            rows.remove(at);
            continue;
        }
        let columns: Vec<String> = rows[at].as_object()?.keys().cloned().collect();
        let column = &columns[column % columns.len()];
        let cell = &mut rows[at][column];
        *cell = match choice % 2 {
            0 => edited(cell, table, column),
            _ => extreme(cell, *choice),
        };
    }
    serde_json::from_value(value).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// However much is edited at once, and to whatever, nothing panics and something is found:
    /// believing what agrees never hides the last trace.
    #[test]
    fn damage_never_cancels_out(
        edits in prop::collection::vec((0usize..5, 0usize..20, 0usize..30, 0usize..70), 1..6),
        account in prop::option::of(Just("007".to_owned())),
    ) {
        let mut sound = sample();
        // What is not sealed yet can vanish without a trace.
        sound.audit_log.retain(|event| event.xid != 60);
        sound.audit_context.retain(|row| row.xid != 60);
        let Some(tampered) = with_edits(&sound, &edits) else { return Ok(()) };
        let scope = account.map_or(Scope::All, Scope::Account);
        let all = scope == Scope::All;
        let findings = tampered.verify(scope, None, incarnation(&sound));
        prop_assert!(!all || tampered == sound || !findings.is_empty(), "{edits:?}");
    }
}

proptest! {
    /// Any history of transactions, accounts and sealing rounds verifies, each event in one block.
    #[test]
    fn what_is_sealed_verifies(
        transactions in prop::collection::vec((0u8..4, 1usize..5, 0i64..30), 1..40),
        rounds in prop::collection::vec(1i64..60, 1..8),
    ) {
        let mut ledger = Ledger::default();
        let mut rounds = rounds;
        rounds.sort_unstable();
        rounds.push(1_000);
        // A transaction has the id of its start and ends some ids later.
        for (xid, (account, events, _)) in (0..).zip(&transactions) {
            for ordinal in 0..*events as i32 {
                ledger.capture(model::Event {
                    incarnation: -5,
                    xid,
                    ordinal,
                    command_id: i64::from(ordinal / 2),
                    account_id: format!("account {account}"),
                    ..model::Event::default()
                });
            }
        }
        for now in rounds {
            let xmax = now.min(transactions.len() as i64);
            let running: Vec<i64> = (0..xmax)
                .filter(|xid| xid + transactions[*xid as usize].2 >= now)
                .collect();
            let xmin = running.first().copied().unwrap_or(xmax);
            let list: Vec<String> = running.iter().map(i64::to_string).collect();
            ledger.seal((-5, 1), &format!("{xmin}:{xmax}:{}", list.join(",")), "", now);
        }
        prop_assert_eq!(ledger.verify(Scope::All, None, -5), vec![]);
        let sealed: i64 = ledger.ledger_block.iter().map(|block| block.events).sum();
        prop_assert_eq!(sealed as usize, ledger.audit_log.len());
    }
}
