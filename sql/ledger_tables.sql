-- The ledger's tables. Our code runs this on first use, never the extension's script: a table made
-- there and disowned would collide with a dump's own CREATE TABLE. So they are dumped as data,
-- outlive DROP EXTENSION, and the next CREATE EXTENSION finds them.
--
-- Fixed-width columns come first, which saves the padding between them in every row.
--
-- The log and its contexts have a partition for each month, which our code makes, and one for whatever
-- has none (src/audit/partitions.rs). Each has a primary key of its own and the parents have none: theirs
-- would have to hold the time, 8 bytes an event.

CREATE TABLE tenant_guard.audit_log (
    incarnation bigint NOT NULL,
    xid bigint NOT NULL,
    command_id bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    ordinal integer NOT NULL,
    context smallint NOT NULL,
    kind text NOT NULL,
    action text NOT NULL,
    account_id text NOT NULL,
    relation text,
    leaf_relation text,
    row_key text,
    target text,
    redacted text[] CHECK (cardinality(redacted) > 0),
    hashed text[] CHECK (cardinality(hashed) > 0),
    data text,
    personal text,
    personal_salt bytea,
    personal_commitment bytea,
    data_hash bytea,
    leaf_hash bytea NOT NULL
) PARTITION BY RANGE (occurred_at);
-- ANALYZE would copy values into the statistics, where nothing erases them.
ALTER TABLE tenant_guard.audit_log ALTER personal SET STATISTICS 0, ALTER personal_salt SET STATISTICS 0;
COMMENT ON TABLE tenant_guard.audit_log IS 'audited events, append-only';

CREATE TABLE tenant_guard.audit_context (
    incarnation bigint NOT NULL,
    xid bigint NOT NULL,
    transaction_start timestamptz NOT NULL,
    number smallint NOT NULL,
    issuer text,
    token_id text,
    session text,
    subject text,
    role text[],
    session_role text NOT NULL,
    "current_role" text NOT NULL,
    client_address text,
    application_name text,
    hash bytea NOT NULL
) PARTITION BY RANGE (transaction_start);
COMMENT ON TABLE tenant_guard.audit_context IS
    'who acted in a transaction and from where, one row for each identity and role';

CREATE TABLE tenant_guard.ledger_account (
    size bigint NOT NULL,
    account_id text PRIMARY KEY,
    blinding bytea NOT NULL,
    state bytea NOT NULL
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_account IS 'Merkle tree of each account: size and frontier';

-- Of accounts whose first events were removed: their trees as these left them, with the block of the last
-- of these events. Up to the last of these blocks all events are gone.
CREATE TABLE tenant_guard.ledger_pruned (
    block bigint NOT NULL,
    size bigint NOT NULL,
    account_id text PRIMARY KEY,
    state bytea NOT NULL
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_pruned IS
    'Merkle tree of each account over its events that were removed: size and frontier';
CREATE INDEX ON tenant_guard.ledger_pruned (block);

-- Rules of retention and what they let go, in microseconds, a row for each. A block states what they
-- come to, and that is what counts: to tamper with them here can only have something kept longer, or
-- leave a block that states less than the one before.
CREATE TABLE tenant_guard.ledger_retention (
    number bigint PRIMARY KEY,
    -- Data of events about this relation, the empty name for all without a rule of their own, or null:
    -- whole events. By the name that stands in the log: a rule outlives its table.
    relation text,
    keep bigint NOT NULL CHECK (keep >= 0),
    before bigint
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_retention IS 'rules of retention and what they let go';

CREATE TABLE tenant_guard.ledger_block (
    block bigint PRIMARY KEY,
    epoch bigint NOT NULL,
    incarnation bigint NOT NULL,
    events bigint NOT NULL,
    accounts bigint NOT NULL,
    tree_size bigint NOT NULL,
    previous_size bigint NOT NULL,
    sealed_at timestamptz NOT NULL,
    timeline integer NOT NULL,
    version smallint NOT NULL,
    snapshot text NOT NULL,
    adopted text NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    root bytea NOT NULL,
    previous_root bytea NOT NULL,
    state bytea NOT NULL,
    configuration_hash bytea NOT NULL,
    previous_checkpoint text,
    configuration text
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_block IS 'sealing rounds';
-- Verification from a checkpoint on asks when the latest block before it was sealed.
CREATE INDEX ON tenant_guard.ledger_block (sealed_at);

CREATE TABLE tenant_guard.ledger_leaf (
    epoch bigint NOT NULL,
    position bigint NOT NULL,
    block bigint NOT NULL,
    events bigint,
    account_size bigint,
    account_id text,
    blinded_id bytea,
    events_root bytea,
    account_root bytea,
    leaf_hash bytea NOT NULL,
    PRIMARY KEY (block, position)
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_leaf IS 'leaves of the global Merkle tree of each epoch';

-- Signatures on checkpoints, of this ledger's key and of witnesses: hashed into nothing, since each
-- is evidence by itself to whoever knows its key.
CREATE TABLE tenant_guard.ledger_checkpoint (
    epoch bigint NOT NULL,
    size bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (epoch, size)
) USING heap;
COMMENT ON TABLE tenant_guard.ledger_checkpoint IS 'signed checkpoints: C2SP signed notes';

-- Auditors read everything and write nothing; nobody else has any right here.
GRANT SELECT ON tenant_guard.audit_log, tenant_guard.audit_context, tenant_guard.ledger_account,
    tenant_guard.ledger_pruned, tenant_guard.ledger_block, tenant_guard.ledger_leaf,
    tenant_guard.ledger_checkpoint, tenant_guard.ledger_retention
    TO tenant_guard_auditor;
-- Whoever decides what is kept sees what was decided.
GRANT SELECT ON tenant_guard.ledger_retention TO tenant_guard_admin;
