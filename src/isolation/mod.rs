//! Which tables belong to accounts: protection applied, printed, taken off, and checked.

mod acceptance;
mod allowing;
mod arrival;
mod assurance;
mod capturing;
mod check;
pub(crate) mod column_hook;
pub(crate) mod copy_from;
mod explain;
mod expression;
pub(crate) mod floor_hook;
pub(crate) mod following;
mod foreign_keys;
mod forgetting;
mod grants;
mod guards;
mod integrity;
mod locking;
mod lookup;
mod manifest;
mod matrix;
mod members;
mod numbering;
mod obstacles;
mod ownership;
mod permissions;
mod policies;
mod probe;
mod reading;
pub(crate) mod registered;
mod registry;
mod request;
mod roles;

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::archetype::{Archetype, Link, Ownership};
use tenant_guard_core::permission::{PermissionError, Roles};
use tenant_guard_core::plan::{self, Wanted, WantedColumn};
use tenant_guard_core::policy::AccountType;

pub(crate) use self::manifest::{code_of, located};
use crate::audit::record::record_system;
use crate::error::{Error, Obstacle, OrRaise};
use crate::fault::fault_point;
use members::Tree;
use ownership::Ownerships;
use permissions::Permissions;
use probe::may_become;
use request::{Arguments, Request, text};

/// Puts a relation, its partitions and its children under account isolation.
#[pg_extern(sql = false)]
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of the SQL function"
)]
fn protect<'a>(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&'a CStr>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    audit: Option<bool>,
    archetype: Option<&'a str>,
    via: Option<&'a CStr>,
    parent: Option<pg_sys::Oid>,
    type_column: Option<&'a CStr>,
    parents: Option<pgrx::JsonB>,
) {
    let arguments = Arguments {
        relation,
        account_column,
        roles,
        redact,
        audit,
        archetype,
        via,
        parent,
        type_column,
        parents,
    };
    require_admin().or_raise();
    let request = Request::new(arguments).or_raise();
    registry::lock();
    fault_point!("protect.registry_locked");
    let tree = Tree::lock(&request).or_raise();
    fault_point!("protect.tree_locked");
    apply(&request, &tree).or_raise();
    fault_point!("protect.done");
}

/// The statements `protect` would execute, in order.
#[pg_extern(sql = false)]
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of the SQL function"
)]
fn protection_plan<'a>(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&'a CStr>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    audit: Option<bool>,
    archetype: Option<&'a str>,
    via: Option<&'a CStr>,
    parent: Option<pg_sys::Oid>,
    type_column: Option<&'a CStr>,
    parents: Option<pgrx::JsonB>,
) -> TableIterator<'static, (name!(step, i32), name!(statement, String))> {
    let arguments = Arguments {
        relation,
        account_column,
        roles,
        redact,
        audit,
        archetype,
        via,
        parent,
        type_column,
        parents,
    };
    require_admin().or_raise();
    let request = Request::new(arguments).or_raise();
    let tree = Tree::read(&request).or_raise();
    let plan = statements(&request, &tree).or_raise();
    obstacles::null_accounts(&request, &tree)
        .map_or(Ok(()), Err)
        .or_raise();
    TableIterator::new((1..).zip(plan))
}

/// First step of a plan: judges the relation and remembers what stands on it.
#[pg_extern(sql = false)]
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments of the SQL function"
)]
fn register_protection<'a>(
    relation: Option<pg_sys::Oid>,
    account_column: Option<&'a CStr>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    audit: Option<bool>,
    archetype: Option<&'a str>,
    via: Option<&'a CStr>,
    parent: Option<pg_sys::Oid>,
    type_column: Option<&'a CStr>,
    parents: Option<pgrx::JsonB>,
) {
    let arguments = Arguments {
        relation,
        account_column,
        roles,
        redact,
        audit,
        archetype,
        via,
        parent,
        type_column,
        parents,
    };
    require_admin().or_raise();
    let request = Request::new(arguments).or_raise();
    registry::lock();
    let tree = Tree::lock(&request).or_raise();
    obstacles::refuse(&request, &tree).or_raise();
    obstacles::null_accounts(&request, &tree)
        .map_or(Ok(()), Err)
        .or_raise();
    say_unredacted(&request, tree.name());
    registry::register(&request, &tree);
    fault_point!("protect.registered");
    numbering::take(request.relation, numbering::By::Protect, &request.redact);
    let mut data = request.to_json();
    data["empty"] = integrity::is_empty(request.relation).into();
    following::say(&mut data, request.relation);
    let data = data.to_string();
    record_system("protect", Some(request.relation), "", Some(&data));
}

/// Warns of columns whose values were left out of the log and no longer are.
fn say_unredacted(request: &Request, name: &str) {
    if request.audit {
        let shown = numbering::left_off(request.relation, &request.redact);
        if !shown.is_empty() {
            let columns = shown.join(", ");
            warning!(
                "changes of relation {name} are recorded with the values of {columns}, which redact no longer names"
            );
        }
    }
}

/// Protects every table of a schema that has the account column and is not protected yet.
///
/// Tables without the column are left alone, and named in a NOTICE. All obstacles of all tables
/// are reported before the first one is changed.
#[pg_extern(sql = false)]
fn protect_schema<'a>(
    schema: Option<&CStr>,
    account_column: Option<&'a CStr>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    audit: Option<bool>,
) {
    let schema = text(schema.ok_or(Error::NullArgument("schema")).or_raise());
    require_admin().or_raise();
    let common = Request::of_schema(account_column, roles, redact, audit).or_raise();
    registry::lock();
    let tables = lookup::tables_of(&schema, &common).or_raise();
    let roots: Vec<_> = tables.iter().map(|table| table.relation).collect();
    locking::lock_trees(&roots);

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
    guards::schemas::govern_protected(&schema, &common).or_raise();
}

/// Takes protection off a relation and gives back what stood before.
#[pg_extern(sql = false)]
fn unprotect(relation: Option<pg_sys::Oid>) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    require_admin().or_raise();
    registry::lock();
    let left = registry::left_behind(relation);
    let tree = match left {
        Some(root) => Tree::lock_left_behind(relation, root),
        None => Tree::lock_protected(relation),
    }
    .or_raise();
    if let Some(child) = registry::children(relation).into_iter().next() {
        Error::from(Obstacle::HasChild(tree.name().to_owned(), child)).raise();
    }
    if let Some(reader) = permissions::readers(relation).into_iter().next() {
        let name = tree.name().to_owned();
        Error::from(PermissionError::ReadBy(name, reader)).raise();
    }
    let (columns, flags) = tree.remembered();
    for member in tree.relations() {
        grants::restore(member);
    }
    // The guards let go of what the registry no longer wants.
    match left {
        Some(_) => registry::forget_members(tree.relations().collect()),
        None => registry::forget(relation),
    }
    fault_point!("unprotect.forgotten");
    numbering::take(relation, numbering::By::Protect, []);
    integrity::drop_of(tree.relations());
    let members = tree.plan_members(|_| Vec::new());
    let audited = capturing::root_of(relation).and_then(capturing::rule_of);
    execute(&plan::unprotect(
        &members,
        &columns,
        &flags,
        audited.as_ref(),
    ));
    assurance::forget(&tree);
    roles::forget(relation);
    if audited.is_none() {
        manifest::forget_annotations(relation);
    }
    fault_point!("unprotect.taken_off");
    record_system("unprotect", Some(relation), "", None);
}

pub(crate) fn require_admin() -> Result<(), Error> {
    if is_admin() {
        Ok(())
    } else {
        Err(Error::NotAdmin)
    }
}

/// Whether the current user may decide about protection.
pub(crate) fn is_admin() -> bool {
    crate::catalog::has_role(c"tenant_guard_admin")
}

/// Judges whether the current user decides how changes of a relation are captured.
pub(crate) fn decides_capture(relation: pg_sys::Oid) -> Result<(), Error> {
    require_admin()?;
    capturing::judge(relation)
}

/// Locks a relation and all below it against whoever writes, together or not at all.
pub(crate) fn hold_off_writers(relation: pg_sys::Oid) {
    locking::hold_off_writers(&[relation]);
}

/// Judges the name of a role of the product.
pub(crate) fn is_role(name: &str) -> Result<(), Error> {
    registry::lock();
    let roles = Roles::new(permissions::roles())?;
    Ok(roles.get(name).map(drop)?)
}

/// The tables that hold the rows of a relation: of a partitioned one its leaves, of any other itself.
pub(crate) fn leaves_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    integrity::tables_of(relation)
}

/// Executes the plan for one relation; the caller has locked the registry and the tree.
fn apply(request: &Request, tree: &Tree) -> Result<(), Error> {
    let plan = statements(request, tree)?;
    fault_point!("protect.planned");
    if plan.is_empty() {
        notice!("relation {} is already protected in this way", tree.name());
    }
    execute(&plan);
    numbering::take(request.relation, numbering::By::Protect, &request.redact);
    Ok(())
}

fn statements(request: &Request, tree: &Tree) -> Result<Vec<String>, Error> {
    obstacles::refuse(request, tree)?;
    let registered = registry::registered(request.relation);
    let (owner, mut plan) = difference(request, tree, registered.as_ref())?;
    plan.extend(assurance::missing(tree));
    let before = match registered {
        Some(_) => Ownerships::of(vec![request.relation]).get(request.relation),
        None => None,
    };
    if before.is_some_and(|before| before != owner) {
        // Their policies say how rows of this one find their account.
        plan.extend(registry::protect_below(request.relation));
    }
    Ok(plan)
}

/// How rows find their account, and the statements that bring the tree under protection; obstacles
/// are not asked about.
fn difference(
    request: &Request,
    tree: &Tree,
    registered: Option<&Request>,
) -> Result<(Ownership, Vec<String>), Error> {
    let owner = owner(request, tree)?;
    let column = owner.column().map(|column| WantedColumn {
        column: column.clone(),
        sets_default: tree.sets_default(),
        not_null: request.archetype.requires_account(),
    });
    let wanted = Wanted {
        register: (!is_registered(request, tree, registered))
            .then(|| request.register_call(tree.name())),
        column,
        capture: capturing::wanted(request),
    };
    let roles = lookup::quoted(request.roles.as_deref().unwrap_or_default());
    let permissions = Permissions::of(request.relation)?;
    permissions.refuse_broken(request.relation)?;
    permissions.refuse_archetype(request.relation, request.archetype)?;
    let parents: Vec<_> = request.links.iter().map(|link| link.parent).collect();
    if !parents.is_empty() {
        permissions::refuse_recursion(request.relation, &parents)?;
    }
    let members = tree.plan_members(|member| {
        let (of, name) = (member.relation, &member.plan.name);
        policies::wanted(&owner, &roles, &permissions, request.relation, of, name)
    });
    let plan = plan::protect(&wanted, &members);
    Ok((owner, plan))
}

/// Whether the registry says of the tree what is asked for it.
fn is_registered(request: &Request, tree: &Tree, registered: Option<&Request>) -> bool {
    tree.iter()
        .all(|member| member.root == Some(request.relation))
        && registered == Some(request)
}

/// How rows of the relation are to find their account, once nothing was found against it.
fn owner(request: &Request, tree: &Tree) -> Result<Ownership, Error> {
    if let Some(column) = tree.account_column(request)? {
        return Ok(Ownership::Column(request.archetype, column));
    }
    Ok(match request.archetype {
        Archetype::Reference => Ownership::Everybody,
        Archetype::Child => Ownership::Parents(parents(request)),
        _ => Ownership::Nobody,
    })
}

fn parents(request: &Request) -> Vec<Link> {
    let owners = Ownerships::of(request.links.iter().map(|link| link.parent).collect());
    let quoted = |name: &String| lookup::quoted(std::slice::from_ref(name)).concat();
    let link = |link: &request::Link| {
        Some(Link {
            via: quoted(&link.via),
            when: link
                .when
                .as_ref()
                .map(|(column, value)| (quoted(column), value.clone())),
            parent: owners.source(link.parent)?,
            key: quoted(&link.parent_key),
            owner: Box::new(owners.get(link.parent)?),
        })
    };
    request.links.iter().filter_map(link).collect()
}

/// Runs statements of a plan in the name of the caller, who must own what they touch.
fn execute(statements: &[String]) {
    for statement in statements {
        guards::recorded::as_ours(|| execute_as_theirs(statement));
        fault_point!("protect.statement_run");
    }
}

/// Runs one statement as if the caller had.
fn execute_as_theirs(statement: &str) {
    Spi::connect_mut(|client| {
        if let Err(error) = client.update(statement, None, &[]) {
            pgrx::error!("statement of a protection plan failed: {error}");
        }
    });
}
