//! At every fault point of the source (`fault_point!`), every kind of fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::{Client, Error, NoTls};
use tenant_guard_tests::{Cluster, lines};

use super::steps::{STEPS, Step, shop};
use crate::isolation::Shop;

/// What can go wrong at a point, and the SQLSTATE the client gets; none where the connection ends
/// without a word.
const FAULTS: [(&str, Option<&str>); 5] = [
    ("error", Some("58030")),
    ("memory", Some("53200")),
    ("cancel", Some("57014")),
    (ENDING, Some(ENDED)),
    ("exit", None),
];

/// Ends a session with a word. Between exit and error it shows little that they do not.
const ENDING: &str = "terminate";
const ENDED: &str = "57P01";

/// The points that the source has, so that none can be left out here.
pub(super) fn points() -> BTreeSet<String> {
    fn read(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("fault_point!(\"").skip(1);
                found.extend(names.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let mut found = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    read(&source, &mut found);
    found
}

/// Those of one step.
fn points_of(prefix: &str) -> Vec<String> {
    let points = points().into_iter();
    let found: Vec<_> = points.filter(|point| point.starts_with(prefix)).collect();
    assert!(!found.is_empty(), "no point begins with {prefix}");
    found
}

#[test]
fn every_point_belongs_to_a_step() {
    let covered = |point: &String| {
        let mut prefixes = STEPS.iter().map(|step| step.prefix).chain(["sealer."]);
        prefixes.any(|prefix| point.starts_with(prefix))
    };
    let points = points();
    assert!(points.len() > 50, "{points:?}");
    let forgotten: Vec<_> = points.iter().filter(|point| !covered(point)).collect();
    assert!(forgotten.is_empty(), "no step passes {forgotten:?}");
}

#[test]
fn only_a_superuser_has_something_go_wrong() {
    let shop = Shop::empty();
    let mut app = shop.app();
    lines(&mut app, "SELECT tenant_guard.is_authenticated()");
    tenant_guard_tests::expect_error(
        app.batch_execute("SET fault_points.at = 'authenticate.bound crash'"),
        "42501",
        "fault_points.at",
    );
}

macro_rules! tests_of_steps {
    ($($name:ident: $prefix:literal,)*) => {
        $(#[test]
        fn $name() {
            let steps: Vec<_> = STEPS.iter().filter(|step| step.prefix == $prefix).collect();
            assert!(!steps.is_empty());
            for step in steps {
                try_all(step, false);
            }
        })*

        #[test]
        fn every_step_is_tried() {
            let tried: BTreeSet<_> = [$($prefix),*].into();
            let all: BTreeSet<_> = STEPS.iter().map(|step| step.prefix).collect();
            assert_eq!(tried, all);
        }
    };
}

tests_of_steps! {
    fault_while_authenticating_binds_nobody: "authenticate.",
    fault_while_capturing_leaves_neither_row_nor_event: "capture.",
    fault_while_sealing_leaves_no_piece_of_a_block: "seal.",
    fault_while_verifying_changes_no_verdict: "verify.",
    fault_while_reads_are_written_loses_none: "reads.",
    fault_while_erasing_erases_nothing: "erase.",
    fault_while_protecting_leaves_the_table_as_it_was: "protect.",
    fault_while_taking_protection_off_leaves_it: "unprotect.",
    fault_while_a_manifest_is_applied_applies_nothing: "manifest.",
    fault_while_the_ledger_is_made_leaves_none: "ledger.",
    fault_while_a_checkpoint_is_read_gives_none: "checkpoint.",
}

/// Where a step is tried: all tries in one shop, but the ledger is made once in a database.
struct Shops {
    cluster: Arc<Cluster>,
    shop: Shop,
    /// Looks at it.
    watcher: Client,
    once: bool,
}

impl Shops {
    fn new(step: &Step, cluster: Arc<Cluster>) -> Self {
        let once = step.prefix == "ledger.";
        let shop = Self::make(&cluster, once);
        Self {
            watcher: shop.db.superuser(),
            cluster,
            shop,
            once,
        }
    }

    fn make(cluster: &Arc<Cluster>, empty: bool) -> Shop {
        match empty {
            true => Shop::of(cluster.database()),
            false => shop(cluster.database()),
        }
    }

    fn next(&mut self) -> (&Shop, &mut Client) {
        if self.once {
            self.shop = Self::make(&self.cluster, true);
            self.watcher = self.shop.db.superuser();
        }
        (&self.shop, &mut self.watcher)
    }
}

/// Tries the faults at every point of a step, and an error at later passes, or all of them. Returns how often.
fn try_all(step: &Step, everything: bool) -> usize {
    let mut shops = Shops::new(step, Cluster::shared());
    let mut number = 100;
    for point in points_of(step.prefix) {
        for (action, code) in FAULTS {
            let passes = match (action, everything) {
                (_, true) => 50,
                ("error", false) => 12,
                (ENDING, false) => continue,
                _ => 1,
            };
            for pass in 1..=passes {
                number += 1;
                let fault = format!("{point} {action} {pass}");
                let fired = try_fault(shops.next(), step, number, &fault, code);
                assert!(fired || pass > 1, "{}: no pass of {point}", step.name);
                if !fired {
                    break;
                }
            }
        }
        // What went wrong with the ledger in any of them stays.
        check_ledger(&shops.shop, &point);
    }
    number - 100
}

#[test]
#[ignore = "tries every fault at every pass of every point"]
fn every_fault_at_every_pass_leaves_nothing_half_done() {
    let tries = STEPS.iter().map(|step| try_all(step, true));
    println!("{} tries", tries.sum::<usize>());
}

/// Has the step run into a fault, and runs it again. Returns false where the fault did not happen:
/// then the step has been done.
#[track_caller]
fn try_fault(
    (shop, watcher): (&Shop, &mut Client),
    step: &Step,
    number: usize,
    fault: &str,
    code: Option<&str>,
) -> bool {
    let name = step.name;
    (step.prepare)(shop, number);
    let before = state(watcher);
    let mut session = (step.session)(shop, fault);
    let outcome = (step.run)(shop, &mut session, number);
    let fired = outcome.is_err();
    if let Err(error) = outcome {
        assert_fault(&error, fault, code);
        assert_eq!(
            state(watcher),
            before,
            "{name}, {fault}: something is half done"
        );
        if code.is_none_or(|code| code == ENDED) {
            session = (step.session)(shop, "");
        }
        let again = (step.run)(shop, &mut session, number);
        again.unwrap_or_else(|error| panic!("{name} after {fault}: {error:?}"));
    }
    (step.check)(shop, number);
    fired
}

#[track_caller]
fn assert_fault(error: &Error, fault: &str, code: Option<&str>) {
    let found = error.as_db_error().map(|error| error.code().code());
    // The driver may notice the end of the connection before the message in front of it.
    let ended = code == Some(ENDED) && found.is_none();
    assert!(found == code || ended, "{fault}: {error:?}");
    if code == Some("58030") {
        let point = fault.split(' ').next().unwrap();
        let message = error.as_db_error().unwrap().message();
        let expected = format!("fault at {point}");
        assert!(message.ends_with(&expected), "{fault}: {message}");
    }
}

/// The ledger is intact, and every row that was added has its one event.
#[track_caller]
pub(super) fn check_ledger(shop: &Shop, fault: &str) {
    let mut superuser = shop.db.superuser();
    let findings = lines(&mut superuser, "SELECT * FROM tenant_guard.verify_ledger()");
    assert!(findings.is_empty(), "{fault}: {findings:?}");
    if lines(&mut superuser, "SELECT to_regclass('shop.contact')") == ["<null>"] {
        return;
    }
    let rows = "SELECT id FROM shop.contact ORDER BY 1";
    let events = "SELECT row_key::jsonb ->> 'id' FROM tenant_guard.audit_log
                  WHERE relation = 'shop.contact' AND action = 'insert' ORDER BY 1";
    let mut events = lines(&mut superuser, events);
    let mut rows = lines(&mut superuser, rows);
    events.sort();
    rows.sort();
    assert_eq!(events, rows, "{fault}: rows and their events");
}

/// Everything that a step may change: rows of our tables and of the product's, and what the catalog says
/// of them.
pub(super) fn state(client: &mut Client) -> Vec<String> {
    let tables = lines(
        client,
        "SELECT c.oid::regclass FROM pg_class AS c
         WHERE c.relnamespace IN (SELECT to_regnamespace(n) FROM unnest('{tenant_guard,shop}'::text[]) AS n)
             AND c.relkind = 'r' AND c.relname NOT LIKE 'seen%' ORDER BY 1",
    );
    let ours = "IN (to_regnamespace('tenant_guard'), to_regnamespace('shop'))";
    let of_ours = format!("(SELECT oid FROM pg_class WHERE relnamespace {ours})");
    let catalogs = [
        "SELECT extname, extversion, extowner FROM pg_extension".to_owned(),
        "SELECT evtname, evtenabled, evtowner FROM pg_event_trigger".to_owned(),
        format!(
            "SELECT relname, relkind, relowner, relrowsecurity, relforcerowsecurity, relacl, reloptions
             FROM pg_class WHERE relnamespace {ours}"
        ),
        format!("SELECT proname, proowner, proacl, prosrc, proconfig FROM pg_proc WHERE pronamespace {ours}"),
        format!("SELECT p FROM pg_policy AS p WHERE polrelid IN {of_ours}"),
        format!("SELECT t FROM pg_trigger AS t WHERE tgrelid IN {of_ours}"),
        format!("SELECT d FROM pg_attrdef AS d WHERE adrelid IN {of_ours}"),
        format!("SELECT c FROM pg_constraint AS c WHERE conrelid IN {of_ours}"),
        format!(
            "SELECT attrelid, attnum, attname, attnotnull, atthasdef, attacl FROM pg_attribute
             WHERE attrelid IN {of_ours}"
        ),
    ];
    let of_tables = tables
        .iter()
        .map(|table| format!("SELECT t FROM {table} AS t"));
    let queries: Vec<_> = catalogs.into_iter().chain(of_tables).collect();
    let digests: Vec<_> = (0..)
        .zip(&queries)
        .map(|(number, query)| {
            format!(
                "SELECT {number} AS n, count(*), md5(string_agg(q::text, ',' ORDER BY q::text)) FROM ({query}) AS q"
            )
        })
        .collect();
    let found = lines(
        client,
        &format!("{} ORDER BY n", digests.join(" UNION ALL ")),
    );
    let labels = queries.into_iter();
    labels
        .zip(found)
        .map(|(query, digest)| format!("{query}: {digest}"))
        .collect()
}

/// Sessions end with the server that crashes: a new one, once this one has.
fn await_restart(cluster: &Cluster, database: &str, session: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let pause = || {
        assert!(Instant::now() < deadline, "the server does not come back");
        std::thread::sleep(Duration::from_millis(10));
    };
    while session.simple_query("SELECT 1").is_ok() {
        pause();
    }
    loop {
        match cluster.config(database, "postgres").connect(NoTls) {
            Ok(client) => {
                *session = client;
                return;
            }
            Err(_) => pause(),
        }
    }
}

#[test]
#[ignore = "crashes the server at every point"]
fn crash_at_every_point_leaves_nothing_half_done() {
    let cluster = Cluster::start(&["restart_after_crash=on", "shared_buffers=16MB"]);
    for step in &STEPS {
        let mut shops = Shops::new(step, Arc::clone(&cluster));
        for (number, point) in (100..).zip(points_of(step.prefix)) {
            let fault = format!("{point} crash");
            let (shop, watcher) = shops.next();
            (step.prepare)(shop, number);
            let before = state(watcher);
            let mut session = (step.session)(shop, &fault);
            let outcome = (step.run)(shop, &mut session, number);
            assert_fault(&outcome.unwrap_err(), &fault, None);
            await_restart(&cluster, shop.db.name(), watcher);
            assert_eq!(state(watcher), before, "{fault}: something is half done");
            // What only memory held is gone with it: reads that no event says yet.
            if step.survives_crash {
                let again = (step.run)(shop, &mut (step.session)(shop, ""), number);
                again.unwrap_or_else(|error| panic!("{} after {fault}: {error:?}", step.name));
                (step.check)(shop, number);
            }
            check_ledger(shop, &fault);
        }
    }
}
