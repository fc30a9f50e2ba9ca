//! By which rule the data of a relation goes that had other names.

use std::collections::BTreeSet;

use tenant_guard_core::hold::add_renamed;
use tenant_guard_core::ledger::retention::Statement;

/// The names that rules are of, and all that the same relations had or have.
pub(super) struct Names<'r> {
    rules: [&'r Statement; 2],
    renames: Vec<(String, String)>,
    /// What the rule for all is not about.
    pub(super) own: Vec<String>,
}

impl<'r> Names<'r> {
    /// `rules` are those that a block states and those that are set; `renames` names before and after.
    pub(super) fn of(rules: [&'r Statement; 2], renames: Vec<(String, String)>) -> Self {
        let names = rules.iter().flat_map(|rules| rules.payload.keys());
        let mut own: BTreeSet<String> = names.filter(|name| !name.is_empty()).cloned().collect();
        add_renamed(&mut own, &renames);
        Self {
            rules,
            renames,
            own: own.into_iter().collect(),
        }
    }

    /// For how long a rule of any name that the relation had or has keeps its data; none where no rule does.
    pub(super) fn longest(&self, relation: &str) -> Option<i64> {
        let mut names = BTreeSet::from([relation.to_owned()]);
        if !relation.is_empty() {
            add_renamed(&mut names, &self.renames);
        }
        let of_name = |name| {
            let rules = self.rules.into_iter();
            rules.filter_map(move |rules| rules.payload.get(name))
        };
        names.iter().flat_map(of_name).map(|rule| rule.keep).max()
    }

    /// The same where the rule for all counts for a relation without one of its own.
    fn kept(&self, relation: &str) -> Option<i64> {
        self.longest(relation).or_else(|| self.longest(""))
    }

    /// A name whose data some of the changes of names keep longer: without them another rule, or none,
    /// would be asked.
    pub(super) fn needs<'n>(&self, gone: &'n [(String, String)]) -> Option<&'n str> {
        let mut left = self.renames.clone();
        for change in gone {
            if let Some(at) = left.iter().position(|one| one == change) {
                left.swap_remove(at);
            }
        }
        let without = Self::of(self.rules, left);
        let names = gone.iter().map(|(_, after)| after.as_str());
        let mut lost = names.filter(|name| without.kept(name) < self.kept(name));
        lost.next()
    }
}
