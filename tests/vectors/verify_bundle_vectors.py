#!/usr/bin/env python3
"""Bundles and receipts, verified from their files alone and by docs/ledger-format.md alone.

Without an argument it verifies the vectors beside it, and then every one of many damaged copies of
them must fail. With arguments it verifies these files: bundles as COPY wrote them, and receipts.
"""

import base64
import json
import re
import sys

from verify_ledger_vectors import (
    Damaged, VECTORS, blinded_id, check_claims, check_opening, checkpoint, commitment, context_record, entry, event_id,
    account_record, block_record, epoch_record, is_damaged, leaf_hash, load, parse_adopted,
    parse_checkpoint, parse_json, parse_snapshot, check_erased, check_removed, check_configuration,
    kept_trees, place_events, Tree, require, root, sha256, state, unbase64, unhex,
    verify,
)

COLUMNS = {
    "audit_log": ("incarnation xid ordinal command_id kind action account_id relation "
                  "leaf_relation row_key target occurred_at context data personal personal_salt "
                  "personal_commitment data_hash redacted hashed leaf_hash"),
    "audit_context": ("incarnation xid number issuer token_id session subject role session_role "
                      "current_role client_address application_name transaction_start hash"),
    "ledger_account": "account_id blinding size state",
    "ledger_pruned": "block account_id size state",
    "ledger_block": ("version block epoch incarnation timeline snapshot adopted events accounts "
                     "sealed_at previous_hash previous_size previous_root previous_checkpoint "
                     "configuration_hash configuration hash tree_size root state"),
    "ledger_leaf": ("epoch position block account_id blinded_id events events_root account_size "
                    "account_root leaf_hash"),
}
LISTS = ("redacted", "hashed")


def decimal(text):
    require(re.fullmatch(r"0|[1-9][0-9]*", text), "a number in another form")
    return int(text)


def full(table, row):
    """A row with its NULLs and empty lists put back."""
    columns = COLUMNS[table].split()
    require(isinstance(row, dict), "no object")
    require(set(row) <= set(columns), f"{table} has unknown columns")
    require(None not in row.values(), "a null that is to be left out")
    require([] not in (row.get(column) for column in LISTS), "a list that is to be left out")
    return {column: row.get(column, [] if column in LISTS else None) for column in columns}


# Receipts


def parse_proof(text):
    lines = text.split("\n")
    require(lines[0] == "c2sp.org/tlog-proof@v1", "no tlog-proof")
    require(lines[1].startswith("extra ") and lines[2].startswith("index "), "no receipt")
    end = lines.index("")
    path = [unbase64(line) for line in lines[3:end]]
    extra = parse_json(unbase64(lines[1][6:]))
    return extra, decimal(lines[2][6:]), path, "\n".join(lines[end + 1:])


def climb(leaf, index, size, path):
    """The root that a path of RFC 6962 leads to."""
    require(0 <= index < size, "no such leaf")
    if size == 1:
        require(not path, "a path that is too long")
        return leaf
    require(path, "a path that is too short")
    k = 1
    while 2 * k < size:
        k *= 2
    if index < k:
        return sha256(b"\1", climb(leaf, index, k, path[:-1]), path[-1])
    return sha256(b"\1", path[-1], climb(leaf, index - k, size - k, path[:-1]))


def verify_receipt(text):
    extra, index, path, note = parse_proof(text)
    require((extra["receipt"], extra["version"]) == ("tenant_guard/event", 1), "another receipt")
    members = {"receipt", "version", "event", "data_hash", "context", "account", "index", "path"}
    require(set(extra) <= members, "unknown members")
    event, context = full("audit_log", extra["event"]), None
    require(event["data_hash"] is None, "a hash of the data in the row")
    require((event["context"] is None) == ("context" not in extra), "context")
    if "context" in extra:
        row = full("audit_context", extra["context"])
        context = sha256(context_record(row))
        require(context == unhex(row["hash"]), "context")
        require([row[c] for c in ("incarnation", "xid", "number")]
                == [event[c] for c in ("incarnation", "xid", "context")], "another context")
    if event["personal"] is not None or event["personal_salt"] is not None:
        opened = commitment(unhex(event["personal_salt"]), event["personal"])
        require(opened == unhex(event["personal_commitment"]), "personal values")
    if "data_hash" in extra:
        require(event["data"] is None, "data and its hash")
        require(len(unhex(extra["data_hash"])) == 32, "a hash of another length")
    record = entry(event, context, unhex(extra.get("data_hash")))
    leaf = leaf_hash(record)
    require(leaf == unhex(event["leaf_hash"]), "event")
    account = extra["account"]
    events_root = climb(leaf, extra["index"], account["events"], list(map(unhex, extra["path"])))
    require(account["account_size"] >= account["events"], "more events than the account has")
    require(account["account_size"] > account["events"]
            or unhex(account["account_root"]) == events_root, "another tree of the same events")
    record = account_record({
        **account,
        "blinded_id": blinded_id(unhex(account["blinding"]), event["account_id"]).hex(),
        "events_root": events_root.hex(),
    })
    _, size, root_hash = parse_checkpoint(note)
    found = climb(leaf_hash(record), index, size, path)
    require(found == root_hash, "the path leads elsewhere")
    return event_id(event)


# Bundles


def read_copy(text):
    files, openings = {}, 0
    for line in text.splitlines():
        path, content = line.split("\t")
        require(content.startswith("\\\\x") and path not in files, "no bundle")
        if path.startswith("openings/"):
            require(path == f"openings/{number_path(openings)}", "openings out of order")
            openings += 1
        files[path] = unhex(content[3:])
    return files


def number_path(number):
    parts = []
    while True:
        number, part = divmod(number, 1000)
        parts.insert(0, f"x{part:03}" if parts else f"{part:03}")
        if not number:
            return "/".join(parts)


def read_openings(files):
    lines = []
    while f"openings/{number_path(len(lines))}" in files:
        lines.append(files.pop(f"openings/{number_path(len(lines))}"))
    tables = {table: [] for table in COLUMNS}
    order = []
    text = b"".join(lines).decode()
    require(text.endswith("\n"), "a line without end")
    for line in text[:-1].split("\n"):
        table, _, row = line.partition(" ")
        if table in tables:
            row = full(table, parse_json(row))
            tables[table].append(row)
            order.append((table, row))
        else:
            require(line in ("end_of_block", "unsealed"), "an unknown line")
            order.append((line, None))
    return tables, order


def check_order(order):
    """Rows of a block stand with it, in the order of the ledger."""
    sees, claims, block, last, leaves, named = {}, [], None, None, False, {}
    last_leaf = (-1, -1)
    for what, row in order:
        if what == "ledger_block":
            require(block is None, "a block within a block")
            block, last, leaves = row["block"], None, False
            claims = []
            mine = [*parse_adopted(row["adopted"]),
                    (row["incarnation"], parse_snapshot(row["snapshot"]))]
            for incarnation, visible in mine:
                before = sees.get(incarnation, lambda xid: False)
                claims.append((incarnation, visible, before))
                sees[incarnation] = visible
        elif what == "end_of_block":
            require(block is not None, "an end without a block")
            block = None
        elif what == "unsealed":
            require(block is None, "a block without end")
            claims, last, leaves = None, None, False
        elif what == "ledger_leaf":
            leaves = True
            # What has no number stands anywhere, with the lowest there is.
            if -2**63 not in (row["block"], row["position"]):
                require((row["block"], row["position"]) > last_leaf, "leaves out of order")
                last_leaf = row["block"], row["position"]
        elif what in ("audit_log", "audit_context"):
            require(not leaves, "an event after the leaves of its block")
            xid = row["xid"]
            if claims is None:
                sealed = sees.get(row["incarnation"], lambda xid: False)
                require(not sealed(xid), "a sealed row among the unsealed")
                rank = row["incarnation"]
            else:
                ranks = [n for n, (incarnation, visible, before) in enumerate(claims)
                         if incarnation == row["incarnation"] and visible(xid) and not before(xid)]
                require(ranks, "a row of another block")
                rank = ranks[0]
            key = row["incarnation"], xid
            if what == "audit_context":
                require(last is None or last[:2] <= (rank, xid), "rows out of order")
                named.setdefault(key, set()).add(row["number"])
                last = (rank, xid, last[2] if last and last[:2] == (rank, xid) else -1)
            else:
                require(last is None or last <= (rank, xid, row["ordinal"]), "rows out of order")
                require(row["context"] is None or row["context"] in named.get(key, ()),
                        "a context that comes after its event")
                last = rank, xid, row["ordinal"]


def check_accounts_order(tables):
    for table in ("ledger_account", "ledger_pruned"):
        names = [row["account_id"].encode() for row in tables[table]]
        require(names == sorted(set(names)), "accounts out of order, or twice")


def check_unsealed(about, order, blocks):
    """What no block holds is of a transaction that the server began, or waits for its first block."""
    at = [what for what, _ in order].index("unsealed")
    for what, row in order[at:]:
        if what == "audit_log" and row["incarnation"] == about["incarnation"]:
            require(row["xid"] < about["next_xid"], "an event of no transaction")
        elif what == "audit_log":
            newest = blocks and max(blocks, key=lambda block: block["block"])
            require(not blocks or newest["incarnation"] != about["incarnation"],
                    "an event that no block took over")


def tiles(prefix, leaves, entries):
    """The files of a tree, by C2SP tlog-tiles."""
    files, level, hashes = {}, 0, leaves
    while hashes:
        for at in range(0, len(hashes), 256):
            tile = hashes[at : at + 256]
            path = number_path(at // 256) + ("" if len(tile) == 256 else f".p/{len(tile)}")
            files[f"{prefix}/tile/{level}/{path}"] = b"".join(tile)
            if level == 0:
                bundle = [len(e).to_bytes(2, "big") + e for e in entries[at : at + 256]]
                files[f"{prefix}/tile/entries/{path}"] = b"".join(bundle)
        whole = len(hashes) // 256
        hashes = [root(hashes[n * 256 : n * 256 + 256]) for n in range(whole)]
        level += 1
    return files


def derived_files(tables):
    trees = {}
    for block in tables["ledger_block"]:
        leaves, entries = trees.setdefault(block["epoch"], ([], []))
        rows = [leaf for leaf in tables["ledger_leaf"] if leaf["block"] == block["block"]]
        for leaf in sorted(rows, key=lambda leaf: leaf["position"]):
            leaves.append(unhex(leaf["leaf_hash"]))
            if leaf["blinded_id"] is not None:
                entries.append(account_record(leaf))
            elif leaf["position"] == 0:
                entries.append(epoch_record(block))
            else:
                entries.append(block_record(block))
    files = {}
    for epoch, (leaves, entries) in trees.items():
        files.update(tiles(f"epoch/{epoch}", leaves, entries))
        last = [block for block in tables["ledger_block"] if block["epoch"] == epoch][-1]
        files[f"epoch/{epoch}/checkpoint"] = checkpoint(last).encode()
    return files


def verify_one_account(tables, account):
    """What the events of one account say: its leaves, its tree, and the tree all leaves are in."""
    require(all(e["account_id"] == account for e in tables["audit_log"]), "another account")
    names = [row["account_id"] for row in tables["ledger_account"]]
    require(names, "nothing of this account was sealed, which proves nothing")
    require(names == [account], "another account")
    blinding = unhex(tables["ledger_account"][0]["blinding"])
    contexts = {(c["incarnation"], c["xid"], c["number"]): c for c in tables["audit_context"]}
    named = {(e["incarnation"], e["xid"], e["context"]) for e in tables["audit_log"]}
    require(len(contexts) == len(tables["audit_context"]), "a context twice")
    require(contexts.keys() <= named, "a context without an event")
    check_claims(tables["ledger_block"])
    for event in tables["audit_log"]:
        context = contexts.get((event["incarnation"], event["xid"], event["context"]))
        hashed = None if context is None else sha256(context_record(context))
        require(context is None or hashed == unhex(context["hash"]), "context")
        require((context is None) == (event["context"] is None), "a context is missing")
        require(leaf_hash(entry(event, hashed)) == unhex(event["leaf_hash"]), "event")
        check_opening(event)
    pruned = tables["ledger_pruned"]
    require([row["account_id"] for row in pruned] in ([], [account]), "another account")
    placed = place_events(tables)
    through = check_removed(tables["ledger_block"], placed, pruned)
    check_erased(tables["audit_log"], tables["ledger_block"], through)
    last_leaf, tree = (0, None, None), Tree()
    sees, _, global_tree, last, left = {}, [], [], None, list(tables["audit_log"])
    for number, block in enumerate(tables["ledger_block"], 1):
        opens = last is None or any(block[c] != last[c] for c in ("incarnation", "timeline"))
        global_tree = [] if opens else global_tree
        require(block["block"] == number, "block number")
        require(unhex(block["previous_hash"]) == (unhex(last["hash"]) if last else bytes(32)), "chain")
        require(block["previous_size"] == len(global_tree), "previous size")
        require(unhex(block["previous_root"]) == root(global_tree), "previous root")
        require(leaf_hash(block_record(block)) == unhex(block["hash"]), "block")
        added = []
        mine = [*parse_adopted(block["adopted"]),
                (block["incarnation"], parse_snapshot(block["snapshot"]))]
        for incarnation, visible in mine:
            held = [e for e in left if e["incarnation"] == incarnation and visible(e["xid"])]
            left = [e for e in left if e not in held]
            held.sort(key=lambda event: (event["xid"], event["ordinal"]))
            added += [unhex(event["leaf_hash"]) for event in held]
            sees[incarnation] = visible
        for leaf in added:
            tree.append(leaf)
        own = 0
        leaves = [leaf for leaf in tables["ledger_leaf"] if leaf["block"] == number]
        for leaf in leaves:
            require(leaf["position"] == len(global_tree), "position")
            global_tree.append(unhex(leaf["leaf_hash"]))
            if leaf["blinded_id"] is None:
                continue
            require(leaf_hash(account_record(leaf)) == unhex(leaf["leaf_hash"]), "leaf")
            require(leaf["account_id"] is not None
                    or unhex(leaf["blinded_id"]) != blinded_id(blinding, account),
                    "a leaf of the account does not name it")
            if leaf["account_id"] is not None and number <= through:
                own += 1
                found = blinded_id(blinding, account).hex(), last_leaf[0] + leaf["events"], account
                require(found == (leaf["blinded_id"], leaf["account_size"], leaf["account_id"]), "leaf")
                last_leaf = leaf["account_size"], leaf["account_root"], number
            elif leaf["account_id"] is not None:
                own += 1
                expected = (blinded_id(blinding, account).hex(), len(added), root(added).hex(),
                            tree.size, tree.root().hex())
                found = tuple(leaf[c] for c in ("blinded_id", "events", "events_root",
                                                "account_size", "account_root"))
                require(found == expected and leaf["account_id"] == account, "the account's leaf")
        require(own == bool(added) or number <= through, "the account's leaf")
        if number == through:
            tree = kept_trees(pruned, {account: last_leaf})[account]
        check_configuration(block, last)
        require((len(global_tree), root(global_tree).hex()) == (block["tree_size"], block["root"]), "root")
        require(global_tree[-1] == unhex(block["hash"]), "the leaf of the block")
        last = block
    row = tables["ledger_account"][0]
    require((row["size"], row["state"]) == (tree.size, tree.state().hex()), "account")


def verify_bundle(text):
    files = read_copy(text)
    require(text.startswith("bundle.json\t"), "bundle.json is not the first file")
    about = parse_json(files.pop("bundle.json"))
    require((about["bundle"], about["version"]) == ("tenant_guard/ledger", 1), "another bundle")
    tables, order = read_openings(files)
    require(order[-1:] and any(what == "unsealed" for what, _ in order), "it ends early")
    check_order(order)
    check_accounts_order(tables)
    kinds = [what for what, _ in order]
    early = [what for what in kinds if what in ("ledger_account", "ledger_pruned")]
    require(early == sorted(early) and kinds[:len(early)] == early, "accounts out of order")
    check_unsealed(about, order, tables["ledger_block"])
    files = {path: parse_checkpoint(content.decode())[0].encode() if path.endswith("/checkpoint")
             else content for path, content in files.items()}
    require(derived_files(tables) == files, "tiles or checkpoints do not follow from the rows")
    if "account" in about:
        verify_one_account(tables, about["account"])
    else:
        verify(tables)
    return len(tables["audit_log"])


def is_bound(line):
    """Whether something in the file is a hash of the line. The incarnation in bundle.json says
    which unsealed events are still awaited; origin and size of a checkpoint its signatures vouch for."""
    return not (line.startswith(("bundle.json\t", "tenant_guard/")) or line.strip().isdigit())


def damage(text, verifier):
    """Each line lost, and one digit of each line changed."""
    lines, noticed = text.splitlines(keepends=True), 0
    for at, line in enumerate(lines):
        spoilt = [lines[:at] + lines[at + 1:]]
        places = {len(line) // 3, len(line) // 2, len(line) - 3} if is_bound(line) else ()
        for place in places:
            if place < 0:
                continue
            other = "1" if line[place] == "0" else "0"
            spoilt.append(lines[:at] + [line[:place] + other + line[place + 1:]] + lines[at + 1:])
        for copy in spoilt:
            assert is_damaged(verifier, "".join(copy)), f"line {at + 1} of {line[:40]!r} unnoticed"
            noticed += 1
    return noticed


def hide_newest(text):
    """The newest events of the account taken out of its bundle, with the name in their leaf."""
    out, openings = [], None
    for line in text.splitlines(keepends=True):
        path, content = line.rstrip("\n").split("\t")
        if path == "openings/000":
            openings = bytes.fromhex(content[3:]).decode().splitlines()
            rows = [(table, parse_json(row) if row else None)
                    for table, _, row in (line.partition(" ") for line in openings)]
            named = [row for table, row in rows if table == "ledger_leaf" and "account_id" in row]
            block, left, tree = None, [], []
            for table, row in rows:
                block = row["block"] if table == "ledger_block" else block
                if table in ("audit_log", "audit_context") and block == named[-1]["block"]:
                    continue
                if table == "audit_log":
                    tree.append(unhex(row["leaf_hash"]))
                if row == named[-1]:
                    del row["account_id"]
                left.append((table, row))
            for table, row in left:
                if table == "ledger_account":
                    row.update(size=len(tree), state=state(tree).hex())
            content = "".join(f"{table} {json.dumps(row)}\n" if row else f"{table}\n"
                              for table, row in left)
            line = f"{path}\t\\\\x{content.encode().hex()}\n"
        out.append(line)
    return "".join(out)


def check_strictness():
    """What other readers of JSON and of hexadecimal would let pass."""
    for text in ('{"a":1,"a":1}', '{"a":1.0}', '{"a":true}', '{"a":1e0}', '{"a":NaN}', '{"a":[{"b":1,"b":2}]}'):
        assert is_damaged(parse_json, text), text
    for row in ({"account_id": None}, [1], {"other": 1}):
        assert is_damaged(full, "ledger_account", row), row
    assert is_damaged(full, "audit_log", {"hashed": []})
    for text in ("AB", "a b", "abc", " ab", "٠٠"):
        assert is_damaged(unhex, text), text
    for text in ("01", "+1", "1_0", "-1", " 1", "٣"):
        assert is_damaged(decimal, text), text
    text = (VECTORS / "bundle.copy").read_text()
    assert is_damaged(verify_bundle, text.replace("\\\\x7b", "\\\\x7B", 1)), "upper case"


def edited(edit):
    """A vector with an edit: the first occurrence of a text replaced by another."""
    text = (VECTORS / edit["of"]).read_text()

    def replaced(content):
        assert edit["from"] in content, edit
        return content.replace(edit["from"], edit["to"], 1)

    if edit["in"] == "text":
        return replaced(text)
    if edit["in"] == "extra":
        lines = text.split("\n")
        extra = replaced(unbase64(lines[1][6:]).decode()).encode()
        return "\n".join([lines[0], "extra " + base64.b64encode(extra).decode(), *lines[2:]])
    files = read_copy(text)
    files[edit["in"]] = replaced(files[edit["in"]].decode()).encode()
    return "".join(f"{path}\t\\\\x{content.hex()}\n" for path, content in files.items())


def safely(verifier):
    """Whatever a reader stumbles over is damage, too."""
    def checked(text):
        try:
            return verifier(text)
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise Damaged(str(error)) from error
    return checked


def main(arguments):
    for name in arguments:
        with open(name, encoding="utf-8") as file:
            text = file.read()
        if text.startswith("bundle.json\t"):
            print(f"{name}: intact, {verify_bundle(text)} events")
        else:
            print(f"{name}: event {verify_receipt(text)} is in the ledger")
    if arguments:
        return
    check_strictness()
    noticed = 0
    for name in ("bundle.copy", "bundle_of_one.copy", "erased.copy", "erased_of_one.copy",
                 "pruned.copy", "pruned_of_one.copy"):
        text = (VECTORS / name).read_text()
        verify_bundle(text)
        noticed += damage(text, safely(verify_bundle))
    hidden = hide_newest((VECTORS / "bundle_of_one.copy").read_text())
    assert is_damaged(safely(verify_bundle), hidden), "events taken out of the bundle unnoticed"
    for name in ("receipt.tlog-proof", "receipt_without_values.tlog-proof"):
        text = (VECTORS / name).read_text()
        verify_receipt(text)
        noticed += damage(text, safely(verify_receipt))
    for name in ("moved.copy", "moved_of_system.copy", "many_of_one.copy", "empty.copy",
                 "no_relation.copy", "no_relation_kept.copy"):
        verify_bundle((VECTORS / name).read_text())
    for name in ("receipt_signed.tlog-proof", "receipt_without_context.tlog-proof"):
        verify_receipt((VECTORS / name).read_text())
    for edit in load("damaged.json"):
        text, verifier = edited(edit), verify_bundle if edit["of"].endswith(".copy") else verify_receipt
        assert is_damaged(safely(verifier), text), f"{edit} unnoticed"
        noticed += 1
    print(f"bundles and receipts hold; {noticed} ways to damage them are noticed")


if __name__ == "__main__":
    main(sys.argv[1:])
