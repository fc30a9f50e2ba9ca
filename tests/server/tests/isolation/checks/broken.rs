//! The corpus of broken schemas in tests/schemas/broken: each is a sound schema and what its script does to
//! it. A header says what is found (`finds`), what is left after every fix was pasted (`left`), and
//! what mends that (`by hand`).

use tenant_guard_tests::Cluster;

use super::{findings, script, sound, sound_in};

/// A test for each script, and the list of them.
macro_rules! broken {
    ($($test:ident = $file:literal;)+) => {
        const SCRIPTS: &[&str] = &[$($file),+];
        $(#[test]
        fn $test() {
            found_and_mended(include_str!(
                concat!("../../../../schemas/broken/", $file, ".sql")));
        })+
    };
}

broken! {
    row_03_superuser = "03_superuser";
    row_04_bypass_through_groups = "04_bypass_through_groups";
    row_05_member_of_owner = "05_member_of_owner";
    row_10_row_security_off = "10_row_security_off";
    row_11_predefined_roles = "11_predefined_roles";
    row_17_create_granted = "17_create_granted";
    row_19_hidden_behind_a_view = "19_hidden_behind_a_view";
    row_19_invoker_over_owner = "19_invoker_over_owner";
    row_20_view_of_bypassing_owner = "20_view_of_bypassing_owner";
    row_22_foreign_table = "22_foreign_table";
    row_22_loop_back = "22_loop_back";
    row_23_default_privileges = "23_default_privileges";
    row_25_foreign_key_oracle = "25_foreign_key_oracle";
    row_26_beside_the_link = "26_beside_the_link";
    row_26_link_of_several_parents = "26_link_of_several_parents";
    row_26_link_without_key = "26_link_without_key";
    row_27_child = "27_child";
    row_27_natural_values = "27_natural_values";
    row_30_exclusion = "30_exclusion";
    row_31_sequences = "31_sequences";
    row_32_large_objects = "32_large_objects";
    row_32_large_objects_of_the_application = "32_large_objects_of_the_application";
    row_34_replication = "34_replication";
    row_35_subscription = "35_subscription";
    row_40_or_nobody = "40_or_nobody";
    row_40_true = "40_true";
    row_41_null_safe = "41_null_safe";
    row_42_setting = "42_setting";
    row_44_default_account = "44_default_account";
    row_45_writable_members = "45_writable_members";
    row_46_cycle = "46_cycle";
    row_47_in_a_function = "47_in_a_function";
    row_47_user_metadata = "47_user_metadata";
    row_51_rules = "51_rules";
    row_52_trigger = "52_trigger";
    row_53_default = "53_default";
    row_55_definer = "55_definer";
    row_56_search_path = "56_search_path";
    row_57_immutable = "57_immutable";
    row_59_leakproof = "59_leakproof";
    row_64_session_identity = "64_session_identity";
    row_66_statistics = "66_statistics";
    row_67_literal = "67_literal";
    row_68_createrole = "68_createrole";
    row_69_schema_owner = "69_schema_owner";
    row_73_md5 = "73_md5";
    row_74_no_remedy = "74_no_remedy";
    row_74_restorable = "74_restorable";
}

#[track_caller]
fn found_and_mended(text: &str) {
    // What a role can become is found in every database of its cluster, those of other tests too.
    let shop = if text.contains("-- cluster: its own") {
        sound_in(Cluster::start(&[]).database())
    } else {
        sound()
    };
    let text = script(&shop, text);
    let header = |key: &str| -> Vec<&str> {
        let lines = text.lines();
        lines
            .filter_map(|line| line.strip_prefix("-- ")?.strip_prefix(key))
            .collect()
    };
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let mut superuser = shop.db.superuser();
    shop.unguarded().batch_execute(&text).unwrap();
    let mut expected = header("finds: ");
    expected.sort();
    assert_eq!(sorted(findings(&shop)), expected);
    for fix in shop.check("DISTINCT fix") {
        superuser
            .batch_execute(&fix)
            .unwrap_or_else(|error| panic!("{fix}: {error}"));
    }
    let by_hand = header("by hand: ");
    if by_hand.is_empty() {
        assert_eq!(sorted(findings(&shop)), header("left: "));
        return;
    }
    for statement in by_hand {
        shop.unguarded().batch_execute(statement).unwrap();
    }
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn every_script_is_run() {
    assert_eq!(super::scripts("broken"), SCRIPTS);
}
