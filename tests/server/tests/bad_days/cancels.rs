//! A cancel in every function that somebody must be given rights to call.

use std::collections::BTreeSet;

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, Database, lines};

use super::points::{check_ledger, state};
use super::steps::{shop, sign_in};
use crate::isolation::Shop;

/// Calls of each, in an order in which every one succeeds, but for those behind a hyphen, which have nothing to
/// give here.
const CALLS: &str = r#"
set_membership('shop.member', 'subject', 'account_id', 'role', 'active')
set_membership(NULL, NULL, NULL)
set_account_relation('shop.account', 'id', 'active')
require_account_row('shop.contact')
require_account_row('shop.contact', false)
set_account_relation(NULL, NULL)
set_idle_timeout('ACCOUNT', '30 min')
revoke_token('https://issuer.example', 'token')
revoke_session('https://issuer.example', 'session')
revoke_subject('somebody', now())
add_issuer('https://other.example', 'KEYS')
alter_issuer('https://other.example', audiences => '{product}')
set_issuer_keys('https://other.example', 'KEYS')
drop_issuer('https://other.example')
act_as('ACCOUNT', 'nightly', '{}', 'invoices')
audit('shop.rate')
unaudit('shop.rate')
annotate('shop.rate', '{name}')
init_ledger()
seal()
ledger_status()
checkpoint()
-signed_checkpoint()
verify_ledger()
capture_history()
place_hold('ACCOUNT', 'shop.contact', reason => 'case 7')
release_hold(1, 'closed')
personal_events('ACCOUNT', 'shop.contact')
personal_events('ACCOUNT', 'shop.contact', '{"{\"id\": 1}"}')
erase_personal('ACCOUNT', ARRAY(SELECT e.event_id FROM tenant_guard.personal_events('ACCOUNT', 'shop.contact') AS e), 'Art. 17')
overwrite_erased()
set_retention('shop.contact', '3660 days', 'law')
keep_events('3660 days', 'law')
let_go()
prune_payloads()
prune_blocks(tenant_guard.checkpoint())
inclusion_proof((SELECT event_id FROM tenant_guard.audit_event WHERE relation = 'shop.contact' ORDER BY xid LIMIT 1))
consistency_proof(1, 1)
export_ledger()
protection_plan('shop.t')
protect('shop.t')
require_assurance('shop.t', 'aal2', '{delete}')
require_assurance('shop.t', NULL, '{delete}')
audit_reads('shop.t')
flush_reads()
reads_status()
protect_again('shop.t')
altered_policy()
missing_fix(150001)
has_default_account('shop')
check()
check_report()
-check_gate()
accept_finding('12-row-security-not-enabled', 'shop.child', 'public')
withdraw_acceptance('12-row-security-not-enabled', 'shop.child')
bind_foreign_keys('shop')
declare_path('shop.t', 'name', 'docs/{account}')
check_data()
allow_origin('ACCOUNT', 'https://app.example')
disallow_origin('ACCOUNT', 'https://app.example')
define_role('agent')
require_role_assurance('agent', 'aal2')
require_role_assurance('agent', NULL)
allow_log('agent')
disallow_log('agent')
allow('agent', 'shop.t', '{select}')
permission_matrix()
disallow('agent', 'shop.t')
drop_role('agent')
-log_account()
export_manifest()
apply_manifest(jsonb_set(tenant_guard.export_manifest(), '{relations,shop.later}', '{}'))
drift()
probe('shop.contact')
probe_gate('shop.contact')
record_baseline('shop.contact')
verify_state('shop.contact')
audit_feed()
unprotect('shop.t')
protect_schema('shop')
govern_schema('shop')
ungovern_schema('shop')
replace_foreign_key('shop.child', 'child_t_id_fkey', 'FOREIGN KEY (account_id, t_id) REFERENCES shop.t (account_id, id)')
validate_foreign_key('shop.child', 'child_t_id_fkey')
"#;

/// Those without a call of their own here, and why not.
const LEFT_OUT: [(&str, &str); 8] = [
    ("register_protection", "a part of protect, for its plans"),
    ("check_data_in_pieces", "commits between its pieces"),
    ("for_each_account", "commits after each account"),
    ("forget_run", "needs a run of for_each_account"),
    ("checkpoint_verifier_key", "needs a key in a file"),
    ("add_cosignature", "needs a witness's signature"),
    ("fits_account", "looks at a type, for a check"),
    ("verify_token", "begins with an untrusted text"),
];

fn fixture() -> Shop {
    let shop = shop(Database::new());
    shop.run(
        "CREATE TABLE shop.member (subject text, account_id uuid, role text, active boolean);
         CREATE TABLE shop.account (id uuid PRIMARY KEY, active boolean);
         CREATE TABLE shop.rate (id int PRIMARY KEY, name text);
         CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid NOT NULL, name text, UNIQUE (account_id, id));
         CREATE TABLE shop.later (id int PRIMARY KEY, account_id uuid, name text);
         CREATE TABLE shop.child (id int PRIMARY KEY, account_id uuid, t_id int REFERENCES shop.t)",
    );
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    sign_in(&shop, &mut transaction, true).unwrap();
    lines(&mut transaction, "SELECT FROM shop.seen");
    transaction.commit().unwrap();
    shop
}

/// The session cancels itself as the function is about to begin: the first point at which it would notice ends it.
fn cancelled(client: &mut Client, call: &str, succeeds: bool) -> Result<(), String> {
    let before = state(client);
    let outcome = client.simple_query(&format!(
        "SELECT pg_cancel_backend(pg_backend_pid()), {call}"
    ));
    let code = outcome
        .err()
        .and_then(|error| error.code().map(|code| code.code().to_owned()));
    if code.as_deref() != Some("57014") {
        return Err(format!("{call}: {code:?} instead of a cancel"));
    }
    if state(client) != before {
        return Err(format!("{call}: something is half done"));
    }
    match client.simple_query(&format!("SELECT {call}")) {
        Err(error) if succeeds => Err(format!("{call}: {:?}", error.as_db_error())),
        _ => Ok(()),
    }
}

#[test]
fn cancel_in_every_privileged_function_changes_nothing() {
    let shop = fixture();
    let mut superuser = shop.db.superuser();
    let keys = lines(
        &mut superuser,
        "SELECT keys FROM tenant_guard.issuer LIMIT 1",
    );
    let mut wrong = Vec::new();
    let mut called = BTreeSet::new();
    for line in CALLS.lines().filter(|line| !line.is_empty()) {
        let call = line.trim_start_matches('-');
        let name = call.split('(').next().unwrap();
        called.insert(name.to_owned());
        let call = call.replace("ACCOUNT", ACCOUNT_A).replace("KEYS", &keys[0]);
        let call = format!("tenant_guard.\"{name}\"{}", &call[name.len()..]);
        wrong.extend(cancelled(&mut superuser, &call, !line.starts_with('-')).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    check_ledger(&shop, "cancels");

    called.extend(LEFT_OUT.iter().map(|(name, _)| (*name).to_owned()));
    let privileged = "SELECT DISTINCT proname FROM pg_proc AS p
        WHERE pronamespace = 'tenant_guard'::regnamespace AND NOT has_function_privilege('public', oid, 'EXECUTE')
            AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)";
    let privileged: BTreeSet<_> = lines(&mut superuser, privileged).into_iter().collect();
    let forgotten: Vec<_> = privileged.difference(&called).collect();
    assert!(forgotten.is_empty(), "no call of {forgotten:?}");
}
