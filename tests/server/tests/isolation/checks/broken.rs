//! The corpus of broken schemas in tests/schemas/broken: each is a sound schema and what its script does to
//! it, which differs from a sound one by what its header calls its `twin`. The header says what is found
//! (`finds`) and what of it has no SQL to paste (`without fix`), what is left after every fix was pasted
//! (`left`), and what mends that (`by hand`); its sessions (see `leak`) what a client got out of it, or why no client can
//! (`cannot be shown`).

use std::sync::{Arc, LazyLock};

use postgres::Client;
use tenant_guard_tests::Cluster;

use super::super::Shop;
use super::leak::{self, Session};
use super::{Found, of_version, script, sound, sound_in};

/// A test for each script, and the list of them.
macro_rules! broken {
    ($($test:ident = $file:literal;)+) => {
        /// Name and text of each script.
        pub(super) const SCRIPTS: &[(&str, &str)] = &[$(($file,
            include_str!(concat!("../../../../schemas/broken/", $file, ".sql")))),+];
        $(#[test]
        fn $test() {
            found_and_mended(include_str!(
                concat!("../../../../schemas/broken/", $file, ".sql")));
        })+
    };
}

broken! {
    row_01_partition_not_forced = "01_partition_not_forced";
    row_01_row_security_not_forced = "01_row_security_not_forced";
    row_02_bypassrls = "02_bypassrls";
    row_03_superuser = "03_superuser";
    row_04_bypass_through_groups = "04_bypass_through_groups";
    row_04_superuser_through_groups = "04_superuser_through_groups";
    row_05_member_of_owner = "05_member_of_owner";
    row_06_owner_can_log_in = "06_owner_can_log_in";
    row_07_permissive_policy = "07_permissive_policy";
    row_07_to_return_what_was_written = "07_to_return_what_was_written";
    row_10_row_security_off = "10_row_security_off";
    row_11_predefined_roles = "11_predefined_roles";
    row_12_child_forgotten = "12_child_forgotten";
    row_12_forgotten = "12_forgotten";
    row_12_row_security_off = "12_row_security_off";
    row_12_unfit_account = "12_unfit_account";
    row_13_default_partition = "13_default_partition";
    row_13_partition_at_depth_three = "13_partition_at_depth_three";
    row_14_inheritance_child = "14_inheritance_child";
    row_14_parent_that_is_open = "14_parent_that_is_open";
    row_15_column_swapped = "15_column_swapped";
    row_15_copy_by_like = "15_copy_by_like";
    row_15_guard_taken_out = "15_guard_taken_out";
    row_15_guards_disabled = "15_guards_disabled";
    row_15_ledger_altered = "15_ledger_altered";
    row_15_not_registered = "15_not_registered";
    row_17_create_granted = "17_create_granted";
    row_18_materialized_view = "18_materialized_view";
    row_18_over_views = "18_over_views";
    row_19_hidden_behind_a_view = "19_hidden_behind_a_view";
    row_19_invoker_over_owner = "19_invoker_over_owner";
    row_19_view_runs_as_owner = "19_view_runs_as_owner";
    row_20_view_of_bypassing_owner = "20_view_of_bypassing_owner";
    row_20_view_that_writes = "20_view_that_writes";
    row_22_foreign_table = "22_foreign_table";
    row_22_loop_back = "22_loop_back";
    row_23_default_privileges = "23_default_privileges";
    row_23_of_every_schema = "23_of_every_schema";
    row_24_truncate_granted = "24_truncate_granted";
    row_25_foreign_key_oracle = "25_foreign_key_oracle";
    row_26_beside_the_link = "26_beside_the_link";
    row_26_key_without_account = "26_key_without_account";
    row_26_link_of_several_parents = "26_link_of_several_parents";
    row_26_link_without_key = "26_link_without_key";
    row_26_parent_key_twice = "26_parent_key_twice";
    row_27_child = "27_child";
    row_27_domain = "27_domain";
    row_27_held_by_a_trigger = "27_held_by_a_trigger";
    row_27_natural_values = "27_natural_values";
    row_27_referred_to = "27_referred_to";
    row_28_on_conflict = "28_on_conflict";
    row_29_merge = "29_merge";
    row_30_exclusion = "30_exclusion";
    row_31_sequences = "31_sequences";
    row_32_large_objects = "32_large_objects";
    row_32_large_objects_of_the_application = "32_large_objects_of_the_application";
    row_34_replication = "34_replication";
    row_35_subscription = "35_subscription";
    row_37_floor_altered = "37_floor_altered";
    row_37_floor_dropped = "37_floor_dropped";
    row_40_or_nobody = "40_or_nobody";
    row_40_true = "40_true";
    row_40_true_in_a_function = "40_true_in_a_function";
    row_41_account_nullable = "41_account_nullable";
    row_41_null_safe = "41_null_safe";
    row_42_setting = "42_setting";
    row_44_default_account = "44_default_account";
    row_45_assignment_writable = "45_assignment_writable";
    row_45_writable_members = "45_writable_members";
    row_46_cycle = "46_cycle";
    row_47_in_a_function = "47_in_a_function";
    row_47_user_metadata = "47_user_metadata";
    row_48_membership_altered = "48_membership_altered";
    row_51_rules = "51_rules";
    row_52_trigger = "52_trigger";
    row_53_default = "53_default";
    row_55_definer = "55_definer";
    row_55_named_not_compared = "55_named_not_compared";
    row_55_through_procedures = "55_through_procedures";
    row_55_trigger_elsewhere = "55_trigger_elsewhere";
    row_56_search_path = "56_search_path";
    row_57_immutable = "57_immutable";
    row_59_leakproof = "59_leakproof";
    row_60_statistics_views = "60_statistics_views";
    row_64_session_identity = "64_session_identity";
    row_66_statistics = "66_statistics";
    row_67_literal = "67_literal";
    row_68_createrole = "68_createrole";
    row_69_schema_owner = "69_schema_owner";
    row_70_setting_granted = "70_setting_granted";
    row_73_md5 = "73_md5";
    row_74_no_remedy = "74_no_remedy";
    row_74_restorable = "74_restorable";
    row_75_reads_unseen = "75_reads_unseen";
    row_76_accounts_writable = "76_accounts_writable";
    row_76_members_writable = "76_members_writable";
    row_76_roles_writable = "76_roles_writable";
}

/// What a role can become is found in every database of its cluster, so that dangerous roles have one
/// for themselves. It decodes logically.
fn dangerous() -> Arc<Cluster> {
    static DANGEROUS: LazyLock<Arc<Cluster>> =
        LazyLock::new(|| Cluster::start(&["wal_level=logical"]));
    Arc::clone(&DANGEROUS)
}

/// The values of the header lines with this key.
pub(super) fn header<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines();
    lines
        .filter_map(|line| {
            line.strip_prefix("-- ")?
                .strip_prefix(key)?
                .strip_prefix(": ")
        })
        .collect()
}

#[track_caller]
fn found_and_mended(text: &str) {
    let shop = match header(text, "cluster")[..] {
        ["dangerous"] => sound_in(dangerous().database()),
        [] => sound(),
        ref other => panic!("no cluster {other:?}"),
    };
    // Some ways out were closed in PostgreSQL itself.
    let closed = |version: &&str| version.parse().is_ok_and(|v: i32| shop.db.version() >= v);
    if header(text, "before version").iter().any(closed) {
        return;
    }
    let text = script(&shop, text);
    // Some roles are what is broken.
    let ordinary = !["|02-", "|03-", "|04-"]
        .iter()
        .any(|code| text.contains(code));
    let mut superuser = shop.db.superuser();
    drop(shop.app());
    shop.unguarded().batch_execute(&text).unwrap();
    let in_sight = format!("SELECT 'of bob, {}'", shop.db.name());
    superuser.batch_execute(&in_sight).unwrap();
    let leaks = leak::sessions(&text);
    let told: Vec<Session> = leaks
        .iter()
        .map(|leak| leak.shown(&shop, ordinary))
        .collect();
    let found = Found::by(&shop);
    assert_eq!(
        sorted(found.findings.clone()),
        sorted(header(&text, "finds"))
    );
    assert_eq!(sorted(found.unfixed.clone()), header(&text, "without fix"));
    let mut left = paste_fixes(&shop, &mut superuser, found);
    let by_hand = header(&text, "by hand");
    for statement in &by_hand {
        shop.unguarded().batch_execute(statement).unwrap();
    }
    if !by_hand.is_empty() {
        left = Found::by(&shop);
    }
    assert_eq!(sorted(left.findings), sorted(header(&text, "left")));
    superuser.batch_execute(&in_sight).unwrap();
    for (leak, session) in leaks.iter().zip(told) {
        leak.stopped(&shop, session);
    }
}

/// Pastes every fix, and those that became possible by that; what is found then.
#[track_caller]
fn paste_fixes(shop: &Shop, superuser: &mut Client, mut found: Found) -> Found {
    let mut pasted = Vec::new();
    loop {
        let fixes = &found.fixes;
        let fresh: Vec<_> = fixes.iter().filter(|fix| !pasted.contains(*fix)).collect();
        if fresh.is_empty() {
            return found;
        }
        for fix in fresh {
            let done = superuser.batch_execute(fix);
            done.unwrap_or_else(|error| panic!("{fix}: {error}"));
        }
        pasted.extend(found.fixes);
        found = Found::by(shop);
    }
}

fn sorted<T: Into<String>>(lines: Vec<T>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
    lines.sort();
    lines
}

#[test]
fn every_script_is_run() {
    let names: Vec<_> = SCRIPTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(super::scripts("broken"), names);
}

#[test]
fn every_script_shows_what_gets_out_or_says_why_it_cannot() {
    let mut silent = Vec::new();
    let newest = |(name, text): &(&'static str, &str)| (*name, of_version(text, i32::MAX));
    let scripts: Vec<_> = SCRIPTS.iter().map(newest).collect();
    for (name, text) in &scripts {
        assert_eq!(header(text, "twin").len(), 1, "{name} has no twin");
        match header(text, "cannot be shown")[..] {
            [] => assert!(!leak::sessions(text).is_empty(), "{name} shows nothing"),
            [reason] => {
                assert!(leak::sessions(text).is_empty(), "{name} shows it");
                silent.push((*name, reason));
            }
            _ => panic!("{name} says it twice"),
        }
    }
    assert_eq!(
        silent,
        [
            (
                "15_column_swapped",
                "every change of the table is an error until somebody says which column is meant"
            ),
            (
                "15_ledger_altered",
                "only auditors read the ledger, and only superusers write to its tables"
            ),
            (
                "15_not_registered",
                "its policies still stand, and what takes them off is some later command of its owner"
            ),
            (
                "35_subscription",
                "what arrives comes over a replication connection from another server, and fails"
            ),
            (
                "48_membership_altered",
                "nobody signs in, and nothing gets out"
            ),
            (
                "73_md5",
                "only superusers read verifiers, and a backup that holds them is outside the database"
            ),
            (
                "74_no_remedy",
                "the plan without the index is the plan with it, which is what is wrong"
            ),
            (
                "75_reads_unseen",
                "what is missing is missing in the log, which the application does not read"
            ),
        ]
    );
}
