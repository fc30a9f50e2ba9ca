//! Which tables belong to accounts: protection applied, printed, taken off, and checked.

mod assurance;
mod check;
mod grants;
mod members;
mod obstacles;
mod registry;

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::plan::{self, Wanted};
use tenant_guard_core::policy::AccountType;

use crate::audit::record::record_system;
use crate::error::{Error, Obstacle, OrRaise};
use members::Tree;

/// Arguments of `protect`, without nulls.
#[derive(Clone)]
struct Request {
    relation: pg_sys::Oid,
    column: String,
    roles: Vec<pg_sys::Oid>,
    redact: Vec<String>,
    audit: bool,
}

type Names<'a> = Option<pgrx::Array<'a, &'a CStr>>;
type Roles = Option<Vec<Option<pg_sys::Oid>>>;

impl Request {
    fn new(
        relation: Option<pg_sys::Oid>,
        column: Option<&CStr>,
        roles: Roles,
        redact: Names<'_>,
        audit: Option<bool>,
    ) -> Result<Self, Error> {
        let redact = redact.ok_or(Error::NullArgument("redact"))?;
        Ok(Self {
            relation: relation.ok_or(Error::NullArgument("relation"))?,
            column: text(column.ok_or(Error::NullArgument("account_column"))?),
            roles: role_list(roles)?,
            redact: redact
                .iter()
                .map(|name| {
                    name.map(text)
                        .ok_or(Error::NullArgument("an element of redact"))
                })
                .collect::<Result<_, _>>()?,
            audit: audit.ok_or(Error::NullArgument("audit"))?,
        })
    }
}

/// A name of the catalog; every database with the extension is UTF-8.
fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The roles asked for, none of them standing for PUBLIC: that is what no list at all means.
fn role_list(roles: Roles) -> Result<Vec<pg_sys::Oid>, Error> {
    let Some(roles) = roles else {
        return Ok(Vec::new());
    };
    if roles.is_empty() {
        return Err(Error::EmptyRoles);
    }
    roles
        .into_iter()
        .map(|role| match role {
            Some(role) if role != pg_sys::Oid::INVALID => Ok(role),
            _ => Err(Error::NullArgument("an element of roles")),
        })
        .collect()
}

/// Puts a relation, its partitions and its children under account isolation.
#[pg_extern(sql = false)]
fn protect(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&CStr>,
    roles: Roles,
    redact: Names<'_>,
    audit: Option<bool>,
) {
    let request = Request::new(relation, account_column, roles, redact, audit).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::lock(&request).or_raise();
    apply(&request, &tree).or_raise();
}

/// The statements `protect` would execute, in order.
#[pg_extern(sql = false)]
fn protection_plan(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&CStr>,
    roles: Roles,
    redact: Names<'_>,
    audit: Option<bool>,
) -> TableIterator<'static, (name!(step, i32), name!(statement, String))> {
    let request = Request::new(relation, account_column, roles, redact, audit).or_raise();
    require_admin().or_raise();
    let tree = Tree::read(&request).or_raise();
    let plan = statements(&request, &tree).or_raise();
    TableIterator::new((1..).zip(plan))
}

/// First step of a plan: judges the relation and remembers what stands on it.
#[pg_extern(sql = false)]
fn register_protection(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&CStr>,
    redact: Names<'_>,
    audit: Option<bool>,
) {
    let request = Request::new(relation, account_column, None, redact, audit).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::lock(&request).or_raise();
    obstacles::refuse(&request, &tree).or_raise();
    obstacles::null_accounts(&request, &tree)
        .map_or(Ok(()), Err)
        .or_raise();
    registry::register(&request, &tree);
    let arguments = serde_json::json!({
        "account_column": request.column, "redact": request.redact, "audit": request.audit,
    });
    record_system(
        "protect",
        Some(request.relation),
        "",
        Some(&arguments.to_string()),
    );
}

/// Protects every table of a schema that has the account column and is not protected yet.
///
/// Tables without the column are left alone, and named in a NOTICE. All obstacles of all tables
/// are reported before the first one is changed.
#[pg_extern(sql = false)]
fn protect_schema(
    schema: Option<&CStr>,
    account_column: Option<&CStr>,
    roles: Roles,
    redact: Names<'_>,
    audit: Option<bool>,
) {
    let schema = text(schema.ok_or(Error::NullArgument("schema")).or_raise());
    let any = Some(pg_sys::Oid::INVALID);
    let common = Request::new(any, account_column, roles, redact, audit).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tables = registry::tables_of(&schema, &common).or_raise();

    let mut sound = Vec::new();
    let mut found: Vec<Obstacle> = Vec::new();
    let mut kinds: Vec<(String, AccountType)> = Vec::new();
    for table in tables {
        let request = Request {
            relation: table.relation,
            redact: table.redact,
            ..common.clone()
        };
        match Tree::lock(&request) {
            Ok(tree) => {
                found.extend(obstacles::all(&request, &tree));
                found.extend(obstacles::mixed_types(&request, &tree, &kinds));
                found.extend(obstacles::null_accounts(&request, &tree));
                kinds.extend(
                    tree.account_type()
                        .map(|kind| (tree.name().to_owned(), kind)),
                );
                sound.push((request, tree));
            }
            Err(obstacle) => found.push(obstacle),
        }
    }
    if !found.is_empty() {
        Error::SchemaObstacles { schema, found }.raise();
    }
    for (request, tree) in &sound {
        apply(request, tree).or_raise();
    }
}

/// Takes protection off a relation and gives back what stood before.
#[pg_extern(sql = false)]
fn unprotect(relation: Option<pg_sys::Oid>) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::lock_protected(relation).or_raise();
    let (columns, flags) = tree.remembered();
    execute(&plan::unprotect(&tree.plan_members(), &columns, &flags));
    assurance::forget(&tree);
    for member in tree.relations() {
        grants::restore(member);
    }
    registry::forget(relation);
    record_system("unprotect", Some(relation), "", None);
}

/// The condition of our policies for a column of the given type, as the catalog prints it; null
/// for a type that cannot hold an account. For the checks, so that they compare with the one text.
#[pg_extern(sql = false)]
fn account_predicate(quoted_column: &str, sql_type: &str) -> Option<String> {
    let column = tenant_guard_core::policy::AccountColumn {
        name: String::new(),
        quoted: quoted_column.to_owned(),
        kind: AccountType::from_sql(sql_type)?,
    };
    Some(column.predicate_in_catalog())
}

fn require_admin() -> Result<(), Error> {
    // SAFETY: catalog lookups; the role name is a static C string.
    let admin = unsafe {
        let role = pg_sys::get_role_oid(c"tenant_guard_admin".as_ptr(), true);
        role != pg_sys::Oid::INVALID && pg_sys::has_privs_of_role(pg_sys::GetUserId(), role)
    };
    if admin { Ok(()) } else { Err(Error::NotAdmin) }
}

/// Executes the plan for one relation; the caller has locked the registry and the tree.
fn apply(request: &Request, tree: &Tree) -> Result<(), Error> {
    let plan = statements(request, tree)?;
    if plan.is_empty() {
        notice!("relation {} is already protected in this way", tree.name());
    }
    execute(&plan);
    Ok(())
}

fn statements(request: &Request, tree: &Tree) -> Result<Vec<String>, Error> {
    obstacles::refuse(request, tree)?;
    let wanted = Wanted {
        relation: tree.name().to_owned(),
        column: tree.account_column(&request.column)?,
        roles: registry::quoted_roles(&request.roles)?,
        redact: request.redact.clone(),
        audit: request.audit,
        sets_default: tree.sets_default(),
        registered: registry::is_registered(request, tree),
    };
    let mut plan = plan::protect(&wanted, &tree.plan_members());
    plan.extend(assurance::missing(tree));
    Ok(plan)
}

/// Runs statements in the name of the caller, who must own what they touch.
fn execute(statements: &[String]) {
    Spi::connect_mut(|client| {
        for statement in statements {
            if let Err(error) = client.update(statement.as_str(), None, &[]) {
                pgrx::error!("statement of a protection plan failed: {error}");
            }
        }
    });
}
