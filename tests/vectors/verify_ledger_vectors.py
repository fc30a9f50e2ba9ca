#!/usr/bin/env python3
"""A second verifier of ledgers, written from docs/ledger-format.md alone and without a library.

It recomputes every vector beside it, verifies the ledger among them, and then edits each column
of each row and removes each row, and demands that no edit goes unnoticed. It says that a ledger
is damaged, not where: naming the damage is the extension's part.
"""

import base64
import copy
import hashlib
import json
import pathlib
import re

VECTORS = pathlib.Path(__file__).parent / "ledger"
MOST_NAMED = 10_000
UNSEALED = "unsealed"


class Damaged(Exception):
    """The ledger is not what was sealed."""


def require(condition, what):
    if not condition:
        raise Damaged(what)


# Notation


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def cbor(value):
    if value is None:
        return b"\xf6"
    require(not isinstance(value, bool), "a boolean")
    if isinstance(value, int):
        require(-1 << 63 <= value < 1 << 63, "an integer of more than 64 bits")
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        encoded = value.encode()
        return head(3, len(encoded)) + encoded
    return head(4, len(value)) + b"".join(map(cbor, value))


def head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    for more, size in enumerate((1, 2, 4, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | 24 + more]) + argument.to_bytes(size, "big")
    raise Damaged("an integer of more than 64 bits")


def leaf_hash(record):
    return sha256(b"\0", record)


def root(leaves):
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1", root(leaves[:k]), root(leaves[k:]))


def state(leaves):
    hashes, start = b"", 0
    for bit in reversed(range(len(leaves).bit_length())):
        if len(leaves) >> bit & 1:
            hashes += root(leaves[start : start + (1 << bit)])
            start += 1 << bit
    return hashes


def unhex(text):
    """Strictly: lower case, and nothing between the digits."""
    if text is None:
        return None
    require(isinstance(text, str) and re.fullmatch(r"([0-9a-f]{2})*", text), "hexadecimal")
    return bytes.fromhex(text)


def hex16(incarnation):
    return incarnation.to_bytes(8, "big", signed=True).hex()


# Events


def event_id(event):
    return f"{hex16(event['incarnation'])}-{event['xid']}-{event['ordinal']}"


def context_record(row):
    columns = ("incarnation", "xid", "number", "issuer", "token_id", "session", "subject", "role",
               "session_role", "current_role", "client_address", "application_name", "transaction_start")
    return cbor(["context", 1, *(row[column] for column in columns)])


LONGEST = 100 * 365 * 86400 * 10**6


class Tree:
    """A tree that grows, by the roots of its complete subtrees."""

    def __init__(self, size=0, roots=b""):
        require(type(size) is int and size >= 0, "a size that is none")
        self.size = size
        self.roots = [roots[at:at + 32] for at in range(0, len(roots), 32)]
        require(len(self.roots) == size.bit_count() and len(roots) % 32 == 0, "a state that is none")

    def append(self, leaf):
        height = 0
        while self.size >> height & 1:
            leaf = sha256(b"\1", self.roots.pop(), leaf)
            height += 1
        self.roots.append(leaf)
        self.size += 1

    def root(self):
        if not self.roots:
            return sha256(b"")
        digest = self.roots[-1]
        for left in self.roots[-2::-1]:
            digest = sha256(b"\1", left, digest)
        return digest

    def state(self):
        return b"".join(self.roots)


def entry(event, context_hash, data_hash=None):
    columns = ("incarnation", "xid", "ordinal", "command_id", "kind", "action", "account_id",
               "relation", "leaf_relation", "row_key", "target", "occurred_at")
    data = event["data"]
    require(data is None or event["data_hash"] is None, "data and its hash")
    left = unhex(event["data_hash"])
    require(left is None or len(left) == 32, "a hash of another length")
    data_hash = left if data_hash is None else data_hash
    return cbor([
        "entry", 1, *(event[column] for column in columns),
        context_hash,
        data_hash if data is None else sha256(data.encode()),
        unhex(event["personal_commitment"]),
        event["redacted"],
        event["hashed"],
    ])


def commitment(salt, personal):
    require(len(salt) == 32, "a salt of another length")
    return sha256(b"\3", salt, personal.encode())


# Blocks


def parse_snapshot(text):
    match = re.fullmatch(r"(0|[1-9]\d*):(0|[1-9]\d*):((?:[1-9]\d*|0)(?:,(?:[1-9]\d*|0))*)?", text)
    require(match, "a snapshot in another form")
    xmin, xmax = int(match[1]), int(match[2])
    xip = [int(xid) for xid in match[3].split(",")] if match[3] else []
    require(xmin <= xmax < 1 << 63 and xip == sorted(set(xip)), "a snapshot that is none")
    require(all(xmin <= xid < xmax for xid in xip), "a snapshot that is none")
    return lambda xid: xid < xmax and xid not in xip


def parse_adopted(text):
    adopted = []
    for item in text.split(",") if text else []:
        match = re.fullmatch(r"([0-9a-f]{16}):(0|[1-9]\d*)", item)
        require(match, "adopted incarnations in another form")
        incarnation = int.from_bytes(bytes.fromhex(match[1]), "big", signed=True)
        adopted.append((incarnation, lambda xid, bound=int(match[2]): xid < bound))
    names = [incarnation for incarnation, _ in adopted]
    require(names == sorted(set(names)), "adopted incarnations out of order")
    return adopted


def check_claims(blocks):
    """No block claims less than the one before it, of its own incarnation or of an adopted one."""
    reach, last = {}, None
    for block in blocks:
        own = block["incarnation"]
        adopted = parse_adopted(block["adopted"])
        parse_snapshot(block["snapshot"])
        _, xmax, xip = block["snapshot"].split(":")
        bounds = [int(item.split(":")[1]) for item in block["adopted"].split(",") if item]
        for (incarnation, _), bound in zip(adopted, bounds, strict=True):
            require(incarnation != own, "a block that adopts its own incarnation")
            require(bound >= reach.get(incarnation, 0), "an adoption that goes back")
            reach[incarnation] = bound
        if last and last["incarnation"] == own:
            seen = parse_snapshot(last["snapshot"])
            require(int(xmax) >= reach[own], "a snapshot that goes back")
            require(not any(seen(int(xid)) for xid in xip.split(",") if xid), "a snapshot that goes back")
        reach[own] = int(xmax)
        last = block


def epoch_record(block):
    return cbor(["epoch", 1, block["epoch"], block["incarnation"], block["timeline"],
                 block["previous_checkpoint"]])


def account_record(leaf):
    return cbor(["account", 1, leaf["block"], unhex(leaf["blinded_id"]), leaf["events"],
                 unhex(leaf["events_root"]), leaf["account_size"], unhex(leaf["account_root"])])


def block_record(block):
    columns = ("version", "block", "epoch", "incarnation", "timeline", "snapshot", "adopted",
               "events", "accounts", "sealed_at")
    return cbor(["block", *(block[column] for column in columns), unhex(block["previous_hash"]),
                 block["previous_size"], unhex(block["previous_root"]),
                 unhex(block["configuration_hash"])])


def blinded_id(blinding, account):
    require(len(blinding) == 32, "a blinding of another length")
    return sha256(b"\2", blinding, account.encode())


def checkpoint(block):
    encoded = base64.b64encode(unhex(block["root"])).decode()
    origin = f"tenant_guard/{hex16(block['incarnation'])}/{block['epoch']}"
    return f"{origin}\n{block['tree_size']}\n{encoded}\n"


def unbase64(text):
    """Strictly: no other text gives the same bytes."""
    content = base64.b64decode(text, validate=True)
    require(base64.b64encode(content).decode() == text, "base64")
    return content


def parse_checkpoint(text):
    """Body, size and root of a checkpoint, signed or not. No signature is verified."""
    number = "([1-9][0-9]{0,18})"
    match = re.match(rf"tenant_guard/[0-9a-f]{{16}}/{number}\n{number}\n([^\n]*)\n", text)
    require(match and max(int(match[1]), int(match[2])) < 1 << 63, "no checkpoint")
    root_hash, rest = unbase64(match[3]), text[match.end():]
    require(len(root_hash) == 32, "no checkpoint")
    if rest:
        require(rest[0] == "\n" and rest[-1] == "\n" and rest != "\n", "no signed note")
        lines = rest[1:-1].split("\n")
        require(len(lines) <= 100, "too many signatures")
        for line in lines:
            signature = re.fullmatch(r"\u2014 ([^\s+\x00-\x1f\x7f-\x9f]+) (\S+)", line)
            require(signature and len(unbase64(signature[2])) > 4, "no signature")
    return text[:match.end()], int(match[2]), root_hash


# Verification, in the order of the page


def check_events(ledger):
    contexts, named = {}, set()
    for row in ledger["audit_context"]:
        require((row["incarnation"], row["xid"], row["number"]) not in contexts, "a context twice")
        contexts[row["incarnation"], row["xid"], row["number"]] = sha256(context_record(row))
        require(sha256(context_record(row)) == unhex(row["hash"]), "context")
    for event in ledger["audit_log"]:
        context = None
        if event["context"] is not None:
            key = event["incarnation"], event["xid"], event["context"]
            require(key in contexts, "a context is missing")
            named.add(key)
            context = contexts[key]
        require(leaf_hash(entry(event, context)) == unhex(event["leaf_hash"]), "event")
        check_opening(event)
    require(named == contexts.keys(), "a context without an event")


def no_number(text):
    raise Damaged(f"{text} is no integer")


def parse_json(text):
    """Strictly: no member twice, and no number but integers."""
    def members(pairs):
        require(len(dict(pairs)) == len(pairs), "a member twice")
        require(not any(isinstance(value, bool) for _, value in pairs), "a boolean")
        return dict(pairs)

    def integer(text):
        require(str(int(text)) == text, "a number in another form")
        return int(text)

    return json.loads(text, object_pairs_hook=members, parse_int=integer, parse_float=no_number,
                      parse_constant=no_number)


def check_opening(event):
    """Personal values open their commitment. Both they and their salt may be gone."""
    personal, salt, committed = (event[f"personal{part}"] for part in ("", "_salt", "_commitment"))
    require((personal is None) == (salt is None), "half of an opening")
    require(personal is None or committed is not None, "personal values without a commitment")
    if personal is not None:
        require(commitment(unhex(salt), personal) == unhex(committed), "personal values")


def elements(value):
    require(isinstance(value, list), "no array")
    return value


def is_integer(value, below):
    return type(value) is int and 0 <= value < below


def erased_by(event):
    """Ids of the events that this one says were erased."""
    if (event["kind"], event["action"]) != ("system", "erase_personal") or event["data"] is None:
        return set()
    try:
        data = parse_json(event["data"])
        require(isinstance(data, dict), "no object")
        require({"erased", "legal_basis"} <= set(data) <= {"erased", "legal_basis", "reason"}, "members")
        for member in set(data) - {"erased"}:
            require(isinstance(data[member], str), "no text")
            data[member].encode()
        named = []
        for incarnation, transactions in map(elements, elements(data["erased"])):
            require(re.fullmatch("[0-9a-f]{16}", incarnation), "no incarnation")
            for xid, *ordinals in map(elements, elements(transactions)):
                require(is_integer(xid, 1 << 63) and ordinals, "no transaction")
                require(all(is_integer(ordinal, 1 << 31) for ordinal in ordinals), "no ordinal")
                named += [f"{incarnation}-{xid}-{ordinal}" for ordinal in ordinals]
        require(len(named) <= MOST_NAMED, "more names than one event may have")
        return set(named)
    except (Damaged, ValueError, TypeError, RecursionError):
        return set()


def check_erased(events, blocks, through):
    """What is gone was erased in its account, or with its data, and what was erased is gone."""
    gone, with_data = set(), set()
    for event in events:
        if event["personal_commitment"] is not None and event["personal"] is None:
            pruned = event["data"] is None and event["data_hash"] is not None
            (with_data if pruned else gone).add((event["account_id"], event_id(event)))
    named = {(event["account_id"], name) for event in events for name in erased_by(event)}
    sees = {}
    for block in blocks:
        if block["block"] <= through:
            sees.update(parse_adopted(block["adopted"]))
            sees[block["incarnation"]] = parse_snapshot(block["snapshot"])
    removed = set()
    for account, name in named:
        incarnation = int.from_bytes(bytes.fromhex(name[:16]), "big", signed=True)
        if sees.get(incarnation, lambda xid: False)(int(name.split("-")[1])):
            removed.add((account, name))
    require(gone <= named and named <= gone | with_data | removed,
            "personal values are gone or there, and erasures say otherwise")


CLOCK_PUT_BACK = 86_400 * 10**6


def rules_of(configuration):
    """The rules of retention that a block states, by relation; None stands for events."""
    class Pairs(list):
        pass

    def members(value):
        require(isinstance(value, Pairs), "no object")
        return value

    def integer(text):
        # What the format has no integer for is fit where nothing is stated.
        return int(text) if text != "-0" and len(text) < 30 else float(text)

    try:
        captured = members(json.loads(configuration, object_pairs_hook=Pairs, parse_int=integer,
                                      parse_constant=no_number))
        for name, _ in captured:
            name.encode()
        stated = [value for name, value in captured if name == "retention"]
        rules = {}
        require(len(stated) < 2, "a member twice")
        for rule in stated[0] if stated else []:
            found = dict(members(rule))
            require(len(found) == len(rule), "a member twice")
            kind = {"payload", "events"} & set(found)
            require(len(kind) == 1 and set(found) <= kind | {"relation", "before"}, "members")
            require(all(type(found[name]) is int for name in set(found) - {"relation"}), "no integer")
            relation = found.get("relation", "" if "payload" in found else None)
            require("relation" not in found or (isinstance(relation, str) and relation
                                                and "payload" in found), "relation")
            (relation or "").encode()
            keep, before = found[min(kind)], found.get("before")
            require(0 <= keep <= LONGEST, "a time that is none")
            require(before is None or -2**63 <= before < 2**63, "a time that is none")
            require(relation not in rules, "a rule twice")
            rules[relation] = keep, before
        require(not stated or (type(stated[0]) is list and 0 < len(rules) <= 1000), "a list of rules")
        return rules
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(str(error)) from error


def check_rules(blocks):
    """Rules only grow, and let go what is old enough. Returns what each relation's let go, and the
    age of each block."""
    keeps, gone, ages, latest = {}, {}, {}, -2**63
    # When the earliest of the blocks from each on was sealed: clocks may be put back by a day.
    earliest = [block["sealed_at"] for block in blocks]
    for at in reversed(range(len(earliest) - 1)):
        earliest[at] = min(earliest[at], earliest[at + 1])
    for block, then in zip(blocks, earliest):
        latest = ages[block["block"]] = max(latest, block["sealed_at"])
        if block["configuration"] is None:
            continue
        rules = rules_of(block["configuration"])
        require(set(keeps) <= set(rules), "a rule is gone")
        of_all, gone_of_all = keeps.get(""), gone.get("", -2**63)
        for relation, (keep, before) in rules.items():
            known = keeps.get(relation, of_all if relation is not None else None)
            require(known is None or keep >= known, "a rule that keeps less")
            if relation not in keeps:
                gone[relation] = -2**63 if relation is None else gone_of_all
            keeps[relation] = keep
            if before is not None:
                require(before + keep <= block["sealed_at"], "what a rule keeps was let go")
                if before + keep <= then + CLOCK_PUT_BACK:
                    gone[relation] = max(gone[relation], before)
        if None in keeps:
            require(max(keeps.values()) == keeps[None], "events are kept for less than their data")
    return gone, ages


def check_removed(blocks, placed, pruned):
    """Whatever is gone was let go. Returns the block up to which events were removed."""
    gone, ages = check_rules(blocks)
    for number, events in placed.items():
        for event in events:
            if event["data_hash"] is not None:
                require(number in ages and event["kind"] != "system", "data that cannot go is gone")
                own = event["relation"] is not None and event["relation"] in gone
                rule = event["relation"] if own else ""
                require(ages[number] < gone.get(rule, -2**63), "data is gone that no rule let go")
    if not pruned:
        return 0
    through = max(row["block"] for row in pruned)
    require(through in ages, "no such block")
    require(ages[through] < gone.get(None, -2**63), "events are gone that no rule let go")
    require(not any(events for number, events in placed.items()
                    if number != UNSEALED and number <= through), "events are there that were removed")
    return through


def kept_trees(pruned, last_leaves):
    """The trees of accounts at the end of the removed blocks."""
    trees, found = {}, {}
    for row in pruned:
        name = row["account_id"]
        require(name not in trees, "an account twice")
        tree = trees[name] = Tree(row["size"], unhex(row["state"]))
        found[name] = tree.size, tree.root().hex(), row["block"]
    require(found == last_leaves, "the trees that were kept")
    return trees


def place_events(ledger):
    """Events of each block, in order, and those of none."""
    blocks, sees, left = {}, {}, list(ledger["audit_log"])
    for block in ledger["ledger_block"]:
        claims = parse_adopted(block["adopted"])
        claims.append((block["incarnation"], parse_snapshot(block["snapshot"])))
        held = []
        for incarnation, visible in claims:
            before = sees.get(incarnation, lambda xid: False)
            sees[incarnation] = visible
            claimed = [
                event for event in left
                if event["incarnation"] == incarnation
                and visible(event["xid"]) and not before(event["xid"])
            ]
            claimed.sort(key=lambda event: (event["xid"], event["ordinal"]))
            held += claimed
        blocks[block["block"]] = held
        left = [event for event in left if event not in held]
    blocks[UNSEALED] = left
    return blocks


def check_blocks(ledger, placed, through):
    rows = list(ledger["ledger_leaf"])
    last_leaves = {}
    trees, global_tree, last = {}, [], None
    blinding = {row["account_id"]: unhex(row["blinding"]) for row in ledger["ledger_account"]}
    for number, block in enumerate(ledger["ledger_block"], 1):
        require(block["block"] == number and block["version"] == 1, "block number or version")
        place = block["incarnation"], block["timeline"]
        opens = last is None or place != (last["incarnation"], last["timeline"])
        require(block["epoch"] == (last["epoch"] if last else 0) + opens, "epoch")
        quoted = checkpoint(last) if opens and last else None
        require(block["previous_checkpoint"] == quoted, "previous checkpoint")
        global_tree = [] if opens else global_tree
        require(unhex(block["previous_hash"]) == (unhex(last["hash"]) if last else bytes(32)),
                "previous hash")
        require(block["previous_size"] == len(global_tree), "previous size")
        require(unhex(block["previous_root"]) == root(global_tree), "previous root")
        check_configuration(block, last)
        nothing = dict.fromkeys(("account_id", "blinded_id", "events", "events_root",
                                 "account_size", "account_root"))
        leaves = [(nothing, leaf_hash(epoch_record(block)))] if opens else []
        if number <= through:
            leaves += removed_leaves(number, rows, last_leaves, blinding)
        else:
            leaves += account_leaves(number, placed[number], trees, blinding)
        require(len(leaves) - opens == block["accounts"], "number of accounts")
        counted = sum(leaf["events"] or 0 for leaf, _ in leaves)
        require(counted == block["events"], "number of events")
        require(leaf_hash(block_record(block)) == unhex(block["hash"]), "block")
        leaves.append((nothing, unhex(block["hash"])))
        for columns, digest in leaves:
            row = {**columns, "block": number, "epoch": block["epoch"],
                   "position": len(global_tree), "leaf_hash": digest.hex()}
            require(row in rows, "leaf")
            rows.remove(row)
            global_tree.append(digest)
        require(block["tree_size"] == len(global_tree), "tree size")
        require(unhex(block["root"]) == root(global_tree), "root")
        require(unhex(block["state"]) == state(global_tree), "state")
        if number == through:
            trees = kept_trees(ledger["ledger_pruned"], last_leaves)
        last = block
    require(not rows, "a leaf of no block")
    return trees


def check_configuration(block, last):
    digest, text = block["configuration_hash"], block["configuration"]
    if last and last["configuration_hash"] == digest:
        require(text is None, "a configuration where nothing has changed")
    else:
        require(text is not None, "a configuration is missing")
        require(sha256(text.encode()).hex() == digest, "configuration")


def removed_leaves(number, rows, last_leaves, blinding):
    """Leaves of a block whose events were removed, as they stand."""
    leaves = []
    for row in rows:
        if row["block"] != number or row["account_id"] is None:
            continue
        account = row["account_id"]
        require(account in blinding, "an account without a row")
        require(row["blinded_id"] == blinded_id(blinding[account], account).hex(), "blinded id")
        size = last_leaves.get(account, (0,))[0]
        require(row["account_size"] == size + row["events"], "an account that does not grow")
        last_leaves[account] = row["account_size"], row["account_root"], number
        leaf = {column: row[column] for column in row if column not in ("position", "epoch", "leaf_hash")}
        leaves.append((leaf, leaf_hash(account_record(leaf))))
    return sorted(leaves, key=lambda leaf: leaf[0]["blinded_id"])


def account_leaves(number, events, trees, blinding):
    leaves = []
    for account in {event["account_id"] for event in events}:
        added = [unhex(e["leaf_hash"]) for e in events if e["account_id"] == account]
        tree = trees.setdefault(account, Tree())
        for leaf in added:
            tree.append(leaf)
        require(account in blinding, "an account without a row")
        leaf = {
            "block": number,
            "account_id": account,
            "blinded_id": blinded_id(blinding[account], account).hex(),
            "events": len(added),
            "events_root": root(added).hex(),
            "account_size": tree.size,
            "account_root": tree.root().hex(),
        }
        leaves.append((leaf, leaf_hash(account_record(leaf))))
    return sorted(leaves, key=lambda leaf: leaf[0]["blinded_id"])


def verify(ledger):
    """Raises Damaged unless the ledger is sound. Returns where each event is."""
    ledger["ledger_block"].sort(key=lambda block: block["block"])
    check_events(ledger)
    check_claims(ledger["ledger_block"])
    placed = place_events(ledger)
    through = check_removed(ledger["ledger_block"], placed, ledger["ledger_pruned"])
    check_erased(ledger["audit_log"], ledger["ledger_block"], through)
    trees = check_blocks(ledger, placed, through)
    rows = {row["account_id"]: (row["size"], row["state"]) for row in ledger["ledger_account"]}
    require(len(rows) == len(ledger["ledger_account"]), "an account twice")
    sealed = {name: (tree.size, tree.state().hex()) for name, tree in trees.items()}
    require(rows == sealed, "accounts")
    return placed


# The vectors


def load(name):
    return json.loads((VECTORS / name).read_text())


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def is_damaged(check, *arguments):
    try:
        check(*arguments)
    except (Damaged, ValueError, OverflowError):
        return True
    return False


def check_small_vectors():
    trees = load("trees.json")
    leaves = []
    for known in trees["certificate_transparency"]:
        leaves.append(leaf_hash(unhex(known["leaf"])))
        same(root(leaves).hex(), known["root"])
    leaves = [leaf_hash(bytes([n])) for n in range(17)]
    for tree in trees["states"]["trees"]:
        same(state(leaves[: tree["size"]]).hex(), tree["state"])
        same(root(leaves[: tree["size"]]).hex(), tree["root"])
    for vector in load("entries.json"):
        encoded = entry(vector["event"], unhex(vector["context_hash"]))
        same(encoded.hex(), vector["entry"])
        same(leaf_hash(encoded).hex(), vector["event"]["leaf_hash"])
        same(event_id(vector["event"]), vector["event_id"])
    for vector in load("contexts.json"):
        same(context_record(vector["context"]).hex(), vector["record"])
        same(sha256(context_record(vector["context"])).hex(), vector["context"]["hash"])
    for kind, record in (("epoch", epoch_record), ("account", account_record),
                         ("block", block_record)):
        for vector in load("records.json")[kind]:
            same(record(vector["fields"]).hex(), vector["record"])
            same(leaf_hash(record(vector["fields"])).hex(), vector["leaf_hash"])


def check_hashes():
    hashes = load("hashes.json")
    for vector in hashes["incarnations"]:
        digest = sha256(b"tenant_guard incarnation\0",
                        vector["system_identifier"].to_bytes(8, "big"),
                        vector["database_oid"].to_bytes(4, "big"))
        same(int.from_bytes(digest[:8], "big", signed=True), vector["incarnation"])
    for vector in hashes["blinded_accounts"]:
        same(blinded_id(unhex(vector["blinding"]), vector["account_id"]).hex(),
             vector["blinded_id"])
    for vector in hashes["personal_commitments"]:
        same(commitment(unhex(vector["salt"]), vector["personal"]).hex(), vector["commitment"])


def check_texts():
    snapshots = load("snapshots.json")
    for valid, invalid, parse in (("valid", "invalid", parse_snapshot),
                                  ("adopted_valid", "adopted_invalid", parse_adopted)):
        same([text for text in snapshots[valid] if is_damaged(parse, text)], [])
        same([text for text in snapshots[invalid] if not is_damaged(parse, text)], [])
    for vector in snapshots["differences"]:
        before, after = parse_snapshot(vector["before"]), parse_snapshot(vector["after"])
        same([x for x in range(40) if after(x) and not before(x)], vector["xids"])
    rules = load("rules.json")
    same([text for text in rules["valid"] if is_damaged(rules_of, text)], [])
    same([text for text in rules["invalid"] if not is_damaged(rules_of, text)], [])
    vector = load("checkpoints.json")
    body = checkpoint({**vector, "tree_size": vector["size"]})
    same({parse_checkpoint(text)[0] for text in vector["valid"]}, {body})
    same([text for text in vector["invalid"] if not is_damaged(parse_checkpoint, text)], [])


def check_ledger(file):
    ledger = load(file)
    expected = ledger.pop("expected")
    placed = verify(ledger)
    for block, known in zip(ledger["ledger_block"], expected, strict=True):
        same([event_id(event) for event in placed[block["block"]]], known["events"])
        same(checkpoint(block), known["checkpoint"])
    unsealed = [event_id(event) for event in placed[UNSEALED]]
    damaged = 0
    for table, rows in ledger.items():
        for at, row in enumerate(rows):
            for column in row:
                other = copy.deepcopy(ledger)
                other[table][at][column] = edited(row[column])
                assert is_damaged(verify, other), f"{table}.{column} of {row} edited unnoticed"
                damaged += 1
            if table == "audit_log" and event_id(row) in unsealed and row["context"] is None:
                continue
            other = copy.deepcopy(ledger)
            del other[table][at]
            assert is_damaged(verify, other), f"{row} removed from {table} unnoticed"
            damaged += 1
    return damaged


def edited(value):
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return value + ["other"]
    if isinstance(value, str) and value:
        return ("1" if value[0] == "0" else "0") + value[1:]
    return "00"


if __name__ == "__main__":
    check_small_vectors()
    check_hashes()
    check_texts()
    damaged = sum(map(check_ledger, ("ledger.json", "heartbeat.json", "erased.json", "pruned.json")))
    print(f"ledger vectors hold; {damaged} ways to damage the ledgers are noticed")
