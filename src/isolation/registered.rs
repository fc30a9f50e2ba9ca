//! What is registered of one relation, read without running SQL: in the middle of somebody's
//! statement, whatever their search path, their snapshot or their rights.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use tenant_guard_core::archetype::{Archetype, Link, Ownership};
use tenant_guard_core::policy::{AccountColumn, AccountType};

use crate::audit::text::qualified_name;
use crate::catalog;
use crate::error::Error;
use crate::identity::membership;
use crate::versions;

/// The registry's tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registry {
    protection: pg_sys::Oid,
    link: pg_sys::Oid,
    member: pg_sys::Oid,
    column: pg_sys::Oid,
    named: pg_sys::Oid,
}

/// The conditions under which rows of a relation are read and written, and what they were made
/// from.
pub(super) struct Conditions {
    pub(super) read: String,
    pub(super) write: String,
    /// The relations whose changes may change the conditions.
    pub(super) depends: Vec<pg_sys::Oid>,
}

impl Registry {
    /// The tables that belong to the extension; `None` where it is not created, or not yet.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: catalog look-ups by static names, with 0 for what is missing.
        unsafe {
            let schema = catalog::our_schema();
            if schema == pg_sys::Oid::INVALID {
                return None;
            }
            let extension = pg_sys::get_extension_oid(c"tenant_guard".as_ptr(), true);
            let member = |name: &CStr| {
                let table = pg_sys::get_relname_relid(name.as_ptr(), schema);
                (extension != pg_sys::Oid::INVALID
                    && table != pg_sys::Oid::INVALID
                    && pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table) == extension)
                    .then_some(table)
            };
            Some(Self {
                protection: member(c"protection")?,
                link: member(c"protection_link")?,
                member: member(c"protection_member")?,
                column: member(c"protection_column")?,
                named: member(c"capture_column")?,
            })
        }
    }

    pub(super) fn has(&self, relation: pg_sys::Oid) -> bool {
        [self.protection, self.link, self.member, self.column].contains(&relation)
    }

    /// The number of the account column of a member; `None` where it has none or was restored.
    pub(crate) fn account_number(&self, member: pg_sys::Oid) -> Option<i16> {
        let numbered = rows(self.column, member, [c"account_number"]).into_iter();
        let number = numbered.map(|[number]| number.number()).next()?;
        i16::try_from(number).ok().filter(|number| *number > 0)
    }

    /// A name in the lists of capture that has come to another column than the one it was declared
    /// for, of this relation or of one above it; none where they were restored. Also returns what
    /// is above it.
    pub(crate) fn strayed(&self, relation: pg_sys::Oid) -> (Option<String>, Vec<pg_sys::Oid>) {
        let mut above = Vec::new();
        let mut stray = None;
        let mut next = vec![relation];
        while let Some(one) = next.pop() {
            for [name, number] in rows(self.named, one, [c"name", c"number"]) {
                if column_name(one, number.number()).as_deref() != Some(name.text()) {
                    stray = Some(name.text().to_owned());
                }
            }
            let parents = rows(INHERITS, one, [c"inhparent"]);
            let parents = parents.into_iter().map(|[parent]| parent.oid());
            let new: Vec<_> = parents.filter(|parent| !above.contains(parent)).collect();
            above.extend_from_slice(&new);
            next.extend(new);
        }
        (stray, above)
    }

    /// What holds for a relation; `None` where it is not registered.
    pub(super) fn conditions(&self, relation: pg_sys::Oid) -> Result<Option<Conditions>, Error> {
        let found = rows(self.member, relation, [c"root"]).into_iter().next();
        let Some([root]) = found else {
            return Ok(None);
        };
        let mut depends = Vec::new();
        let Some(owner) = self.ownership(root.oid(), relation, &mut depends)? else {
            return Ok(None);
        };
        let name = qualified_name(relation);
        Ok(Some(Conditions {
            read: owner.read(&name),
            write: owner.write(&name),
            depends,
        }))
    }

    /// How rows of `member`, registered under `root`, find their account. As
    /// [`Ownerships`](super::ownership::Ownerships) has it, but that a column that is gone is an
    /// error: it may have another name by now.
    fn ownership(
        &self,
        root: pg_sys::Oid,
        member: pg_sys::Oid,
        depends: &mut Vec<pg_sys::Oid>,
    ) -> Result<Option<Ownership>, Error> {
        // SAFETY: raises where links go deeper than the stack does.
        unsafe { pg_sys::check_stack_depth() };
        depends.push(member);
        let found = rows(self.protection, root, [c"archetype"])
            .into_iter()
            .next();
        let Some([archetype]) = found else {
            return Ok(None);
        };
        // The table admits no other name; closed if it did.
        let archetype = Archetype::from_name(archetype.text()).unwrap_or(Archetype::DenyAll);
        Ok(Some(match archetype {
            Archetype::Reference => Ownership::Everybody,
            Archetype::DenyAll => Ownership::Nobody,
            Archetype::Child => Ownership::Parents(self.links(root, member, depends)?),
            archetype => Ownership::Column(archetype, self.account_column(member)?),
        }))
    }

    fn links(
        &self,
        root: pg_sys::Oid,
        member: pg_sys::Oid,
        depends: &mut Vec<pg_sys::Oid>,
    ) -> Result<Vec<Link>, Error> {
        let columns = [
            c"position",
            c"via",
            c"parent",
            c"parent_key",
            c"type_column",
            c"type_value",
        ];
        let mut found = rows(self.link, root, columns);
        found.sort_by_key(|[position, ..]| position.number());
        let mut links = Vec::new();
        for [_, via, parent, key, type_column, type_value] in found {
            let parent = parent.oid();
            depends.push(parent);
            // SAFETY: a catalog look-up by oid, 0 for a relation that is gone.
            if unsafe { pg_sys::get_rel_relkind(parent) } == 0 {
                continue;
            }
            let when = match type_column {
                Value::Null => None,
                column => {
                    let (column, _) = present(member, column.text())?;
                    Some((column, type_value.text().to_owned()))
                }
            };
            let link = Link {
                via: present(member, via.text())?.0,
                when,
                parent: membership::without_children(parent),
                key: present(parent, key.text())?.0,
                owner: match self.ownership(parent, parent, depends)? {
                    Some(owner) => Box::new(owner),
                    None => continue,
                },
            };
            links.push(link);
        }
        Ok(links)
    }

    /// The account column of a member: by its number, which a new name leaves as it is; by name
    /// where the table was restored, and its columns were numbered anew.
    fn account_column(&self, member: pg_sys::Oid) -> Result<AccountColumn, Error> {
        let numbered = rows(self.column, member, [c"account_number"]).into_iter();
        let numbered = numbered.map(|[number]| number.number()).next();
        let name = match numbered.and_then(|number| column_name(member, number)) {
            Some(name) => name,
            None => {
                let named = rows(self.member, member, [c"account_column"]).into_iter();
                let named = named.map(|[name]| name.text().to_owned()).next();
                named.unwrap_or_default()
            }
        };
        let (quoted, kind) = present(member, &name)?;
        let gone = || Error::StaleFloor(name.clone(), qualified_name(member));
        Ok(AccountColumn {
            kind: AccountType::from_sql(&kind).ok_or_else(gone)?,
            quoted,
            name,
        })
    }
}

/// `pg_inherits`, whose number pgrx does not bind.
const INHERITS: pg_sys::Oid = pg_sys::Oid::from_u32(2611);

/// The quoted name and the type of a column. An error where there is none of this name.
fn present(relation: pg_sys::Oid, name: &str) -> Result<(String, String), Error> {
    let gone = || Error::StaleFloor(name.to_owned(), qualified_name(relation));
    let c_name = CString::new(name).map_err(|_| gone())?;
    // SAFETY: catalog look-ups by oid, name and number; the texts are terminated copies, or the
    // name itself.
    unsafe {
        let number = pg_sys::get_attnum(relation, c_name.as_ptr());
        if number <= 0 {
            return Err(gone());
        }
        let kind = pg_sys::format_type_be(pg_sys::get_atttype(relation, number));
        Ok((
            text_of(pg_sys::quote_identifier(c_name.as_ptr())),
            text_of(kind),
        ))
    }
}

/// The name of the column of this number, if it still exists.
fn column_name(relation: pg_sys::Oid, number: i32) -> Option<String> {
    let number = i16::try_from(number).ok().filter(|number| *number > 0)?;
    // SAFETY: a catalog look-up that gives null for what is missing or dropped, else a copy.
    unsafe {
        let name = pg_sys::get_attname(relation, number, true);
        (!name.is_null()).then(|| text_of(name))
    }
}

/// # Safety
/// `text` must point to a terminated string.
unsafe fn text_of(text: *const std::ffi::c_char) -> String {
    // SAFETY: the caller vouches.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Null,
    Oid(pg_sys::Oid),
    Number(i32),
    Text(String),
}

impl Value {
    fn oid(&self) -> pg_sys::Oid {
        match self {
            Self::Oid(oid) => *oid,
            _ => pg_sys::Oid::INVALID,
        }
    }

    fn number(&self) -> i32 {
        match self {
            Self::Number(number) => *number,
            _ => 0,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
}

/// These columns of the rows of `table` whose primary key begins with `key`, in its order.
fn rows<const N: usize>(
    table: pg_sys::Oid,
    key: pg_sys::Oid,
    columns: [&CStr; N],
) -> Vec<[Value; N]> {
    let mut found = Vec::new();
    // SAFETY: a table of ours, open and locked during the scan; its primary key begins with its
    // first column, a regclass. Each tuple is read before the next one is fetched. On ERROR the
    // resource owner ends scan and relation.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as i32);
        let index = versions::primary_key_index(relation);
        let mut scan_key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut scan_key,
            1,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::Oid::from(pg_sys::F_OIDEQ),
            key.into(),
        );
        let scan = pg_sys::systable_beginscan(
            relation,
            index,
            index != pg_sys::Oid::INVALID,
            std::ptr::null_mut(),
            1,
            &mut scan_key,
        );
        let numbers = columns.map(|name| pg_sys::get_attnum(table, name.as_ptr()));
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            found.push(numbers.map(|number| value(tuple, (*relation).rd_att, number)));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// # Safety
/// `tuple` must be of the type `descriptor`.
unsafe fn value(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, number: i16) -> Value {
    // SAFETY: the caller vouches. The type of the column decides how its value is read; a column
    // that is missing, or that somebody gave another type, reads as NULL.
    unsafe {
        if number <= 0 {
            return Value::Null;
        }
        let mut is_null = false;
        let kind = pg_sys::SPI_gettypeid(descriptor, number.into());
        let datum = pg_sys::SPI_getbinval(tuple, descriptor, number.into(), &mut is_null);
        if is_null {
            return Value::Null;
        }
        match kind {
            pg_sys::REGCLASSOID | pg_sys::OIDOID => {
                Value::Oid(pg_sys::Oid::from(datum.value() as u32))
            }
            pg_sys::NAMEOID => {
                let name = (*datum.cast_mut_ptr::<pg_sys::NameData>()).data.as_ptr();
                Value::Text(text_of(name))
            }
            pg_sys::TEXTOID => Value::Text(text_of(pg_sys::text_to_cstring(datum.cast_mut_ptr()))),
            pg_sys::INT2OID => Value::Number((datum.value() as i16).into()),
            pg_sys::INT4OID => Value::Number(datum.value() as i32),
            _ => Value::Null,
        }
    }
}
