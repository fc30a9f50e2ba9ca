//! A ledger held in memory: the rows a database would store, in the JSON form of the vectors.
//! Byte strings are hexadecimal, times microseconds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tenant_guard_core::bundle::{BundleError, BundleExport, BundleVerifier, Sink, Summary};
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::erasure::is_erasure;
use tenant_guard_core::event::{Context, Entry, EventKey, personal_commitment};
use tenant_guard_core::ledger::retention::Statement;
use tenant_guard_core::ledger::{
    AccountRound, Adopted, BlockPlan, Claim, Claims, Depth, EventLeaf, Finding, NO_BLOCK, Part,
    Participant, Rows, Scope, Server, Snapshot, StoredAccount, StoredBlock, StoredEvent,
    StoredLeaf, StoredPruned, Verifier, blinded_account, configuration_hash, seal,
};
use tenant_guard_core::merkle::{Frontier, Hash};
use tenant_guard_core::proof::inclusion_ranges;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) incarnation: i64,
    pub(crate) xid: i64,
    pub(crate) ordinal: i32,
    pub(crate) command_id: i64,
    pub(crate) kind: String,
    pub(crate) action: String,
    pub(crate) account_id: String,
    pub(crate) relation: Option<String>,
    pub(crate) leaf_relation: Option<String>,
    pub(crate) row_key: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) occurred_at: i64,
    pub(crate) context: Option<i16>,
    pub(crate) data: Option<String>,
    pub(crate) data_hash: Option<String>,
    pub(crate) personal: Option<String>,
    pub(crate) personal_salt: Option<String>,
    pub(crate) personal_commitment: Option<String>,
    pub(crate) redacted: Vec<String>,
    pub(crate) hashed: Vec<String>,
    pub(crate) leaf_hash: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContextRow {
    pub(crate) incarnation: i64,
    pub(crate) xid: i64,
    pub(crate) number: i16,
    pub(crate) issuer: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) role: Option<Vec<String>>,
    pub(crate) session_role: String,
    pub(crate) current_role: String,
    pub(crate) client_address: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) transaction_start: i64,
    pub(crate) hash: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) account_id: String,
    pub(crate) blinding: String,
    pub(crate) size: i64,
    pub(crate) state: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PrunedRow {
    pub(crate) block: i64,
    pub(crate) account_id: String,
    pub(crate) size: i64,
    pub(crate) state: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BlockRow {
    pub(crate) block: i64,
    pub(crate) version: i64,
    pub(crate) epoch: i64,
    pub(crate) incarnation: i64,
    pub(crate) timeline: i32,
    pub(crate) snapshot: String,
    pub(crate) adopted: String,
    pub(crate) events: i64,
    pub(crate) accounts: i64,
    pub(crate) sealed_at: i64,
    pub(crate) previous_hash: String,
    pub(crate) previous_size: i64,
    pub(crate) previous_root: String,
    pub(crate) previous_checkpoint: Option<String>,
    pub(crate) configuration_hash: String,
    pub(crate) configuration: Option<String>,
    pub(crate) hash: String,
    pub(crate) tree_size: i64,
    pub(crate) root: String,
    pub(crate) state: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeafRow {
    pub(crate) block: i64,
    pub(crate) position: i64,
    pub(crate) epoch: i64,
    pub(crate) account_id: Option<String>,
    pub(crate) blinded_id: Option<String>,
    pub(crate) events: Option<i64>,
    pub(crate) events_root: Option<String>,
    pub(crate) account_size: Option<i64>,
    pub(crate) account_root: Option<String>,
    pub(crate) leaf_hash: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) audit_log: Vec<Event>,
    pub(crate) audit_context: Vec<ContextRow>,
    pub(crate) ledger_account: Vec<AccountRow>,
    pub(crate) ledger_pruned: Vec<PrunedRow>,
    /// Rules in force, which the next block states.
    #[serde(skip)]
    pub(crate) rules: Statement,
    /// What was captured, in place of all that.
    #[serde(skip)]
    pub(crate) stating: Option<String>,
    pub(crate) ledger_block: Vec<BlockRow>,
    pub(crate) ledger_leaf: Vec<LeafRow>,
}

/// What is captured, in the first block and in those after it.
const CONFIGURATIONS: [&str; 2] = [r#"{"capture":[]}"#, r#"{"capture":["gr\u00fc\u00df"]}"#];

/// Bytes of a hexadecimal text, none if it is no such.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap_or_default()
}

pub(crate) fn hash(text: &str) -> Hash {
    bytes(text).try_into().unwrap_or([0xff; 32])
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Compares a file of vectors with what the code gives, or writes it anew.
pub(crate) fn check_file(file: &str, expected: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/ledger")
        .join(file);
    if std::env::var_os("TENANT_GUARD_BLESS").is_some() {
        std::fs::write(&path, expected).expect("vectors are writable");
    }
    let found = std::fs::read_to_string(&path).expect("vectors are there");
    assert!(found == expected, "{file} is not what the code gives");
}

/// The same of a bundle, as COPY writes it.
pub(crate) fn check_bundle(file: &str, files: &[(String, Vec<u8>)]) {
    let lines = files
        .iter()
        .map(|(path, content)| format!("{path}\t\\\\x{}\n", hex::encode(content)));
    check_file(file, &lines.collect::<String>());
}

/// The files of a bundle, in the order in which they are written.
#[derive(Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl Sink for &mut Files {
    fn file(&mut self, path: &str, content: &[u8]) {
        self.0.push((path.to_owned(), content.to_vec()));
    }
    fn note(&mut self, checkpoint: &Checkpoint) -> String {
        checkpoint.to_string()
    }
}

/// Verifies a bundle from its files.
pub(crate) fn verify_bundle(
    files: &[(String, Vec<u8>)],
    against: Option<Checkpoint>,
) -> Result<(Vec<Finding>, Summary), BundleError> {
    let mut verifier = BundleVerifier::new(against);
    let mut findings = Vec::new();
    for (path, content) in files {
        verifier.file(path, content)?;
        findings.extend(verifier.take_findings());
    }
    let (last, summary) = verifier.finish()?;
    findings.extend(last);
    Ok((findings, summary))
}

impl Event {
    pub(crate) fn key(&self) -> EventKey {
        EventKey {
            incarnation: self.incarnation,
            xid: self.xid,
            ordinal: self.ordinal,
        }
    }

    /// Calls `then` with the event as core takes it.
    pub(crate) fn with_stored<R>(&self, then: impl FnOnce(&StoredEvent<'_>) -> R) -> R {
        let (redacted, hashed) = (borrowed(&self.redacted), borrowed(&self.hashed));
        let commitment = self.personal_commitment.as_deref().map(bytes);
        let salt = self.personal_salt.as_deref().map(bytes);
        let data_hash = self.data_hash.as_deref().map(bytes);
        let leaf_hash = bytes(&self.leaf_hash);
        then(&StoredEvent {
            entry: Entry {
                key: self.key(),
                command_id: self.command_id,
                kind: &self.kind,
                action: &self.action,
                account: &self.account_id,
                relation: self.relation.as_deref(),
                leaf_relation: self.leaf_relation.as_deref(),
                row_key: self.row_key.as_deref(),
                target: self.target.as_deref(),
                occurred_at: self.occurred_at,
                context: None,
                data: self.data.as_deref(),
                personal: commitment.as_deref(),
                redacted: &redacted,
                hashed: &hashed,
            },
            context: self.context,
            leaf_hash: &leaf_hash,
            data_hash: data_hash.as_deref(),
            personal: self.personal.as_deref(),
            personal_salt: salt.as_deref(),
        })
    }

    /// The leaf hash of the event with a context of this hash.
    pub(crate) fn computed_leaf(&self, context: Option<Hash>) -> Hash {
        self.with_stored(|event| {
            Entry {
                context,
                ..event.entry
            }
            .leaf_hash(&mut Vec::new())
        })
    }
}

impl ContextRow {
    /// Calls `then` with the context as core takes it.
    pub(crate) fn with_context<R>(&self, then: impl FnOnce(&Context<'_>) -> R) -> R {
        let roles = self.role.as_deref().map(borrowed);
        then(&Context {
            incarnation: self.incarnation,
            xid: self.xid,
            number: self.number,
            issuer: self.issuer.as_deref(),
            token_id: self.token_id.as_deref(),
            session: self.session.as_deref(),
            subject: self.subject.as_deref(),
            roles: roles.as_deref(),
            session_role: &self.session_role,
            current_role: &self.current_role,
            client_address: self.client_address.as_deref(),
            application_name: self.application_name.as_deref(),
            transaction_start: self.transaction_start,
        })
    }

    /// The row with the hash of its columns.
    pub(crate) fn hashed(self) -> Self {
        let hash = hex::encode(self.with_context(|context| context.hash()));
        Self { hash, ..self }
    }
}

impl Ledger {
    /// Captures an event: commits to its personal values and hashes it.
    pub(crate) fn capture(&mut self, mut event: Event) {
        if let (Some(personal), Some(salt)) = (&event.personal, &event.personal_salt) {
            event.personal_commitment =
                Some(hex::encode(personal_commitment(&hash(salt), personal)));
        }
        let context = event.context.map(|number| {
            let of_event = |row: &&ContextRow| {
                (row.incarnation, row.xid, row.number) == (event.incarnation, event.xid, number)
            };
            hash(
                &self
                    .audit_context
                    .iter()
                    .find(of_event)
                    .expect("context first")
                    .hash,
            )
        });
        event.leaf_hash = hex::encode(event.computed_leaf(context));
        self.audit_log.push(event);
    }

    /// Seals the events a snapshot sees, as the database does.
    pub(crate) fn seal(
        &mut self,
        (incarnation, timeline): (i64, i32),
        snapshot: &str,
        adopted: &str,
        sealed_at: i64,
    ) {
        let configuration = CONFIGURATIONS[usize::from(!self.ledger_block.is_empty())];
        let configuration = self.rules.added_to(configuration);
        let configuration = self.stating.clone().unwrap_or(configuration);
        let configuration_hash = configuration_hash(&configuration);
        let last = self.ledger_block.last().cloned();
        let same = |last: &&BlockRow| (last.incarnation, last.timeline) == (incarnation, timeline);
        let continued = last.as_ref().filter(same);
        let mut tree = match continued {
            Some(last) => Frontier::from_state(last.tree_size as u64, &bytes(&last.state)).unwrap(),
            None => Frontier::new(),
        };
        let previous_checkpoint = match (&last, continued) {
            (Some(last), None) => Some(self.checkpoint(last)),
            _ => None,
        };
        let plan = BlockPlan {
            block: last.as_ref().map_or(1, |last| last.block + 1),
            epoch: last.as_ref().map_or(0, |last| last.epoch) + i64::from(continued.is_none()),
            incarnation,
            timeline,
            snapshot,
            adopted,
            sealed_at,
            previous_hash: last.as_ref().map_or(NO_BLOCK, |last| hash(&last.hash)),
            previous_checkpoint: previous_checkpoint.as_deref(),
            configuration: configuration_hash,
        };
        let mut claims = self.claims();
        let claimed = claims.add_block(
            incarnation,
            snapshot.parse().unwrap(),
            &adopted.parse().unwrap(),
        );
        let mut rounds: Vec<(String, AccountRound)> = Vec::new();
        for event in claimed.iter().flat_map(|claim| self.claimed(claim)) {
            let at = rounds
                .iter()
                .position(|(name, _)| *name == event.account_id);
            let at = at.unwrap_or_else(|| {
                rounds.push((
                    event.account_id.clone(),
                    self.begin_round(&event.account_id),
                ));
                rounds.len() - 1
            });
            rounds[at].1.append(hash(&event.leaf_hash));
        }
        rounds
            .iter()
            .for_each(|(name, round)| self.store_account(name, round.tree()));
        let blinding = |name: &str| {
            let of_name = |row: &&AccountRow| row.account_id == name;
            hash(&self.ledger_account.iter().find(of_name).unwrap().blinding)
        };
        let participants = rounds.iter().map(|(name, round)| Participant {
            account: name,
            blinded_id: blinded_account(&blinding(name), name),
            round,
        });
        let sealed = seal(&plan, participants.collect(), &mut tree);
        for leaf in &sealed.leaves {
            let record = leaf.account.map(|(_, record)| record);
            self.ledger_leaf.push(LeafRow {
                block: plan.block,
                position: leaf.position,
                epoch: plan.epoch,
                account_id: leaf.account.map(|(name, _)| name.to_owned()),
                blinded_id: record.map(|record| hex::encode(record.blinded_id)),
                events: record.map(|record| record.events),
                events_root: record.map(|record| hex::encode(record.events_root)),
                account_size: record.map(|record| record.size),
                account_root: record.map(|record| hex::encode(record.root)),
                leaf_hash: hex::encode(leaf.hash),
            });
        }
        self.ledger_block.push(BlockRow {
            block: plan.block,
            version: sealed.record.version,
            epoch: plan.epoch,
            incarnation,
            timeline,
            snapshot: snapshot.to_owned(),
            adopted: adopted.to_owned(),
            events: sealed.record.events,
            accounts: sealed.record.accounts,
            sealed_at,
            previous_hash: hex::encode(sealed.record.previous_hash),
            previous_size: sealed.record.previous_size,
            previous_root: hex::encode(sealed.record.previous_root),
            previous_checkpoint: previous_checkpoint.clone(),
            configuration_hash: hex::encode(configuration_hash),
            configuration: last
                .is_none_or(|last| hash(&last.configuration_hash) != configuration_hash)
                .then_some(configuration),
            hash: hex::encode(sealed.hash),
            tree_size: tree.size() as i64,
            root: hex::encode(tree.root()),
            state: hex::encode(tree.state()),
        });
    }

    pub(crate) fn checkpoint(&self, block: &BlockRow) -> String {
        Checkpoint {
            incarnation: block.incarnation,
            epoch: block.epoch,
            size: block.tree_size as u64,
            root: hash(&block.root),
        }
        .to_string()
    }

    /// Verifies as the database does, and what it verifies also as a bundle, which must say the
    /// same. `incarnation` is the server's.
    pub(crate) fn verify(
        &self,
        scope: Scope,
        against: Option<&str>,
        incarnation: i64,
    ) -> Vec<Finding> {
        let against = against.map(|text| text.parse().expect("checkpoint"));
        let mut verifier = Verifier::new(scope.clone(), against);
        self.give(&mut verifier, incarnation);
        verifier.finish();
        let findings = verifier.take_findings();
        self.assert_parts_find_the_same(&scope, against, incarnation, &findings);
        if scope == Scope::All {
            let files = self.bundle(incarnation, None);
            let (offline, _) = verify_bundle(&files, against).expect("a bundle");
            assert_eq!(offline, findings);
        }
        findings
    }

    /// All parts of a verification find together what the whole one does, each once or more.
    fn assert_parts_find_the_same(
        &self,
        scope: &Scope,
        against: Option<Checkpoint>,
        incarnation: i64,
        findings: &[Finding],
    ) {
        let set = |findings: &[Finding]| -> BTreeSet<String> {
            findings
                .iter()
                .map(|finding| format!("{finding:?}"))
                .collect()
        };
        for of in 2..4 {
            let mut found = Vec::new();
            for number in 1..=of {
                let part = Part::new(number, of).expect("a part");
                let mut verifier = Verifier::new(scope.clone(), against).part(part);
                self.give(&mut verifier, incarnation);
                verifier.finish();
                found.append(&mut verifier.take_findings());
            }
            assert_eq!(set(&found), set(findings), "{of} parts");
        }
    }

    /// What is found after the block with this number, whose checkpoint was kept.
    pub(crate) fn verify_after(&self, kept: &Self, block: i64, incarnation: i64) -> Vec<Finding> {
        let of_number = |ledger: &Self| {
            ledger
                .ledger_block
                .iter()
                .position(|row| row.block == block)
        };
        let at = of_number(kept).expect("a block");
        let checkpoint: Checkpoint = kept
            .checkpoint(&kept.ledger_block[at])
            .parse()
            .expect("own");
        let mut verifier = Verifier::new(Scope::All, None);
        let (mut claims, mut path) = (Claims::default(), Vec::new());
        let mut blocks: Vec<&BlockRow> = self.ledger_block.iter().collect();
        blocks.sort_by_key(|row| row.block);
        for row in blocks.iter().filter(|row| row.block <= block) {
            let (snapshot, adopted) = (row.snapshot.parse(), row.adopted.parse());
            if let (Ok(snapshot), Ok(adopted)) = (snapshot, adopted) {
                claims.add_block(row.incarnation, snapshot, &adopted);
            }
        }
        let mut leaves: Vec<&LeafRow> = kept.ledger_leaf.iter().collect();
        leaves.retain(|leaf| leaf.epoch == checkpoint.epoch);
        leaves.sort_by_key(|leaf| leaf.position);
        let ranges = inclusion_ranges(checkpoint.size - 1, checkpoint.size).expect("a leaf");
        for range in ranges {
            let mut tree = Frontier::new();
            let range = range.start as usize..range.end as usize;
            leaves[range]
                .iter()
                .for_each(|leaf| tree.append(hash(&leaf.leaf_hash)));
            path.push(tree.root());
        }
        match of_number(self) {
            Some(at) => with_block(&self.ledger_block[at], |row| {
                verifier.begin_after(row, claims, &checkpoint, &path);
                let texts = kept
                    .ledger_block
                    .iter()
                    .filter(|other| other.block <= block);
                let latest = texts.clone().map(|other| other.sealed_at).max();
                let text = texts.rev().find_map(|other| other.configuration.as_deref());
                verifier.captured_before(row, text, latest.expect("a block"));
            }),
            None => {
                let newest = blocks.last().map(|row| (row.epoch, row.tree_size));
                verifier.cannot_begin(&checkpoint, newest);
                return verifier.take_findings();
            }
        }
        let mut rest = self.clone();
        rest.ledger_block.retain(|row| row.block > block);
        rest.ledger_leaf.retain(|row| row.block > block);
        let touched: BTreeSet<_> = rest
            .ledger_leaf
            .iter()
            .map(|leaf| leaf.account_id.clone())
            .collect();
        rest.ledger_account
            .retain(|row| touched.contains(&Some(row.account_id.clone())));
        rest.ledger_pruned
            .retain(|row| touched.contains(&Some(row.account_id.clone())));
        rest.give(&mut verifier, incarnation);
        verifier.finish();
        verifier.take_findings()
    }

    /// The files of a bundle.
    pub(crate) fn bundle(&self, incarnation: i64, account: Option<&str>) -> Vec<(String, Vec<u8>)> {
        let mut files = Files::default();
        let mut export = BundleExport::new(server(incarnation), account, &mut files);
        self.give(&mut export, incarnation);
        export.finish().expect("short records");
        files.0
    }

    /// Hands over all rows in the order of verification.
    pub(crate) fn give(&self, rows: &mut impl Rows, incarnation: i64) {
        let mut accounts: Vec<&AccountRow> = self.ledger_account.iter().collect();
        accounts.sort_by_key(|row| &row.account_id);
        for row in accounts {
            rows.account(&StoredAccount {
                account: &row.account_id,
                blinding: &bytes(&row.blinding),
                size: row.size,
                state: &bytes(&row.state),
            });
        }
        let mut pruned: Vec<&PrunedRow> = self.ledger_pruned.iter().collect();
        pruned.sort_by_key(|row| &row.account_id);
        for row in pruned {
            rows.pruned(&StoredPruned {
                block: row.block,
                account: &row.account_id,
                size: row.size,
                state: &bytes(&row.state),
            });
        }
        let mut leaves: Vec<&LeafRow> = self.ledger_leaf.iter().collect();
        leaves.sort_by_key(|leaf| (leaf.block, leaf.position));
        let mut leaves = leaves.into_iter().peekable();
        let mut blocks: Vec<&BlockRow> = self.ledger_block.iter().collect();
        blocks.sort_by_key(|block| block.block);
        for row in blocks {
            let claims = begin_block(rows, row);
            let depth = rows.depth();
            for claim in &claims {
                self.feed(rows, claim.incarnation, depth, |xid| {
                    claim.xids.contains(xid)
                });
            }
            while let Some(leaf) = leaves.next_if(|leaf| leaf.block <= row.block) {
                feed_leaf(rows, leaf);
            }
            if depth == Depth::Leaves && rows.needs_events() {
                for claim in &claims {
                    let wanted = |xid| claim.xids.contains(xid);
                    self.feed(rows, claim.incarnation, Depth::Events, wanted);
                }
            }
            rows.end_block();
        }
        leaves.for_each(|leaf| feed_leaf(rows, leaf));
        rows.begin_unsealed(server(incarnation));
        for of in self.incarnations() {
            let sealed = rows.claims().of(of);
            let (depth, wanted) = (rows.depth(), |xid| !sealed.contains(xid));
            self.feed(rows, of, depth, wanted);
            if depth == Depth::Leaves && rows.needs_events() {
                self.feed(rows, of, Depth::Events, wanted);
            }
        }
    }

    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        for block in &self.ledger_block {
            let snapshot: Snapshot = block.snapshot.parse().unwrap();
            let adopted: Adopted = block.adopted.parse().unwrap();
            claims.add_block(block.incarnation, snapshot, &adopted);
        }
        claims
    }

    pub(crate) fn claimed(&self, claim: &Claim) -> Vec<&Event> {
        self.in_order(claim.incarnation, |xid| claim.xids.contains(xid))
    }

    fn in_order(&self, incarnation: i64, wanted: impl Fn(i64) -> bool) -> Vec<&Event> {
        let wanted = |event: &&Event| event.incarnation == incarnation && wanted(event.xid);
        let mut events: Vec<&Event> = self.audit_log.iter().filter(wanted).collect();
        events.sort_by_key(|event| (event.xid, event.ordinal));
        events
    }

    fn incarnations(&self) -> Vec<i64> {
        let of_events = self.audit_log.iter().map(|event| event.incarnation);
        let of_contexts = self.audit_context.iter().map(|context| context.incarnation);
        let mut all: Vec<i64> = of_events.chain(of_contexts).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Feeds events and contexts merged by transaction, contexts first.
    fn feed(
        &self,
        rows: &mut impl Rows,
        incarnation: i64,
        depth: Depth,
        wanted: impl Fn(i64) -> bool,
    ) {
        let events = self.in_order(incarnation, &wanted);
        match depth {
            Depth::Events => {}
            Depth::Nothing => return,
            Depth::Leaves => {
                for event in events {
                    let leaf_hash = bytes(&event.leaf_hash);
                    event.with_stored(|stored| {
                        rows.event_leaf(&EventLeaf {
                            key: event.key(),
                            account: &event.account_id,
                            relation: event.relation.as_deref(),
                            leaf_hash: &leaf_hash,
                            opening: stored.opening(),
                            is_erasure: is_erasure(&event.kind, &event.action),
                            is_pruned: stored.is_pruned(),
                        });
                    });
                }
                return;
            }
        }
        let mut contexts: Vec<&ContextRow> = self.audit_context.iter().collect();
        contexts.retain(|row| row.incarnation == incarnation && wanted(row.xid));
        contexts.sort_by_key(|row| (row.xid, row.number));
        let mut contexts = contexts.into_iter().peekable();
        for event in events {
            while let Some(row) = contexts.next_if(|row| row.xid <= event.xid) {
                row.with_context(|context| rows.context(context, &bytes(&row.hash)));
            }
            event.with_stored(|event| rows.event(event));
        }
        contexts
            .for_each(|row| row.with_context(|context| rows.context(context, &bytes(&row.hash))));
    }

    fn begin_round(&self, account: &str) -> AccountRound {
        let row = self
            .ledger_account
            .iter()
            .find(|row| row.account_id == account);
        AccountRound::new(match row {
            Some(row) => Frontier::from_state(row.size as u64, &bytes(&row.state)).unwrap(),
            None => Frontier::new(),
        })
    }

    fn store_account(&mut self, account: &str, tree: &Frontier) {
        let (size, state) = (tree.size() as i64, hex::encode(tree.state()));
        match self
            .ledger_account
            .iter_mut()
            .find(|row| row.account_id == account)
        {
            Some(row) => (row.size, row.state) = (size, state),
            None => {
                let blinding =
                    hex::encode([0xb0_u8.wrapping_add(self.ledger_account.len() as u8); 32]);
                let account_id = account.to_owned();
                self.ledger_account.push(AccountRow {
                    account_id,
                    blinding,
                    size,
                    state,
                });
            }
        }
    }
}

/// The server at a time when its transactions below 1000 have begun.
fn server(incarnation: i64) -> Server {
    Server {
        incarnation,
        next_xid: 1000,
    }
}

fn begin_block(rows: &mut impl Rows, row: &BlockRow) -> Vec<Claim> {
    with_block(row, |row| rows.begin_block(row))
}

fn with_block<R>(row: &BlockRow, then: impl FnOnce(&StoredBlock<'_>) -> R) -> R {
    then(&StoredBlock {
        version: row.version,
        block: row.block,
        epoch: row.epoch,
        incarnation: row.incarnation,
        timeline: row.timeline,
        snapshot: &row.snapshot,
        adopted: &row.adopted,
        events: row.events,
        accounts: row.accounts,
        sealed_at: row.sealed_at,
        previous_hash: &bytes(&row.previous_hash),
        previous_size: row.previous_size,
        previous_root: &bytes(&row.previous_root),
        previous_checkpoint: row.previous_checkpoint.as_deref(),
        configuration_hash: &bytes(&row.configuration_hash),
        configuration: row.configuration.as_deref(),
        hash: &bytes(&row.hash),
        tree_size: row.tree_size,
        root: &bytes(&row.root),
        state: &bytes(&row.state),
    })
}

fn feed_leaf(rows: &mut impl Rows, row: &LeafRow) {
    let decoded = |text: &Option<String>| text.as_deref().map(bytes);
    rows.leaf(&StoredLeaf {
        epoch: row.epoch,
        position: row.position,
        block: row.block,
        account: row.account_id.as_deref(),
        blinded_id: decoded(&row.blinded_id).as_deref(),
        events: row.events,
        events_root: decoded(&row.events_root).as_deref(),
        size: row.account_size,
        root: decoded(&row.account_root).as_deref(),
        leaf_hash: &bytes(&row.leaf_hash),
    });
}

/// A small ledger with all that may be in one: two accounts and the system account, three blocks,
/// a transaction that commits late, one whose events were captured out of order, personal values,
/// and a second epoch in another database that takes over an event left behind.
pub(crate) fn sample() -> Ledger {
    let first = tenant_guard_core::event::incarnation(7_300_000_000_000_000_001, 16_384);
    let second = tenant_guard_core::event::incarnation(7_400_000_000_000_000_002, 16_401);
    let mut ledger = Ledger::default();
    let mut write = |incarnation: i64, xid: i64, account: &str, commands: &[i64]| {
        let start = 1_760_000_000_000_000 + xid * 1_000_000;
        let row = ContextRow {
            incarnation,
            xid,
            number: 0,
            issuer: Some("https://login.example".to_owned()),
            token_id: Some(format!("token-{xid}")),
            session: None,
            subject: Some("user-1".to_owned()),
            role: Some(vec!["agent".to_owned(), "admin".to_owned()]),
            session_role: "app".to_owned(),
            current_role: "app".to_owned(),
            client_address: Some("192.0.2.7".to_owned()),
            application_name: Some("shop".to_owned()),
            transaction_start: start,
            hash: String::new(),
        };
        ledger.audit_context.push(row.hashed());
        for (ordinal, command_id) in (1..).zip(commands) {
            ledger.capture(Event {
                incarnation,
                xid,
                ordinal,
                command_id: *command_id,
                kind: "row".to_owned(),
                action: "INSERT".to_owned(),
                account_id: account.to_owned(),
                relation: Some("shop.message".to_owned()),
                leaf_relation: Some("shop.message_2026_01".to_owned()),
                row_key: Some(format!(r#"{{"id":{}}}"#, xid * 10 + i64::from(ordinal))),
                occurred_at: start + 1_500 + i64::from(ordinal),
                context: Some(0),
                data: Some(format!(
                    r#"{{"body":"gr\u00fc\u00df {xid}","amount":1.10}}"#
                )),
                personal: Some(format!(r#"{{"email":"p{xid}@example.org"}}"#)),
                personal_salt: Some(hex::encode([xid as u8; 32])),
                redacted: vec!["secret".to_owned()],
                hashed: vec!["email".to_owned()],
                ..Event::default()
            });
        }
    };
    let (one, two) = ("2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788", "007");
    write(first, 100, one, &[1, 2, 3]);
    write(first, 101, two, &[1]);
    write(first, 102, two, &[1, 1]); // in progress when block 1 is sealed
    write(first, 103, one, &[5, 4]); // captured in another order than changed
    let application = Event {
        incarnation: first,
        xid: 104,
        ordinal: 1,
        kind: "system".to_owned(),
        action: "protect".to_owned(),
        target: Some("shop.message".to_owned()),
        occurred_at: 1_760_000_104_000_000,
        ..Event::default()
    };
    write(first, 106, one, &[1]);
    write(first, 107, two, &[1]);
    write(first, 112, two, &[1]); // never sealed where it was written
    write(second, 50, one, &[1, 2]);
    write(second, 51, two, &[1]);
    write(second, 60, two, &[1]); // not sealed yet
    ledger.capture(application);
    ledger.seal((first, 1), "102:105:102", "", 1_760_000_200_000_000);
    ledger.seal((first, 1), "110:110:", "", 1_760_000_201_000_000);
    let adopted = format!(
        "{first:016x}:{}",
        ledger.claims().adoption_bound(first, 112)
    );
    ledger.seal((second, 1), "55:55:", &adopted, 1_760_000_300_000_000);
    ledger
}
