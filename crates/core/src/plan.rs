//! From what a relation is to what it should be: the statements in between.
//!
//! Nothing here talks to a server. The caller reads the catalog into [`Member`]s and executes
//! the statements, or prints them for a migration file.

use crate::policy::{AccountColumn, AccountType, Policy};
use crate::trigger::{CAPTURE, CAPTURE_TRUNCATE, CaptureRule, Trigger};

/// The protection asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The call of `register_protection` that says all of this; none where it is registered.
    pub register: Option<String>,
    /// The account column, of archetypes that have one.
    pub column: Option<WantedColumn>,
    /// How changes are captured; none where they are not.
    pub capture: Option<CaptureRule>,
}

/// What is wanted of an account column.
#[derive(Clone, Debug)]
pub struct WantedColumn {
    /// The column.
    pub column: AccountColumn,
    /// Whether it gets the account as default. Not when it is an identity or generated column, and
    /// not when it is the key itself, as in a table of accounts.
    pub sets_default: bool,
    /// Whether it becomes `NOT NULL`.
    pub not_null: bool,
}

/// State of an account column in one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnState {
    /// `NOT NULL`
    pub not_null: bool,
    /// The default as `pg_get_expr` prints it.
    pub default: Option<String>,
}

/// An account column with its state now and the state remembered from before protection.
#[derive(Clone, Debug)]
pub struct RememberedColumn {
    /// Name as `quote_ident` writes it.
    pub quoted: String,
    /// Its type, none where it cannot hold an account.
    pub kind: Option<AccountType>,
    /// What stands now.
    pub present: ColumnState,
    /// What stood before protection.
    pub before: ColumnState,
}

/// What stood on a member before protection, beside its column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagsBefore {
    /// `ENABLE ROW LEVEL SECURITY`
    pub row_security: bool,
    /// `FORCE ROW LEVEL SECURITY`
    pub force: bool,
}

/// The relation itself, one of its partitions or one of its inheritance children.
///
/// Members are listed parents first.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Schema-qualified and quoted name.
    pub name: String,
    /// Index of the parent in the list, none for the relation itself.
    pub parent: Option<usize>,
    /// Whether it is a partitioned table.
    pub partitioned: bool,
    /// Whether it is a partition, so that row triggers come from its parent.
    pub partition: bool,
    /// `ENABLE ROW LEVEL SECURITY`
    pub row_security: bool,
    /// `FORCE ROW LEVEL SECURITY`
    pub force: bool,
    /// State of the account column asked for.
    pub column: ColumnState,
    /// Whether that column is part of the member's primary key.
    pub column_in_key: bool,
    /// Whether protection made that column `NOT NULL`.
    pub made_not_null: bool,
    /// The account column registered so far, where another one is asked for.
    pub former: Option<RememberedColumn>,
    /// The policies that are to stand on it.
    pub wanted: Vec<Policy>,
    /// The policies that stand on it under names of ours.
    pub policies: Vec<Policy>,
    /// The trigger named [`CAPTURE`].
    pub capture: Option<Trigger>,
    /// The trigger named [`CAPTURE_TRUNCATE`].
    pub truncate: Option<Trigger>,
    /// Quoted names of all but the owner who may TRUNCATE, or create references or triggers.
    pub exposed_to: Vec<String>,
}

/// The statements that bring `members` under the wanted protection, in order; empty when they
/// already are.
///
/// Policies come before ENABLE: run one statement at a time outside a transaction, the plan
/// never shows a table that is closed to everybody or open to more than before.
pub fn protect(wanted: &Wanted, members: &[Member]) -> Vec<String> {
    let mut plan: Vec<_> = wanted.register.iter().cloned().collect();
    let former: Vec<_> = members.iter().map(|member| member.former.clone()).collect();
    plan.extend(restore_columns(members, &former));
    for member in members {
        let (wanted, present) = (&member.wanted, &member.policies);
        plan.extend(Policy::difference(wanted, present, &member.name));
        plan.extend(flags(member, true, true));
    }
    plan.extend(
        members
            .iter()
            .filter_map(|member| allow_null(wanted, member)),
    );
    for index in (0..members.len()).rev() {
        plan.extend(column(wanted, members, index));
    }
    plan.extend(members.iter().filter_map(withdraw));
    let account = wanted
        .column
        .as_ref()
        .map_or("", |wanted| &wanted.column.name);
    plan.extend(capture(members, account, wanted.capture.as_ref()));
    plan
}

/// The statements that have changes of `members` captured by this rule, or no longer captured.
/// `account` is the account column, empty where there is none.
pub fn capture(members: &[Member], account: &str, rule: Option<&CaptureRule>) -> Vec<String> {
    let Some(rule) = rule else {
        return members.iter().flat_map(drop_triggers).collect();
    };
    let mut plan: Vec<_> = members.iter().filter_map(drop_own_capture).collect();
    for member in members {
        plan.extend(triggers(member, account, rule));
    }
    plan
}

fn flags(member: &Member, row_security: bool, force: bool) -> Option<String> {
    let mut actions = Vec::new();
    if member.row_security != row_security {
        actions.push(if row_security { "ENABLE" } else { "DISABLE" });
    }
    if member.force != force {
        actions.push(if force { "FORCE" } else { "NO FORCE" });
    }
    let actions: Vec<_> = actions
        .iter()
        .map(|a| format!("{a} ROW LEVEL SECURITY"))
        .collect();
    (!actions.is_empty())
        .then(|| format!("ALTER TABLE ONLY {} {}", member.name, actions.join(", ")))
}

/// Takes back a `NOT NULL` of ours that the archetype no longer asks for, parents first.
fn allow_null(wanted: &Wanted, member: &Member) -> Option<String> {
    let wanted = wanted.column.as_ref()?;
    let takes = !wanted.not_null && member.column.not_null && member.made_not_null;
    let only = if member.partitioned { "" } else { "ONLY " };
    let column = &wanted.column.quoted;
    takes.then(|| {
        format!(
            "ALTER TABLE {only}{} ALTER COLUMN {column} DROP NOT NULL",
            member.name
        )
    })
}

fn column(wanted: &Wanted, members: &[Member], index: usize) -> Vec<String> {
    let member = &members[index];
    let Some(wanted) = wanted.column.as_ref() else {
        return Vec::new();
    };
    let column = &wanted.column.quoted;
    let reader = wanted.column.kind.reader();
    let sets_default = wanted.sets_default && member.column.default.as_deref() != Some(reader);
    let default = format!("ALTER COLUMN {column} SET DEFAULT {reader}");
    let sets_not_null =
        wanted.not_null && !member.column.not_null && !stays_nullable(members, index);
    let not_null = format!("ALTER COLUMN {column} SET NOT NULL");

    // Each member is brought under protection by its own statement, children first, so that the
    // default of a child is not overwritten through its parent. Since PostgreSQL 18 NOT NULL with ONLY
    // is one that children never have.
    let is_parent = members.iter().any(|other| other.parent == Some(index));
    let name = &member.name;
    match (sets_default, sets_not_null) {
        (true, true) if !is_parent => vec![format!("ALTER TABLE {name} {default}, {not_null}")],
        (sets_default, sets_not_null) => {
            let only = if is_parent { "ONLY " } else { "" };
            let default = sets_default.then(|| format!("ALTER TABLE {only}{name} {default}"));
            let not_null = sets_not_null.then(|| format!("ALTER TABLE {name} {not_null}"));
            default.into_iter().chain(not_null).collect()
        }
    }
}

/// Whether a partitioned table is left nullable: NOT NULL could not be dropped from it again while
/// a partition has the column in a primary key of its own. It holds no rows itself.
fn stays_nullable(members: &[Member], index: usize) -> bool {
    members[index].partitioned
        && (index + 1..members.len())
            .any(|below| members[below].column_in_key && descends(members, below, index))
}

fn withdraw(member: &Member) -> Option<String> {
    // CASCADE: a grantee with the grant option may have passed the privilege on.
    (!member.exposed_to.is_empty()).then(|| {
        format!(
            "REVOKE TRUNCATE, REFERENCES, TRIGGER ON TABLE {} FROM {} CASCADE",
            member.name,
            member.exposed_to.join(", ")
        )
    })
}

/// A table that was protected by itself before it became a partition keeps a row trigger of its own,
/// which would stand in the way of the one that comes from its parent.
fn drop_own_capture(member: &Member) -> Option<String> {
    let own = member
        .capture
        .as_ref()
        .is_some_and(|trigger| !trigger.inherited);
    (own && follows_parent(member)).then(|| format!("DROP TRIGGER {CAPTURE} ON {}", member.name))
}

/// Whether the member's row trigger is made through its parent's.
fn follows_parent(member: &Member) -> bool {
    member.partition && member.parent.is_some()
}

fn triggers(member: &Member, account: &str, rule: &CaptureRule) -> Vec<String> {
    let name = &member.name;
    let mut statements = Vec::new();
    if !follows_parent(member)
        || member
            .capture
            .as_ref()
            .is_some_and(|trigger| trigger.inherited)
    {
        let capture = Trigger::capture(name, account, rule);
        statements.extend(capture.difference(member.capture.as_ref(), CAPTURE, name));
    }
    let truncate = Trigger::capture_truncate(name, account, rule);
    statements.extend(truncate.difference(member.truncate.as_ref(), CAPTURE_TRUNCATE, name));
    statements
}

fn drop_triggers(member: &Member) -> Vec<String> {
    [
        (CAPTURE, &member.capture),
        (CAPTURE_TRUNCATE, &member.truncate),
    ]
    .into_iter()
    .filter(|(_, trigger)| trigger.as_ref().is_some_and(|trigger| !trigger.inherited))
    .map(|(name, _)| format!("DROP TRIGGER {name} ON {}", member.name))
    .collect()
}

/// The statements that take protection off, all but the privileges that were withdrawn.
///
/// `columns` and `flags_before` hold, for each member, what is remembered of it; `audited` is how
/// changes go on being captured, none where they do not.
pub fn unprotect(
    members: &[Member],
    columns: &[Option<RememberedColumn>],
    flags_before: &[FlagsBefore],
    audited: Option<&CaptureRule>,
) -> Vec<String> {
    let mut plan = capture(members, "", audited);
    for member in members {
        plan.extend(Policy::difference(&[], &member.policies, &member.name));
    }
    for (member, before) in members.iter().zip(flags_before) {
        plan.extend(flags(member, before.row_security, before.force));
    }
    plan.extend(restore_columns(members, columns));
    plan
}

/// The statements that give account columns back their default and nullability.
///
/// A default that is no longer ours is somebody's later choice and stays. `DROP NOT NULL` on a
/// partitioned table reaches its partitions, before PostgreSQL 18 those too that had the constraint
/// before, and since then only those that have it from their parent alone. So each member is told what
/// it is to have.
fn restore_columns(members: &[Member], columns: &[Option<RememberedColumn>]) -> Vec<String> {
    let mut plan = Vec::new();
    for (member, column) in members.iter().zip(columns) {
        let Some(column) = column else { continue };
        let ours = column.kind.map(AccountType::reader);
        let present = column.present.default.as_deref();
        if present.is_none() || present != ours || present == column.before.default.as_deref() {
            continue;
        }
        let action = match &column.before.default {
            Some(default) => format!("SET DEFAULT {default}"),
            None => "DROP DEFAULT".into(),
        };
        plan.push(format!(
            "ALTER TABLE ONLY {} ALTER COLUMN {} {action}",
            member.name, column.quoted
        ));
    }

    let mut lost = vec![false; members.len()];
    for (index, (member, column)) in members.iter().zip(columns).enumerate() {
        let Some(column) = column else { continue };
        if column.before.not_null || !column.present.not_null {
            continue;
        }
        let only = if member.partitioned { "" } else { "ONLY " };
        plan.push(format!(
            "ALTER TABLE {only}{} ALTER COLUMN {} DROP NOT NULL",
            member.name, column.quoted
        ));
        if member.partitioned {
            for (below, lost) in lost.iter_mut().enumerate().skip(index + 1) {
                *lost |= descends(members, below, index);
            }
        }
    }
    for (index, (member, column)) in members.iter().zip(columns).enumerate().rev() {
        let Some(column) = column else { continue };
        if column.before.not_null && column.present.not_null && lost[index] {
            plan.push(format!(
                "ALTER TABLE ONLY {} ALTER COLUMN {} SET NOT NULL",
                member.name, column.quoted
            ));
        }
    }
    plan
}

fn descends(members: &[Member], mut index: usize, ancestor: usize) -> bool {
    while let Some(parent) = members[index].parent {
        if parent == ancestor {
            return true;
        }
        index = parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archetype::{Archetype, Ownership};

    fn column() -> AccountColumn {
        AccountColumn {
            name: "account_id".into(),
            quoted: "account_id".into(),
            kind: AccountType::Uuid,
        }
    }

    fn policies(name: &str) -> Vec<Policy> {
        let owner = Ownership::Column(Archetype::Account, column());
        let mut policies = Policy::floor(&owner, name);
        policies.extend(Policy::access(&owner, name, &[]));
        policies
    }

    fn wanted() -> Wanted {
        Wanted {
            register: Some("SELECT tenant_guard.register_protection('public.t')".into()),
            column: Some(WantedColumn {
                column: column(),
                sets_default: true,
                not_null: true,
            }),
            capture: Some(CaptureRule::default()),
        }
    }

    fn bare(name: &str) -> Member {
        Member {
            name: name.into(),
            wanted: policies(name),
            ..Member::default()
        }
    }

    fn protected(name: &str) -> Member {
        Member {
            name: name.into(),
            row_security: true,
            force: true,
            column: ColumnState {
                not_null: true,
                default: Some(column().kind.reader().into()),
            },
            policies: policies(name),
            capture: Some(Trigger::capture(
                name,
                "account_id",
                &CaptureRule::default(),
            )),
            truncate: Some(Trigger::capture_truncate(
                name,
                "account_id",
                &CaptureRule::default(),
            )),
            ..bare(name)
        }
    }

    #[test]
    fn bare_table_gets_everything_once() {
        let plan = protect(
            &wanted(),
            &[Member {
                exposed_to: vec!["bob".into()],
                ..bare("t")
            }],
        );
        let starts = [
            "SELECT tenant_guard.register_protection('public.t')",
            "CREATE POLICY tenant_guard_floor ON t AS RESTRICTIVE",
            "CREATE POLICY tenant_guard_access ON t AS PERMISSIVE",
            "ALTER TABLE ONLY t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            "ALTER TABLE t ALTER COLUMN account_id SET DEFAULT tenant_guard.account_id(), \
             ALTER COLUMN account_id SET NOT NULL",
            "REVOKE TRUNCATE, REFERENCES, TRIGGER ON TABLE t FROM bob CASCADE",
            "CREATE TRIGGER tenant_guard_capture AFTER",
            "ALTER TABLE t ENABLE ALWAYS TRIGGER tenant_guard_capture",
            "CREATE TRIGGER tenant_guard_capture_truncate AFTER TRUNCATE",
            "ALTER TABLE t ENABLE ALWAYS TRIGGER tenant_guard_capture_truncate",
        ];
        assert_eq!(plan.len(), starts.len(), "{plan:#?}");
        for (statement, start) in plan.iter().zip(starts) {
            assert!(
                statement.starts_with(start),
                "{statement}\nshould start with\n{start}"
            );
        }
    }

    #[test]
    fn protected_table_needs_nothing() {
        let wanted = Wanted {
            register: None,
            ..wanted()
        };
        assert!(protect(&wanted, &[protected("t")]).is_empty());
    }

    #[test]
    fn one_disabled_flag_is_one_statement() {
        let wanted = Wanted {
            register: None,
            ..wanted()
        };
        let member = Member {
            force: false,
            ..protected("t")
        };
        assert_eq!(
            protect(&wanted, &[member]),
            ["ALTER TABLE ONLY t FORCE ROW LEVEL SECURITY"]
        );
    }

    #[test]
    fn partitions_get_policies_but_no_row_trigger_of_their_own() {
        let root = Member {
            partitioned: true,
            ..bare("t")
        };
        let leaf = Member {
            parent: Some(0),
            partition: true,
            ..bare("t_1")
        };
        let plan = protect(&wanted(), &[root, leaf]);
        let count = |part: &str| plan.iter().filter(|s| s.contains(part)).count();
        assert_eq!(count("CREATE POLICY tenant_guard_floor"), 2);
        assert_eq!(count("CREATE TRIGGER tenant_guard_capture AFTER"), 1);
        assert_eq!(count("CREATE TRIGGER tenant_guard_capture_truncate"), 2);
        let columns: Vec<_> = plan.iter().filter(|s| s.contains("ALTER COLUMN")).collect();
        assert_eq!(
            columns,
            [
                "ALTER TABLE t_1 ALTER COLUMN account_id SET DEFAULT tenant_guard.account_id(), \
                 ALTER COLUMN account_id SET NOT NULL",
                "ALTER TABLE ONLY t ALTER COLUMN account_id SET DEFAULT tenant_guard.account_id()",
                "ALTER TABLE t ALTER COLUMN account_id SET NOT NULL",
            ]
        );
    }

    #[test]
    fn dropped_not_null_comes_back_where_it_stood_before() {
        let leaf = |name: &str| Member {
            parent: Some(0),
            partition: true,
            ..protected(name)
        };
        let members = [
            Member {
                partitioned: true,
                ..protected("t")
            },
            leaf("t_1"),
            leaf("t_2"),
        ];
        let remembered = |not_null| {
            Some(RememberedColumn {
                quoted: "account_id".into(),
                kind: Some(AccountType::Uuid),
                present: members[0].column.clone(),
                before: ColumnState {
                    not_null,
                    default: None,
                },
            })
        };
        let plan = restore_columns(
            &members,
            &[remembered(false), remembered(true), remembered(false)],
        );
        assert_eq!(
            plan[3..],
            [
                "ALTER TABLE t ALTER COLUMN account_id DROP NOT NULL",
                "ALTER TABLE ONLY t_2 ALTER COLUMN account_id DROP NOT NULL",
                "ALTER TABLE ONLY t_1 ALTER COLUMN account_id SET NOT NULL",
            ]
        );
    }

    #[test]
    fn parent_of_a_partition_with_the_account_in_its_key_stays_nullable() {
        let root = Member {
            partitioned: true,
            ..bare("t")
        };
        let leaf = Member {
            parent: Some(0),
            partition: true,
            column_in_key: true,
            ..protected("t_1")
        };
        let plan = protect(&wanted(), &[root, leaf]);
        assert!(
            !plan
                .iter()
                .any(|statement| statement.contains("SET NOT NULL")),
            "{plan:#?}"
        );
    }

    #[test]
    fn later_default_of_somebody_else_stays() {
        let column = RememberedColumn {
            quoted: "account_id".into(),
            kind: Some(AccountType::Text),
            present: ColumnState {
                not_null: true,
                default: Some("'x'::text".into()),
            },
            before: ColumnState {
                not_null: true,
                default: None,
            },
        };
        assert!(restore_columns(&[bare("t")], &[Some(column)]).is_empty());
    }
}
