//! The corpus of sound schemas in tests/schemas/sound: whatever they look like, nothing is found in
//! them that is worse than worth knowing.

use super::super::Shop;
use super::script;

/// A test for each script, and the list of them.
macro_rules! sound {
    ($($test:ident = $file:literal;)+) => {
        const SCRIPTS: &[&str] = &[$($file),+];
        $(#[test]
        fn $test() {
            nothing_is_found(include_str!(
                concat!("../../../../schemas/sound/", $file, ".sql")));
        })+
    };
}

sound! {
    schema_01_uuid_keys_everywhere = "01_uuid_keys_everywhere";
    schema_02_serial_and_identity = "02_serial_and_identity";
    schema_03_text_accounts = "03_text_accounts";
    schema_04_children_and_shared_defaults = "04_children_and_shared_defaults";
    schema_05_partitions = "05_partitions";
    schema_06_views_that_run_as_their_reader = "06_views_that_run_as_their_reader";
    schema_07_functions_of_an_ordinary_owner = "07_functions_of_an_ordinary_owner";
    schema_08_policies_of_its_own = "08_policies_of_its_own";
    schema_09_roles_in_groups = "09_roles_in_groups";
    schema_10_accounts_and_people = "10_accounts_and_people";
    schema_11_odd_names = "11_odd_names";
    schema_12_extensions = "12_extensions";
    schema_13_publication_of_the_rest = "13_publication_of_the_rest";
    schema_14_closed_and_public = "14_closed_and_public";
    schema_15_public_lookup_tables = "15_public_lookup_tables";
    schema_16_definers_that_are_bound = "16_definers_that_are_bound";
    schema_17_natural_keys_led_by_the_account = "17_natural_keys_led_by_the_account";
    schema_18_materialized_views_of_the_rest = "18_materialized_views_of_the_rest";
    schema_19_closed_tables = "19_closed_tables";
    schema_20_policies_with_functions = "20_policies_with_functions";
    schema_21_partitions_by_time = "21_partitions_by_time";
    schema_22_generated_columns = "22_generated_columns";
    schema_23_types_of_extensions = "23_types_of_extensions";
    schema_24_products_of_several_schemas = "24_products_of_several_schemas";
    schema_25_groups_that_are_become = "25_groups_that_are_become";
    schema_26_names_that_only_look_alike = "26_names_that_only_look_alike";
    schema_27_queues_and_files = "27_queues_and_files";
    schema_28_reads_that_are_seen = "28_reads_that_are_seen";
}

#[track_caller]
fn nothing_is_found(text: &str) {
    let shop = Shop::empty();
    let text = script(&shop, text);
    shop.db.superuser().batch_execute(&text).unwrap();
    let found = shop.check("severity, code, object, detail");
    let worse: Vec<_> = found
        .iter()
        .filter(|line| !line.starts_with("info|"))
        .collect();
    assert_eq!(worse, [""; 0]);
}

#[test]
fn every_script_is_run() {
    assert_eq!(super::scripts("sound"), SCRIPTS);
}
