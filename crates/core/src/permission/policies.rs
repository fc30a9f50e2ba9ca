//! The policies that let roles of the product in.

use std::collections::BTreeMap;

use super::compile::{Command, Grant, condition};
use super::roles::Roles;
use crate::archetype::{Archetype, Ownership};
use crate::policy::{self, Expression, Policy};

impl Command {
    /// Name of the policy that says which roles may do this.
    pub fn policy(self) -> String {
        format!("tenant_guard_{}", self.name())
    }

    fn of_policy(self) -> policy::Command {
        match self {
            Self::Select => policy::Command::Select,
            Self::Insert => policy::Command::Insert,
            Self::Update => policy::Command::Update,
            Self::Delete => policy::Command::Delete,
        }
    }

    /// Whether the archetype's floor leaves something to allow.
    pub fn is_of_roles(self, archetype: Archetype) -> bool {
        match archetype {
            Archetype::Account | Archetype::SharedDefaults | Archetype::Child => true,
            // Everybody reads it anyway.
            Archetype::PublicRead => self != Self::Select,
            Archetype::Reference | Archetype::DenyAll => false,
        }
    }
}

/// The permissive policies of a relation on which permissions are declared, in the place of
/// [`Policy::access`]: one for each command that some role is allowed.
pub fn policies(
    owner: &Ownership,
    relation: &str,
    database_roles: &[String],
    roles: &Roles,
    grants: &BTreeMap<Command, Vec<Grant>>,
) -> Vec<Policy> {
    let policy = |command: Command| {
        let account = match command {
            Command::Select => owner.read(relation),
            _ => owner.write(relation),
        };
        let text = if command.is_of_roles(owner.archetype()) {
            let grants = grants.get(&command).map_or(&[][..], Vec::as_slice);
            condition(roles, grants, relation, &account)?
        } else if command == Command::Select && *owner != Ownership::Nobody {
            account
        } else {
            return None;
        };
        let expression = |wanted: bool| wanted.then(|| Expression::wanted(text.clone()));
        Some(Policy {
            name: command.policy(),
            restrictive: false,
            command: command.of_policy(),
            roles: database_roles.to_vec(),
            using: expression(command != Command::Insert),
            check: expression(matches!(command, Command::Insert | Command::Update)),
        })
    };
    Command::ALL.into_iter().filter_map(policy).collect()
}

#[cfg(test)]
mod tests {
    use super::super::compile::Scope;
    use super::super::roles::tests::role;
    use super::*;
    use crate::policy::{AccountColumn, AccountType};

    fn owner(archetype: Archetype) -> Ownership {
        let column = AccountColumn {
            name: "a".into(),
            quoted: "a".into(),
            kind: AccountType::Uuid,
        };
        Ownership::Column(archetype, column)
    }

    fn written(archetype: Archetype, commands: &[Command]) -> Vec<String> {
        let roles = Roles::new([role("user", &[], "")]).unwrap();
        let grant = || Grant {
            role: "user".into(),
            scope: Scope::Account,
        };
        let grants = commands.iter().map(|command| (*command, vec![grant()]));
        let wanted = policies(&owner(archetype), "t", &[], &roles, &grants.collect());
        Policy::difference(&wanted, &[], "t")
    }

    #[test]
    fn each_command_has_a_policy_of_its_own() {
        let mine = "(a OPERATOR(pg_catalog.=) tenant_guard.account_id() \
                    AND tenant_guard.has_any_role('{user}'))";
        assert_eq!(
            written(Archetype::Account, &Command::ALL),
            [
                format!(
                    "CREATE POLICY tenant_guard_select ON t AS PERMISSIVE FOR SELECT TO PUBLIC USING {mine}"
                ),
                format!(
                    "CREATE POLICY tenant_guard_insert ON t AS PERMISSIVE FOR INSERT TO PUBLIC WITH CHECK {mine}"
                ),
                format!(
                    "CREATE POLICY tenant_guard_update ON t AS PERMISSIVE FOR UPDATE TO PUBLIC USING {mine} WITH CHECK {mine}"
                ),
                format!(
                    "CREATE POLICY tenant_guard_delete ON t AS PERMISSIVE FOR DELETE TO PUBLIC USING {mine}"
                ),
            ]
        );
    }

    #[test]
    fn command_that_nobody_is_allowed_has_none() {
        let only = written(Archetype::Account, &[Command::Delete]);
        assert_eq!(only.len(), 1);
        assert!(only[0].contains("FOR DELETE"));
    }

    #[test]
    fn what_everybody_reads_stays_so() {
        let statements = written(Archetype::PublicRead, &[Command::Update]);
        assert_eq!(
            statements[0],
            "CREATE POLICY tenant_guard_select ON t AS PERMISSIVE FOR SELECT TO PUBLIC \
             USING (tenant_guard.anyone())"
        );
        assert_eq!(statements.len(), 2);
        let defaults = written(Archetype::SharedDefaults, &[Command::Select]);
        assert!(defaults[0].contains("is_authenticated()) AND tenant_guard.has_any_role"));
    }
}
