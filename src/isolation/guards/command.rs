//! The command an event trigger is called for, and what PostgreSQL collected of it.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, AlterTableType, NodeTag};
use pgrx::prelude::*;

use crate::error::Error;
use crate::versions;

/// A command under guard.
pub(super) struct Command {
    parsetree: *mut pg_sys::Node,
    pub(super) tag: pg_sys::CommandTag::Type,
}

impl Command {
    /// The command behind an event trigger's call. None where it is not to be judged: during
    /// pg_upgrade, and in our own extension script.
    ///
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to the running function.
    pub(super) unsafe fn guarded(
        fcinfo: pg_sys::FunctionCallInfo,
        function: &'static str,
    ) -> Option<Self> {
        // SAFETY: the context of a call is a node or null; its tag says EventTriggerData, which
        // lives through the call. The variables are plain backend-local state.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != NodeTag::T_EventTriggerData {
                Error::NotATrigger(function).raise();
            }
            if pg_sys::IsBinaryUpgrade || in_own_script() {
                return None;
            }
            let data = &*context.cast::<pg_sys::EventTriggerData>();
            Some(Self {
                parsetree: data.parsetree,
                tag: data.tag,
            })
        }
    }

    /// What kind of statement it is.
    pub(super) fn node(&self) -> NodeTag {
        // SAFETY: the statement lives while its event triggers run.
        unsafe { (*self.parsetree).type_ }
    }

    /// The statement.
    ///
    /// # Safety
    /// [`node`](Self::node) must be the tag of `T`.
    pub(super) unsafe fn statement<T>(&self) -> &T {
        // SAFETY: the caller checked the tag; the statement outlives the command's event triggers.
        unsafe { &*self.parsetree.cast::<T>() }
    }

    /// Where the statement stands in memory, the same at the start and at the end of the command.
    pub(super) fn address(&self) -> usize {
        self.parsetree.addr()
    }

    /// The name of the command, such as `ALTER TABLE`.
    pub(super) fn tag_name(&self) -> String {
        // SAFETY: a tag of PostgreSQL's own; the name is static.
        unsafe { text(pg_sys::GetCommandTagName(self.tag)) }
    }
}

/// Whether the running command is part of CREATE or ALTER EXTENSION tenant_guard.
unsafe fn in_own_script() -> bool {
    // SAFETY: plain backend-local state and a catalog look-up.
    unsafe {
        pg_sys::creating_extension
            && pg_sys::CurrentExtensionObject
                == pg_sys::get_extension_oid(c"tenant_guard".as_ptr(), true)
    }
}

/// What a command did to one object, as PostgreSQL collected it.
pub(super) enum Collected {
    /// Made or changed the object at the address by the statement; of a change of schema, the one before.
    Simple(pg_sys::ObjectAddress, NodeTag, pg_sys::ObjectAddress),
    /// ALTER TABLE of the relation, with what was executed.
    AlterTable(pg_sys::Oid, Vec<Action>),
    /// GRANT or REVOKE on these relations.
    Grant(Vec<pg_sys::Oid>),
}

/// A part of ALTER TABLE.
#[derive(Clone)]
pub(super) struct Action {
    pub(super) kind: AlterTableType::Type,
    /// The trigger, column, ... it names.
    pub(super) name: String,
    /// Whether it gives rows values by an expression.
    pub(super) computes: bool,
}

/// Everything the running command did, at ddl_command_end.
pub(super) fn collected() -> Vec<Collected> {
    let commands = Spi::connect(|client| {
        let mut rows = client.select(
            "SELECT c.command FROM pg_catalog.pg_event_trigger_ddl_commands() AS c",
            None,
            &[],
        )?;
        let mut commands = Vec::new();
        while rows.next().is_some() {
            commands.extend(rows.get_datum_by_ordinal(1)?);
        }
        Ok::<_, pgrx::spi::SpiError>(commands)
    })
    .unwrap_or_else(|error| pgrx::error!("the command cannot be judged: {error}"));
    let read = |command: pg_sys::Datum| {
        // SAFETY: a pg_ddl_command is a pointer to what was collected, which lives as long as the
        // command.
        unsafe { read(&*command.cast_mut_ptr::<pg_sys::CollectedCommand>()) }
    };
    commands.into_iter().filter_map(read).collect()
}

unsafe fn read(command: &pg_sys::CollectedCommand) -> Option<Collected> {
    // SAFETY: the kind of command says which member of the union is set.
    unsafe {
        match command.type_ {
            pg_sys::CollectedCommandType::SCT_Simple => {
                let statement = command.parsetree;
                let tag = if statement.is_null() {
                    NodeTag::T_Invalid
                } else {
                    (*statement).type_
                };
                let simple = &command.d.simple;
                Some(Collected::Simple(
                    simple.address,
                    tag,
                    simple.secondaryObject,
                ))
            }
            pg_sys::CollectedCommandType::SCT_AlterTable => {
                let altered = &command.d.alterTable;
                let parts = pointers::<pg_sys::CollectedATSubcmd>(altered.subcmds);
                Some(Collected::AlterTable(
                    altered.objectId,
                    parts.filter_map(|part| action(part)).collect(),
                ))
            }
            pg_sys::CollectedCommandType::SCT_Grant => Some(Collected::Grant(
                super::recorded::granted_relations(command.d.grant.istmt),
            )),
            _ => None,
        }
    }
}

unsafe fn action(part: &pg_sys::CollectedATSubcmd) -> Option<Action> {
    // SAFETY: what is collected of ALTER TABLE are AlterTableCmd nodes; a new column is named by its
    // definition.
    unsafe {
        if (*part.parsetree).type_ != NodeTag::T_AlterTableCmd {
            return None;
        }
        let parsed = &*part.parsetree.cast::<pg_sys::AlterTableCmd>();
        let kind = versions::action(parsed.subtype);
        let nothing = part.address.objectId == pg_sys::Oid::INVALID;
        // IF NOT EXISTS of a column that was there.
        if kind == AlterTableType::AT_AddColumn && nothing {
            return None;
        }
        let name = if parsed.name.is_null() && !parsed.def.is_null() {
            defined(parsed.def)
        } else {
            text(parsed.name)
        };
        // USING gives the rows new values without an event of theirs.
        let computes = kind == AlterTableType::AT_AlterColumnType
            && !parsed.def.is_null()
            && !(*parsed.def.cast::<pg_sys::ColumnDef>())
                .raw_default
                .is_null();
        Some(Action {
            kind: parsed.subtype,
            name,
            computes,
        })
    }
}

/// What the definition in a part of ALTER TABLE names: a new column, or another table as the command
/// wrote it. Empty where it names nothing.
unsafe fn defined(definition: *const pg_sys::Node) -> String {
    // SAFETY: each node is read as what its tag says.
    unsafe {
        let relation = match (*definition).type_ {
            NodeTag::T_ColumnDef => return text((*definition.cast::<pg_sys::ColumnDef>()).colname),
            NodeTag::T_Constraint => {
                return text((*definition.cast::<pg_sys::Constraint>()).conname);
            }
            NodeTag::T_PartitionCmd => (*definition.cast::<pg_sys::PartitionCmd>()).name,
            NodeTag::T_RangeVar => definition.cast::<pg_sys::RangeVar>().cast_mut(),
            _ => return String::new(),
        };
        let (schema, name) = (text((*relation).schemaname), text((*relation).relname));
        if schema.is_empty() {
            name
        } else {
            format!("{schema}.{name}")
        }
    }
}

/// The elements of a list of pointers; none of NIL.
///
/// # Safety
/// The list must hold pointers to live `T`s.
pub(super) unsafe fn pointers<'a, T: 'a>(list: *mut pg_sys::List) -> impl Iterator<Item = &'a T> {
    // SAFETY: the caller vouches for list and elements.
    unsafe {
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length as usize).map(move |n| {
            let cell = (*list).elements.add(n);
            &*(*cell).ptr_value.cast::<T>()
        })
    }
}

/// A string of a parse tree; empty where there is none.
///
/// # Safety
/// `string` must be null or terminated.
pub(super) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, so terminated.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_string_lossy().into_owned()
}

/// The parts of a qualified name, a list of strings.
///
/// # Safety
/// The list must hold String nodes.
pub(super) unsafe fn name_parts(list: *mut pg_sys::List) -> Vec<String> {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        pointers::<versions::StringNode>(list)
            .map(|part| text(versions::string_of(part)))
            .collect()
    }
}

/// The objects of this catalog that the running command made or changed.
pub(super) fn objects(catalog: pg_sys::Oid) -> Vec<(pg_sys::Oid, NodeTag)> {
    let object = |collected| match collected {
        Collected::Simple(address, tag, _) if address.classId == catalog => {
            Some((address.objectId, tag))
        }
        _ => None,
    };
    collected().into_iter().filter_map(object).collect()
}

/// The relation that a name means now; invalid where there is none.
///
/// # Safety
/// It must be a RangeVar of the running command.
pub(super) unsafe fn relation_named(name: *const pg_sys::RangeVar) -> pg_sys::Oid {
    // SAFETY: the caller vouches for the node; the look-up takes no lock and misses quietly.
    unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    }
}
