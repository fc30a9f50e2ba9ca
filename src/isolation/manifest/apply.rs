//! From a manifest to a plan, and from a plan to its execution.

use std::collections::{BTreeSet, HashSet};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use tenant_guard_core::json_path::JsonPath;
use tenant_guard_core::manifest::{
    self, Manifest, ManifestError, Operation, Relation, RelationName,
};

use super::catalog::Catalog;
use super::{drift, export};
use crate::audit::record::record_system;
use crate::error::{Error, Obstacle};
use crate::fault::fault_point;
use crate::isolation::members::Tree;
use crate::isolation::request::Request;
use crate::isolation::{execute, locking, obstacles, registry};

/// A step with the phase it belongs to.
type Step = (&'static str, Operation);

/// What is to be done, and what it is done to.
struct Plan {
    catalog: Catalog,
    present: Manifest,
    wanted: Manifest,
    /// For the one transaction.
    steps: Vec<Operation>,
}

impl Plan {
    fn new(mut wanted: Manifest) -> Result<Self, Error> {
        let present = export::registered();
        let catalog = Catalog::of(&[&present, &wanted]);
        let problems = wanted.problems(&catalog.facts);
        if !problems.is_empty() {
            return Err(Error::Manifest(problems));
        }
        wanted.resolve(&catalog.facts)?;
        let steps = manifest::difference(&present, &wanted)?;
        let mut plan = Self {
            catalog,
            present,
            wanted,
            steps: Vec::new(),
        };
        plan.steps = plan.with_proofs_dropped(steps);
        Ok(plan)
    }

    /// Adds the calls that bring back what drifted and no other step protects again. There is no way
    /// back to a drift. Relations for which `known` holds are as they should be.
    fn mend(&mut self, known: impl Fn(pg_sys::Oid) -> bool) {
        let steps = self.steps.iter();
        let changing: HashSet<_> = steps
            .filter(|step| protects(&step.statement))
            .map(|step| step.object.as_str())
            .collect();
        let mut mending = Vec::new();
        for (name, relation) in &self.wanted.relations {
            let object = name.to_string();
            let Some(oid) = self.catalog.oids.get(name) else {
                continue;
            };
            if changing.contains(object.as_str()) || known(*oid) {
                continue;
            }
            if !drift::differences(*oid).is_empty() {
                mending.push(Operation {
                    path: Manifest::path_of(name),
                    object,
                    statement: manifest::protect_again(name, relation),
                    reverse: String::new(),
                });
            }
        }
        mending.append(&mut self.steps);
        self.steps = mending;
    }

    /// Relations that `protect` is called for, with what is wanted of them.
    fn protected(&self) -> impl Iterator<Item = (&RelationName, &Relation)> {
        let changed = |name: &RelationName, relation: &Relation| {
            let present = self.present.relations.get(name);
            present.is_none_or(|present| present.ownership != relation.ownership)
        };
        let wanted = self.wanted.relations.iter();
        wanted.filter(move |(name, relation)| changed(name, relation))
    }

    /// The steps, each protection followed by those that drop the proof it used.
    fn with_proofs_dropped(&self, steps: Vec<Operation>) -> Vec<Operation> {
        let mut used: BTreeSet<_> = self.protected().map(|(name, _)| name.clone()).collect();
        if used.is_empty() {
            return steps;
        }
        let tables = self.catalog.tables(&self.wanted);
        let mut all = Vec::with_capacity(steps.len());
        for step in steps {
            let name = RelationName::parse(&step.object);
            let protects = protects(&step.statement);
            all.push(step);
            if let Some(name) = name
                && protects
                && used.remove(&name)
                && let Some(relation) = self.wanted.relations.get(&name)
            {
                let tree = tables.get(&name).map_or(&[][..], Vec::as_slice);
                all.extend(manifest::settle(&name, relation, tree));
            }
        }
        all
    }

    /// Steps before the transaction.
    fn prepare(&self) -> Vec<Operation> {
        let tables = self.catalog.tables(&self.wanted);
        let each = self.protected().flat_map(|(name, relation)| {
            let tree = tables.get(name).map_or(&[][..], Vec::as_slice);
            manifest::prepare(name, relation, tree)
        });
        each.collect()
    }

    /// What the catalog shows and only a look at the tables shows, each with its place.
    fn refuse_obstacles(&self) -> Result<(), Error> {
        let mut found = Vec::new();
        for (name, relation) in self.protected() {
            let Some(oid) = self.catalog.oids.get(name) else {
                continue;
            };
            let request = Request::for_counting(*oid, &relation.ownership);
            let obstacle = match Tree::read(&request) {
                Ok(tree) => obstacles::null_accounts(&request, &tree),
                Err(obstacle) => Some(obstacle),
            };
            found.extend(obstacle.map(|obstacle| (Manifest::path_of(name), obstacle)));
        }
        match found.is_empty() {
            true => Ok(()),
            false => Err(Error::ManifestObstacles(found)),
        }
    }

    /// The relations that the steps change.
    fn touched(&self) -> Vec<pg_sys::Oid> {
        let names: BTreeSet<_> = self.steps.iter().map(|step| step.object.as_str()).collect();
        let known = self.catalog.oids.iter();
        known
            .filter(|(name, _)| names.contains(name.to_string().as_str()))
            .map(|(_, oid)| *oid)
            .collect()
    }
}

fn protects(statement: &str) -> bool {
    statement.starts_with("SELECT tenant_guard.protect(")
}

/// Steps after the transaction, for what is registered or will be: `manifest`.
pub(super) fn finish(catalog: &Catalog, manifest: &Manifest) -> Vec<Operation> {
    let tables = catalog.tables(manifest);
    let each = tables.iter().flat_map(|(name, tree)| {
        manifest::finish(manifest, name, tree, |column| {
            catalog.is_array(name, column)
        })
    });
    each.collect()
}

/// What `apply` would do, with what is to be done before and after; nothing is changed.
pub(super) fn plan(wanted: Manifest) -> Result<Vec<Step>, Error> {
    let mut plan = Plan::new(wanted)?;
    plan.refuse_obstacles()?;
    plan.mend(|_| false);
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(plan.prepare().into_iter().map(|step| ("prepare", step)));
    let after = finish(&plan.catalog, &plan.wanted);
    steps.extend(plan.steps.into_iter().map(|step| ("apply", step)));
    steps.extend(after.into_iter().map(|step| ("after", step)));
    Ok(steps)
}

/// Executes the steps of the plan's transaction in the running one; they and what is to be done
/// afterwards.
pub(super) fn apply(wanted: Manifest) -> Result<Vec<Step>, Error> {
    registry::lock();
    let mut unlocked = Plan::new(wanted.clone())?;
    unlocked.mend(|_| false);
    fault_point!("manifest.planned");
    let touched = unlocked.touched();
    locking::lock_trees(&touched);
    fault_point!("manifest.locked");
    let touched: HashSet<_> = touched.into_iter().collect();
    // Tables may have changed before they were locked. Of those that are not, it would not be surer to
    // look a second time.
    let mut plan = Plan::new(wanted)?;
    plan.mend(|relation| !touched.contains(&relation));
    for step in &plan.steps {
        execute_at(step);
        fault_point!("manifest.step_done");
    }
    if !plan.steps.is_empty() {
        let data = serde_json::json!({ "steps": plan.steps.len() }).to_string();
        record_system("apply_manifest", None, "", Some(&data));
    }
    fault_point!("manifest.recorded");
    let after = finish(&plan.catalog, &plan.wanted);
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(plan.steps.into_iter().map(|step| ("apply", step)));
    steps.extend(after.into_iter().map(|step| ("after", step)));
    Ok(steps)
}

/// Executes one step; an error of it says which part of the manifest asked for it.
fn execute_at(step: &Operation) {
    PgTryBuilder::new(|| execute(std::slice::from_ref(&step.statement)))
        .catch_others(|error| match error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                let message = format!("manifest {}: {}", step.path, report.message());
                let mut located =
                    ErrorReport::new(report.sql_error_code(), message, "tenant_guard");
                if let Some(detail) = report.detail() {
                    located = located.set_detail(detail);
                }
                if let Some(hint) = report.hint() {
                    located = located.set_hint(hint);
                }
                located.report(PgLogLevel::ERROR);
            }
            other => other.rethrow(),
        })
        .execute();
}

/// SQLSTATE of a problem of a manifest.
pub(crate) fn code_of(error: &ManifestError) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    use manifest::Problem;
    match error.problem {
        Problem::Newer(_) | Problem::AccountType(..) => ERRCODE_FEATURE_NOT_SUPPORTED,
        Problem::NoRelation(_) => ERRCODE_UNDEFINED_TABLE,
        Problem::NotATable(..) | Problem::PartOf(..) => ERRCODE_WRONG_OBJECT_TYPE,
        Problem::NoColumn(..) => ERRCODE_UNDEFINED_COLUMN,
        Problem::NoDatabaseRole(_) | Problem::UndefinedRole(_) | Problem::NoForeignKey(..) => {
            ERRCODE_UNDEFINED_OBJECT
        }
        Problem::NoSchema(_) => ERRCODE_INVALID_SCHEMA_NAME,
        Problem::DropsSecret => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        _ => ERRCODE_INVALID_PARAMETER_VALUE,
    }
}

/// For messages of several obstacles.
pub(crate) fn located(path: &JsonPath, obstacle: &Obstacle) -> String {
    format!("manifest {path}: {obstacle}")
}
