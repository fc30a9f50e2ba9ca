//! The matrix of permissions, and the proof of each of its cells by a session of that role.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Transaction;
use tenant_guard_tests::{ACCOUNT_A, lines};

use super::super::Shop;
use super::{at_level, ids, prospects};

/// For `relation scope detail`, the condition on a row that the scope means for the subject; for `via`
/// the column that leads to the parent.
pub(super) type Meanings<'a> = BTreeMap<&'a str, &'a str>;

const MATRIX: &str = "SELECT role, relation, command, scope, detail, columns, assurance, \
    database_roles FROM tenant_guard.permission_matrix()";

pub(super) fn shown(shop: &Shop, filter: &str) -> Vec<String> {
    lines(&mut shop.owner(), &format!("{MATRIX} WHERE {filter}"))
}

/// Rows a role reaches by a command, in ids, as the matrix says.
struct Expected {
    command: String,
    ids: BTreeSet<i32>,
}

/// Proves each cell of the matrix by statements of a session of `subject` that has just that role, at
/// a level that meets what is asked and at one that does not. Relations have a key `id` below 1000.
/// Returns how many statements were tried.
pub(super) fn prove(shop: &Shop, subject: &str, meanings: &Meanings<'_>) -> usize {
    let mut tried = 0;
    let cells =
        "SELECT DISTINCT role, relation FROM tenant_guard.permission_matrix() ORDER BY 1, 2";
    for cell in lines(&mut shop.owner(), cells) {
        let (role, relation) = cell.split_once('|').unwrap();
        for level in ["aal1", "aal2"] {
            let expected = expected(shop, subject, role, relation, level, meanings);
            at_level(shop, subject, &[role], level, |session| {
                for cell in &expected {
                    tried += statements(shop, session, relation, cell, &expected, role);
                }
            });
        }
    }
    tried
}

fn expected(
    shop: &Shop,
    subject: &str,
    role: &str,
    relation: &str,
    level: &str,
    meanings: &Meanings<'_>,
) -> Vec<Expected> {
    let mut superuser = shop.db.superuser();
    let set = format!("SET test.subject = '{subject}'");
    superuser.batch_execute(&set).unwrap();
    let cells = lines(
        &mut superuser,
        &format!(
            "SELECT command, scope, coalesce(detail, ''), coalesce(assurance, '')
             FROM tenant_guard.permission_matrix()
             WHERE role = '{role}' AND relation = '{relation}'::regclass"
        ),
    );
    let mut commands: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for cell in cells {
        let cell: Vec<_> = cell.split('|').collect();
        let [command, scope, detail, assurance] = cell[..] else {
            panic!("{cell:?}");
        };
        let ids = commands.entry(command.to_owned()).or_default();
        if !(assurance.is_empty() || assurance == level) || scope == "nothing" {
            continue;
        }
        // A new row has a key that nothing is assigned by yet.
        if command == "insert" && scope == "assigned" && detail.contains('.') {
            continue;
        }
        let meaning = || {
            *meanings
                .get(format!("{relation} {scope} {detail}").as_str())
                .unwrap_or_else(|| panic!("{relation} {scope} {detail} has no meaning"))
        };
        let meaning = match scope {
            "account" => "true".to_owned(),
            "via" => {
                let parents = expected(shop, subject, role, detail, level, meanings);
                let parents = parents
                    .iter()
                    .find(|cell| cell.command == "select")
                    .unwrap();
                let ids: Vec<_> = parents.ids.iter().map(i32::to_string).collect();
                format!("{} = ANY ('{{{}}}')", meaning(), ids.join(","))
            }
            _ => meaning().to_owned(),
        };
        let rows = format!(
            "SELECT id FROM {relation} AS t WHERE account_id = '{ACCOUNT_A}' AND ({meaning})"
        );
        let rows = lines(&mut superuser, &rows);
        ids.extend(rows.iter().map(|id| id.parse::<i32>().unwrap()));
    }
    let expected = commands.into_iter();
    expected
        .map(|(command, ids)| Expected { command, ids })
        .collect()
}

/// Tries a command on every row there is, of all accounts, each in a savepoint.
fn statements(
    shop: &Shop,
    session: &mut Transaction<'_>,
    relation: &str,
    cell: &Expected,
    all: &[Expected],
    role: &str,
) -> usize {
    let readable = all.iter().find(|other| other.command == "select");
    let readable = &readable.expect("each command has a cell").ids;
    let rows = lines(
        &mut shop.db.superuser(),
        &format!(
            "SELECT id, to_jsonb(t) || jsonb_build_object('id', id + 1000) FROM {relation} AS t"
        ),
    );
    let tried = rows.len();
    if cell.command == "select" {
        let seen = lines(session, &format!("SELECT id FROM {relation} ORDER BY id"));
        let seen: BTreeSet<i32> = seen.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!(seen, cell.ids, "{role} selects {relation}");
        return tried;
    }
    for row in rows {
        let (id, copy) = row.split_once('|').unwrap();
        let reached = cell.ids.contains(&id.parse().unwrap());
        // To find a row by its key it must be readable too.
        let found = reached && readable.contains(&id.parse().unwrap());
        let mut savepoint = session.savepoint("cell").unwrap();
        let what = format!("{role}: {} {id} of {relation}", cell.command);
        match cell.command.as_str() {
            "delete" => {
                let delete = format!("DELETE FROM {relation} WHERE id = {id}");
                let deleted = savepoint.execute(delete.as_str(), &[]);
                assert_eq!(deleted.unwrap(), u64::from(found), "{what}");
            }
            "update" => {
                let update = format!("UPDATE {relation} SET id = id WHERE id = {id}");
                let updated = savepoint.execute(update.as_str(), &[]);
                assert_eq!(updated.unwrap(), u64::from(found), "{what}");
            }
            _ => {
                let copy = copy.replace('\'', "''");
                let insert = format!(
                    "INSERT INTO {relation} SELECT * FROM \
                     jsonb_populate_record(NULL::{relation}, '{copy}')"
                );
                match savepoint.execute(insert.as_str(), &[]) {
                    Ok(rows) => assert!(reached && rows == 1, "{what}"),
                    Err(error) => {
                        let code = error.code().map(|code| code.code().to_owned());
                        assert!(
                            !reached && code.as_deref() == Some("42501"),
                            "{what}: {error:?}"
                        );
                    }
                }
            }
        }
        savepoint.rollback().unwrap();
    }
    tried
}

#[test]
fn matrix_shows_scopes_columns_and_levels() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select,update}', 'own',
             owner_column => 'owner', columns => '{id,owner}');
         SELECT tenant_guard.allow('admin', 'shop.prospect', '{all}');
         SELECT tenant_guard.allow('agent', 'shop.call_log', '{select}', 'via', via => 'prospect_id');
         SELECT tenant_guard.require_role_assurance('admin', 'aal2')",
    );
    assert_eq!(
        shown(&shop, "relation = 'shop.prospect'::regclass"),
        [
            "admin|shop.prospect|select|account|<null>|<null>|aal2|<null>",
            "admin|shop.prospect|insert|account|<null>|<null>|aal2|<null>",
            "admin|shop.prospect|update|account|<null>|<null>|aal2|<null>",
            "admin|shop.prospect|delete|account|<null>|<null>|aal2|<null>",
            "agent|shop.prospect|select|own|owner|{id,owner}|<null>|<null>",
            "agent|shop.prospect|insert|nothing|<null>|<null>|<null>|<null>",
            "agent|shop.prospect|update|own|owner|{id,owner}|<null>|<null>",
            "agent|shop.prospect|delete|nothing|<null>|<null>|<null>|<null>",
        ]
    );
    assert_eq!(
        shown(
            &shop,
            "relation = 'shop.call_log'::regclass AND command = 'select'"
        ),
        [
            "admin|shop.call_log|select|via|shop.prospect|<null>|aal2|<null>",
            "agent|shop.call_log|select|via|shop.prospect|<null>|<null>|<null>",
        ]
    );
    // Nothing is declared of it: every role reaches the account.
    assert_eq!(
        shown(
            &shop,
            "relation = 'shop.assigned'::regclass AND role = 'agent'"
        ),
        ["select", "insert", "update", "delete"].map(|command| format!(
            "agent|shop.assigned|{command}|account|<null>|<null>|<null>|<null>"
        ))
    );
}

#[test]
fn matrix_shows_the_policies_that_stand_not_those_declared() {
    let shop = prospects();
    shop.run("SELECT tenant_guard.allow('admin', 'shop.prospect', '{select}')");
    let cell = |statement: &str| {
        shop.unguarded().batch_execute(statement).unwrap();
        let filter =
            "relation = 'shop.prospect'::regclass AND role = 'agent' AND command = 'select'";
        let query = format!(
            "SELECT scope, detail, database_roles FROM tenant_guard.permission_matrix() WHERE {filter}"
        );
        lines(&mut shop.owner(), &query)
    };
    assert_eq!(cell(""), ["nothing|<null>|<null>"]);
    let loose = "CREATE POLICY loose ON shop.prospect USING (secret = 's1')";
    assert_eq!(
        cell(loose),
        ["other|the account's rows where secret = 's1'::text|<null>"]
    );
    assert_eq!(
        cell("ALTER POLICY loose ON shop.prospect USING (true)"),
        ["account|<null>|<null>"]
    );
    let floor = "DROP POLICY tenant_guard_floor ON shop.prospect";
    assert_eq!(cell(floor), ["everything|<null>|<null>"]);
    let only = format!("ALTER POLICY loose ON shop.prospect TO {}", shop.app);
    assert_eq!(
        cell(&only),
        [
            "nothing|<null>|<null>".to_owned(),
            format!("everything|<null>|{{{}}}", shop.app)
        ]
    );
    let off = "ALTER TABLE shop.prospect DISABLE ROW LEVEL SECURITY;
        DROP POLICY loose ON shop.prospect";
    assert_eq!(cell(off), ["everything|<null>|<null>"]);
}

/// Who answers for isolation need not be let into the schemas.
#[test]
fn auditor_sees_the_matrix_and_the_checks_of_schemas_that_are_closed_to_them() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.call_log', '{select}', 'via', via => 'prospect_id');
         CREATE TABLE shop.note (id int PRIMARY KEY, call_id int REFERENCES shop.call_log);
         SELECT tenant_guard.protect('shop.note', via => 'call_id');
         REVOKE USAGE ON SCHEMA shop FROM PUBLIC",
    );
    let auditor = shop.db.role("auditor");
    let grant = format!("GRANT tenant_guard_auditor TO {auditor}");
    shop.db.superuser().batch_execute(&grant).unwrap();
    let mut session = shop.db.connect_as(&auditor);
    assert_eq!(
        lines(
            &mut session,
            "SELECT relation, scope FROM tenant_guard.permission_matrix()
             WHERE role = 'agent' AND command = 'select' AND relation::text <> 'shop.prospect'"
        ),
        [
            "shop.assigned|account",
            "shop.call_log|via",
            "shop.note|via"
        ]
    );
    let altered = "SELECT code FROM tenant_guard.check('{shop}') WHERE code = '37-floor-altered'";
    assert_eq!(lines(&mut session, altered), [""; 0]);
}

#[test]
fn matrix_knows_every_archetype() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.kind (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.kind', archetype => 'shared_defaults');
         CREATE TABLE shop.line (id int PRIMARY KEY, kind_id int REFERENCES shop.kind, owner text);
         SELECT tenant_guard.protect('shop.line', via => 'kind_id');
         CREATE TABLE shop.note (id int PRIMARY KEY, type text, target int);
         SELECT tenant_guard.protect('shop.note', via => 'target', type_column => 'type',
             parents => '{\"kind\": \"shop.kind\", \"prospect\": \"shop.prospect\"}');
         CREATE TABLE shop.country (id int PRIMARY KEY);
         SELECT tenant_guard.protect('shop.country', archetype => 'reference');
         CREATE TABLE shop.closed (id int PRIMARY KEY);
         SELECT tenant_guard.protect('shop.closed', archetype => 'deny_all');
         SELECT tenant_guard.allow('agent', 'shop.kind', '{select,delete}');
         SELECT tenant_guard.allow('agent', 'shop.line', '{select,delete}', 'own',
             owner_column => 'owner')",
    );
    let mut found = lines(
        &mut shop.owner(),
        "SELECT relation, command, scope, detail FROM tenant_guard.permission_matrix()
         WHERE role = 'agent' AND command IN ('select', 'delete') AND relation::text NOT IN
             ('shop.prospect', 'shop.assigned', 'shop.call_log')",
    );
    found.sort();
    assert_eq!(
        found,
        [
            "shop.closed|delete|nothing|<null>",
            "shop.closed|select|nothing|<null>",
            "shop.country|delete|nothing|<null>",
            "shop.country|select|everything|<null>",
            "shop.kind|delete|account|<null>",
            "shop.kind|select|account|and rows without account",
            "shop.line|delete|own|owner",
            "shop.line|select|own|owner",
            "shop.note|delete|account|<null>",
            "shop.note|select|account|<null>",
        ]
    );
}

/// What the parent hides from a role is hidden of its children, and what everybody reads of it is read
/// of them by everybody.
#[test]
fn matrix_shows_children_as_far_as_their_parents_are_reached() {
    let shop = prospects();
    shop.run(
        "CREATE TABLE shop.article (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.article', archetype => 'public_read');
         CREATE TABLE shop.vote (id int PRIMARY KEY, article_id int REFERENCES shop.article);
         SELECT tenant_guard.protect('shop.vote', via => 'article_id');
         CREATE TABLE shop.vote_reason (id int PRIMARY KEY, vote_id int REFERENCES shop.vote);
         SELECT tenant_guard.protect('shop.vote_reason', via => 'vote_id');
         CREATE TABLE shop.note (id int PRIMARY KEY, prospect_id int REFERENCES shop.prospect);
         CREATE TABLE shop.note_line (id int PRIMARY KEY, note_id int REFERENCES shop.note);
         INSERT INTO shop.note VALUES (1, 1), (2, 2), (3, 3), (4, 4), (9, 9);
         INSERT INTO shop.note_line TABLE shop.note;
         SELECT tenant_guard.protect('shop.note', via => 'prospect_id');
         SELECT tenant_guard.protect('shop.note_line', via => 'note_id');
         SELECT tenant_guard.define_role('manager');
         SELECT tenant_guard.define_role('guest');
         SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own', owner_column => 'owner');
         SELECT tenant_guard.allow('manager', 'shop.prospect', '{select}')",
    );
    let cells = |filter: &str| {
        let query = format!(
            "SELECT DISTINCT relation, command, scope, detail FROM tenant_guard.permission_matrix()
             WHERE {filter} ORDER BY 1, 2"
        );
        lines(&mut shop.owner(), &query)
    };
    let votes = "relation IN ('shop.vote'::regclass, 'shop.vote_reason') AND command IN ('select', 'delete')";
    assert_eq!(
        cells(votes),
        [
            "shop.vote|delete|account|<null>",
            "shop.vote|select|everything|<null>",
            "shop.vote_reason|delete|account|<null>",
            "shop.vote_reason|select|everything|<null>",
        ]
    );
    let notes = |role: &str| {
        cells(&format!(
            "role = '{role}' AND relation IN ('shop.note'::regclass, 'shop.note_line')
             AND command = 'select'"
        ))
    };
    assert_eq!(
        notes("agent"),
        [
            "shop.note|select|via|shop.prospect",
            "shop.note_line|select|via|shop.note",
        ]
    );
    assert_eq!(
        notes("manager"),
        [
            "shop.note|select|account|<null>",
            "shop.note_line|select|account|<null>",
        ]
    );
    assert_eq!(
        notes("guest"),
        [
            "shop.note|select|nothing|<null>",
            "shop.note_line|select|nothing|<null>",
        ]
    );
    let read = |role: &str| {
        at_level(&shop, "ann", &[role], "aal1", |session| {
            ["prospect", "note", "note_line"].map(|name| ids(session, &format!("shop.{name}")))
        })
    };
    assert_eq!(read("agent"), [["1", "3"]; 3]);
    assert_eq!(read("manager"), [["1", "2", "3", "4"]; 3]);
    assert_eq!(read("guest"), [[""; 0]; 3]);
}
