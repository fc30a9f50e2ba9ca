//! What is refused of roles and permissions, each with nothing changed.

use tenant_guard_tests::{expect_error, lines};

use super::super::Shop;
use super::{findings, prospects};

/// Asserts that `call` fails with this error and changes neither declarations nor policies.
#[track_caller]
fn refused(shop: &Shop, call: &str, sqlstate: &str, message: &str) {
    let state = || {
        let declared = "SELECT p.*::text FROM tenant_guard.permission AS p ORDER BY 1";
        let roles = "SELECT r.*::text FROM tenant_guard.product_role AS r ORDER BY 1";
        let mut superuser = shop.db.superuser();
        (
            lines(&mut superuser, declared),
            lines(&mut superuser, roles),
            shop.dump(),
        )
    };
    let before = state();
    expect_error(
        shop.owner()
            .batch_execute(&format!("SELECT tenant_guard.{call}")),
        sqlstate,
        message,
    );
    assert_eq!(state(), before, "{call}");
}

const BY_TABLE: &str = "assignment => 'shop.assigned', assignment_key => 'prospect_id',
     assignment_subject => 'agent'";

#[test]
fn unknown_role_relation_column_command_or_scope_is_named() {
    let shop = prospects();
    let unknown = "role \"ghost\" of the product does not exist";
    for (call, sqlstate, message) in [
        ("allow('ghost', 'shop.prospect', '{all}')", "42704", unknown),
        ("disallow('ghost', 'shop.prospect')", "42704", unknown),
        ("drop_role('ghost')", "42704", unknown),
        ("require_role_assurance('ghost', 'aal2')", "42704", unknown),
        ("define_role('x', '{agent,ghost}')", "42704", unknown),
        (
            "allow('agent', 'shop.nothing', '{all}')",
            "42P01",
            "does not exist",
        ),
        (
            "allow('agent', 'shop.prospect', '{select,merge}')",
            "22023",
            "command \"merge\" is not all, select, insert, update or delete",
        ),
        (
            "allow('agent', 'shop.prospect', '{}')",
            "22023",
            "commands must not be empty",
        ),
        (
            "allow('agent', 'shop.prospect', '{all}', 'mine')",
            "22023",
            "scope \"mine\" is not account, own, assigned or via",
        ),
        (
            "allow('agent', 'shop.prospect', '{all}', 'own', owner_column => 'boss')",
            "42703",
            "column \"boss\" of relation shop.prospect does not exist",
        ),
        (
            "allow('agent', 'shop.prospect', '{all}', columns => '{id,boss}')",
            "42703",
            "column \"boss\" of relation shop.prospect does not exist",
        ),
        (
            "allow('agent', 'shop.prospect', '{select}', 'assigned', assignment => 'shop.assigned',
                 assignment_key => 'nr', assignment_subject => 'agent')",
            "42703",
            "column \"nr\" of relation shop.assigned does not exist",
        ),
        (
            "allow('agent', 'shop.call_log', '{select}', 'via', via => 'boss')",
            "42703",
            "column \"boss\" of relation shop.call_log does not exist",
        ),
        (
            "allow(NULL, 'shop.prospect', '{all}')",
            "22004",
            "role must not be null",
        ),
        (
            "allow('agent', 'shop.prospect', NULL)",
            "22004",
            "commands must not be null",
        ),
        ("define_role('')", "22023", "name must not be empty"),
        (
            "require_role_assurance('agent', 'a b')",
            "22023",
            "level must be a name",
        ),
    ] {
        refused(&shop, call, sqlstate, message);
    }
}

#[test]
fn cyclic_inheritance_is_named_with_its_path() {
    let shop = prospects();
    refused(
        &shop,
        "define_role('agent', '{admin}')",
        "42P17",
        "roles of the product inherit each other: admin > agent > admin",
    );
    refused(
        &shop,
        "define_role('x', '{x}')",
        "42P17",
        "roles of the product inherit each other: x > x",
    );
}

#[test]
fn scope_takes_its_own_arguments_only() {
    let shop = prospects();
    for (arguments, message) in [
        ("'own'", "scope own needs owner_column"),
        (
            "'account', owner_column => 'owner'",
            "scope account takes no column",
        ),
        (
            "'own', owner_column => 'owner', via => 'id'",
            "scope own takes only owner_column",
        ),
        (
            "'assigned'",
            "scope assigned needs assigned_column, or assignment,",
        ),
        (
            "'assigned', assignment => 'shop.assigned'",
            "scope assigned needs assigned_column, or",
        ),
        ("'via'", "scope via needs via"),
    ] {
        let call = format!("allow('agent', 'shop.prospect', '{{all}}', {arguments})");
        refused(&shop, &call, "22023", message);
    }
    refused(
        &shop,
        "allow('agent', 'shop.prospect', '{select,delete}', columns => '{id}')",
        "22023",
        "delete takes no columns",
    );
}

#[test]
fn column_that_cannot_name_a_subject_is_refused() {
    let shop = prospects();
    if !shop.db.has_icu() {
        return;
    }
    shop.run(
        "CREATE COLLATION shop.loose (provider = icu, locale = 'und-u-ks-level2',
             deterministic = false);
         ALTER TABLE shop.prospect ADD amount numeric, ADD nick text COLLATE shop.loose",
    );
    let types = "is not of type uuid, integer, bigint, text or character varying";
    for (arguments, sqlstate, message) in [
        ("'own', owner_column => 'amount'", "42804", types),
        ("'own', owner_column => 'agents'", "42804", types),
        ("'assigned', assigned_column => 'amount'", "42804", types),
        (
            "'own', owner_column => 'nick'",
            "0A000",
            "nondeterministic collation",
        ),
    ] {
        let call = format!("allow('agent', 'shop.prospect', '{{select}}', {arguments})");
        refused(&shop, &call, sqlstate, message);
    }
}

#[test]
fn assignment_by_a_table_that_anybody_may_write_is_refused() {
    let shop = prospects();
    let allow = format!("allow('agent', 'shop.prospect', '{{select}}', 'assigned', {BY_TABLE})");
    shop.run("SELECT tenant_guard.unprotect('shop.assigned')");
    let message = "relation shop.assigned cannot assign rows: it is not protected as rows of one";
    refused(&shop, &allow, "55000", message);
    shop.run("SELECT tenant_guard.protect('shop.assigned', archetype => 'public_read')");
    refused(&shop, &allow, "55000", message);
    shop.run(
        "SELECT tenant_guard.protect('shop.assigned');
         SELECT tenant_guard.allow('agent', 'shop.assigned', '{insert}')",
    );
    let message = "role \"agent\" could assign rows to itself through shop.assigned";
    refused(&shop, &allow, "55000", message);
    // The other way round, and through inheritance.
    shop.run("SELECT tenant_guard.disallow('agent', 'shop.assigned')");
    shop.run(&format!("SELECT tenant_guard.{allow}"));
    shop.run("SELECT tenant_guard.allow('admin', 'shop.assigned', '{all}')");
    refused(
        &shop,
        "allow('agent', 'shop.assigned', '{update}')",
        "55000",
        message,
    );
    shop.run("SELECT tenant_guard.define_role('writer')");
    shop.run("SELECT tenant_guard.allow('writer', 'shop.assigned', '{update}')");
    refused(&shop, "define_role('agent', '{writer}')", "55000", message);
}

#[test]
fn assignment_table_open_to_every_role_is_a_finding() {
    let shop = prospects();
    shop.run(&format!(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{{select}}', 'assigned', {BY_TABLE})"
    ));
    assert_eq!(
        findings(&shop, "severity, code, object"),
        ["error|45-assignment-writable|shop.assigned"]
    );
    shop.run("SELECT tenant_guard.allow('admin', 'shop.assigned', '{all}')");
    assert_eq!(findings(&shop, "severity, code, object"), [""; 0]);
}

#[test]
fn rows_without_a_key_cannot_be_assigned() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.loose (id int, account_id uuid);
         SELECT tenant_guard.protect('shop.loose');
         CREATE TABLE shop.other (id uuid PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.other')",
    );
    refused(
        &shop,
        &format!("allow('agent', 'shop.loose', '{{select}}', 'assigned', {BY_TABLE})"),
        "55000",
        "relation shop.loose has no primary key of one column beside the account",
    );
    refused(
        &shop,
        &format!("allow('agent', 'shop.other', '{{select}}', 'assigned', {BY_TABLE})"),
        "42804",
        "prospect_id",
    );
}

#[test]
fn policies_that_would_read_each_other_are_refused_with_the_cycle() {
    let shop = prospects();
    shop.run(&format!(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{{select}}', 'assigned', {BY_TABLE})"
    ));
    for command in ["select", "insert"] {
        refused(
            &shop,
            &format!(
                "allow('admin', 'shop.assigned', '{{{command}}}', 'via', via => 'prospect_id')"
            ),
            "42P17",
            "policies would read each other's relations: shop.assigned > shop.prospect > shop.assigned",
        );
    }
    // Nor may it find its account through what it assigns.
    refused(
        &shop,
        "protect('shop.assigned', via => 'prospect_id')",
        "42P17",
        "shop.assigned > shop.prospect > shop.assigned",
    );
    shop.run(
        "CREATE TABLE shop.folder (id int PRIMARY KEY, account_id uuid,
             parent int REFERENCES shop.folder);
         SELECT tenant_guard.protect('shop.folder')",
    );
    refused(
        &shop,
        "allow('agent', 'shop.folder', '{delete}', 'via', via => 'parent')",
        "42P17",
        "shop.folder > shop.folder",
    );
}

#[test]
fn via_needs_a_foreign_key_to_a_protected_parent() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.open (id int PRIMARY KEY);
         ALTER TABLE shop.call_log ADD open int REFERENCES shop.open, ADD nothing int",
    );
    for via in ["open", "nothing"] {
        refused(
            &shop,
            &format!("allow('agent', 'shop.call_log', '{{select}}', 'via', via => '{via}')"),
            "22023",
            &format!("column \"{via}\" of relation shop.call_log"),
        );
    }
}

#[test]
fn what_the_floor_decides_cannot_be_allowed() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.country (id int PRIMARY KEY);
         SELECT tenant_guard.protect('shop.country', archetype => 'reference');
         CREATE TABLE shop.closed (id int PRIMARY KEY);
         SELECT tenant_guard.protect('shop.closed', archetype => 'deny_all');
         CREATE TABLE shop.page (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.page', archetype => 'public_read')",
    );
    for (relation, command, archetype) in [
        ("shop.country", "insert", "reference"),
        ("shop.country", "select", "reference"),
        ("shop.closed", "select", "deny_all"),
        ("shop.page", "select", "public_read"),
    ] {
        refused(
            &shop,
            &format!("allow('agent', '{relation}', '{{{command}}}')"),
            "55000",
            &format!(
                "roles cannot be allowed to {command} rows of {relation}, whose archetype is {archetype}"
            ),
        );
    }
    shop.run("SELECT tenant_guard.allow('agent', 'shop.page', '{all}')");
    let declared = "SELECT command FROM tenant_guard.permission ORDER BY command";
    assert_eq!(
        lines(&mut shop.db.superuser(), declared),
        ["delete", "insert", "update"]
    );
    refused(
        &shop,
        "protect('shop.page', archetype => 'reference')",
        "55000",
        "whose archetype is reference",
    );
}

#[test]
fn unprotected_relation_or_partition_is_refused() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.bare (id int);
         CREATE TABLE shop.visit (id int, account_id uuid) PARTITION BY RANGE (id);
         CREATE TABLE shop.visit_1 PARTITION OF shop.visit FOR VALUES FROM (0) TO (10);
         SELECT tenant_guard.protect('shop.visit')",
    );
    let call = |relation: &str| format!("allow('agent', '{relation}', '{{all}}')");
    refused(
        &shop,
        &call("shop.bare"),
        "55000",
        "relation shop.bare is not protected",
    );
    refused(
        &shop,
        &call("shop.visit_1"),
        "42809",
        "shop.visit_1 is a partition or child of shop.visit",
    );
}

#[test]
fn role_in_use_cannot_be_dropped() {
    let shop = prospects();
    shop.run("SELECT tenant_guard.allow('agent', 'shop.prospect', '{select,delete}')");
    let error = shop
        .owner()
        .batch_execute("SELECT tenant_guard.drop_role('agent')")
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "2BP01");
    assert_eq!(error.message(), "role \"agent\" of the product is in use");
    assert_eq!(
        error.detail().unwrap(),
        "it is allowed to delete, select rows of shop.prospect\nrole admin inherits it"
    );
}

#[test]
fn relation_that_permissions_read_stays_protected() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.call_log', '{select}', 'via', via => 'prospect_id')",
    );
    refused(
        &shop,
        "unprotect('shop.prospect')",
        "2BP01",
        "permissions on shop.call_log read relation shop.prospect",
    );
}

#[test]
fn column_that_was_renamed_is_named_and_found() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own',
             owner_column => 'owner');
         ALTER TABLE shop.prospect RENAME owner TO holder",
    );
    let message =
        "what allows role \"agent\" to select rows of shop.prospect names a column or key";
    refused(&shop, "protect('shop.prospect')", "55000", message);
    refused(
        &shop,
        "allow('admin', 'shop.prospect', '{all}')",
        "55000",
        message,
    );
    assert_eq!(
        findings(&shop, "code, detail"),
        ["37-floor-altered|policy tenant_guard_select is not asked for"]
    );
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own',
             owner_column => 'holder')",
    );
    assert_eq!(findings(&shop, "code, detail"), [""; 0]);
}

#[test]
fn only_an_admin_who_owns_the_table_allows() {
    let shop = prospects();
    let stranger = shop.db.role("stranger");
    let call = "SELECT tenant_guard.allow('agent', 'shop.prospect', '{all}')";
    expect_error(
        shop.db.connect_as(&stranger).batch_execute(call),
        "42501",
        "permission denied for function allow",
    );
    let grant = format!("GRANT tenant_guard_admin TO {stranger}");
    shop.db.superuser().batch_execute(&grant).unwrap();
    expect_error(
        shop.db.connect_as(&stranger).batch_execute(call),
        "42501",
        "must be owner of relation shop.prospect",
    );
    shop.run(call);
    // Whose change of a role would reach a table of somebody else.
    expect_error(
        shop.db
            .connect_as(&stranger)
            .batch_execute("SELECT tenant_guard.define_role('thief', '{agent}')"),
        "42501",
        "must be owner of relation shop.prospect",
    );
}
