//! Which relations the policies of a relation read.

use std::collections::BTreeSet;

/// Policies of one relation read another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The relation with the policy.
    pub of: String,
    /// The relation it reads.
    pub from: String,
    /// Whether the policy applies to SELECT, so that it is expanded where others read the relation.
    pub selecting: bool,
}

/// A way of policies from a relation back to itself, which PostgreSQL refuses in every statement.
///
/// A statement starts with the policies of its own command; what these read is read by SELECT.
pub fn recursion(readings: &[Reading]) -> Option<Vec<String>> {
    let relations: BTreeSet<_> = readings.iter().map(|reading| &reading.of).collect();
    relations.into_iter().find_map(|start| {
        let mut path = vec![start.as_str()];
        let found = back_to(start, readings, &mut path, &mut BTreeSet::new());
        found.then(|| path.into_iter().map(str::to_owned).collect())
    })
}

fn back_to<'a>(
    start: &str,
    readings: &'a [Reading],
    path: &mut Vec<&'a str>,
    met: &mut BTreeSet<&'a str>,
) -> bool {
    let here = path[path.len() - 1];
    let first = path.len() == 1;
    for reading in readings {
        if reading.of != here || !(first || reading.selecting) {
            continue;
        }
        path.push(&reading.from);
        if reading.from == start || met.insert(&reading.from) && back_to(start, readings, path, met)
        {
            return true;
        }
        path.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(of: &str, from: &str, selecting: bool) -> Reading {
        Reading {
            of: of.into(),
            from: from.into(),
            selecting,
        }
    }

    #[test]
    fn relations_that_read_each_other_are_named() {
        let readings = [
            reads("a", "b", true),
            reads("b", "c", true),
            reads("c", "a", true),
        ];
        assert_eq!(recursion(&readings).unwrap(), ["a", "b", "c", "a"]);
        assert_eq!(recursion(&[reads("t", "t", false)]).unwrap(), ["t", "t"]);
    }

    #[test]
    fn only_what_select_expands_goes_on() {
        // Writing b reads a; reading a reads b, whose policies for SELECT read nothing.
        assert_eq!(
            recursion(&[reads("a", "b", true), reads("b", "c", false)]),
            None
        );
        // But writing b comes back to b.
        let readings = [reads("a", "b", true), reads("b", "a", false)];
        assert_eq!(recursion(&readings).unwrap(), ["b", "a", "b"]);
    }

    #[test]
    fn two_ways_to_one_relation_are_no_recursion() {
        let readings = [
            reads("a", "b", true),
            reads("a", "c", true),
            reads("b", "d", true),
            reads("c", "d", true),
        ];
        assert_eq!(recursion(&readings), None);
    }
}
