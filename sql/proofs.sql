-- Proofs over the ledger: paths, receipts, signed checkpoints, export.

CREATE FUNCTION tenant_guard.inclusion_proof(
    event_id text,
    OUT block bigint, OUT event_index bigint, OUT events bigint, OUT events_path bytea[],
    OUT epoch bigint, OUT leaf_index bigint, OUT tree_size bigint, OUT tree_path bytea[])
    RETURNS SETOF record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'inclusion_proof_wrapper';
COMMENT ON FUNCTION tenant_guard.inclusion_proof(text) IS
    'the RFC 6962 paths from an event to the root of its epoch''s tree';

-- Not STRICT: account and epoch may be null.
CREATE FUNCTION tenant_guard.consistency_proof(
    old_size bigint, new_size bigint, account text DEFAULT NULL, epoch bigint DEFAULT NULL)
    RETURNS bytea[] LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'consistency_proof_wrapper';
COMMENT ON FUNCTION tenant_guard.consistency_proof(bigint, bigint, text, bigint) IS
    'the RFC 6962 proof that a tree began with what it was at a smaller size';

CREATE FUNCTION tenant_guard.receipt(event_id text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'receipt_wrapper';
COMMENT ON FUNCTION tenant_guard.receipt(text) IS
    'a proof that the event is in the ledger, a C2SP tlog-proof that needs no database';

CREATE FUNCTION tenant_guard.signed_checkpoint() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'signed_checkpoint_wrapper';
COMMENT ON FUNCTION tenant_guard.signed_checkpoint() IS
    'the newest checkpoint as a C2SP signed note, with the cosignatures that were added';

CREATE FUNCTION tenant_guard.checkpoint_verifier_key() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'checkpoint_verifier_key_wrapper';
COMMENT ON FUNCTION tenant_guard.checkpoint_verifier_key() IS
    'the public key of tenant_guard.checkpoint_key_file; null where none is set';

CREATE FUNCTION tenant_guard.add_cosignature(note text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'add_cosignature_wrapper';
COMMENT ON FUNCTION tenant_guard.add_cosignature(text) IS
    'keeps signatures that were made elsewhere on one of this ledger''s checkpoints';

-- Not STRICT: without an account the whole ledger is exported.
CREATE FUNCTION tenant_guard.export_ledger(
    account text DEFAULT NULL, OUT path text, OUT content bytea)
    RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_guard_export_ledger';
COMMENT ON FUNCTION tenant_guard.export_ledger(text) IS
    'the ledger as the files of a bundle, which tenant-guard-verify checks without a database';

REVOKE ALL ON FUNCTION tenant_guard.inclusion_proof(text),
    tenant_guard.consistency_proof(bigint, bigint, text, bigint), tenant_guard.receipt(text),
    tenant_guard.signed_checkpoint(), tenant_guard.checkpoint_verifier_key(),
    tenant_guard.add_cosignature(text), tenant_guard.export_ledger(text) FROM PUBLIC;
-- Auditors read and prove.
GRANT EXECUTE ON FUNCTION tenant_guard.inclusion_proof(text),
    tenant_guard.consistency_proof(bigint, bigint, text, bigint),
    tenant_guard.signed_checkpoint(), tenant_guard.checkpoint_verifier_key(),
    tenant_guard.export_ledger(text) TO tenant_guard_admin, tenant_guard_auditor;
-- It writes.
GRANT EXECUTE ON FUNCTION tenant_guard.add_cosignature(text) TO tenant_guard_admin;
-- Whoever has an identity may keep proof of what was recorded in its name; the function sees to that.
GRANT EXECUTE ON FUNCTION tenant_guard.receipt(text) TO PUBLIC;
