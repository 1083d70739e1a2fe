#!/usr/bin/env python3
"""Counts the aggregate tree of a file of traceroutes, from the raw file and by the rule below alone.

Usage: tree_sizes.py FILE GROUP CLIENTS, where GROUP and CLIENTS are 16, 24 or address. FILE is lines of JSON in the likeness of
RIPE Atlas, or routes of rtrack, plain or compressed by gzip. Prints one JSON object. Python 3 and its standard library.

The rule:

1. Of several records of one target, the last in the file counts.
2. The hop at a distance is the first address that the file names there. Where the target itself answered at any distance, the path
   ends at the smallest such, and the target is the hop there. In rtrack's files `TTL: N` is the target's answer at N.
   Distances from 1 to the largest in the record at which nobody answered are silent.
3. An address of private space (RFC 1918, 6598, 3927) is another one behind each public address: the last on the path before it.
4. Where an address comes again on a path, what was seen since its first visit is erased. Silent hops are counted before the next
   address that is new.
5. The target, and all from its first visit on, is no router. Silence between the last router and the target counts if the target
   answered; else the path ends at the last router.
6. Addresses are put together by prefix (16 or 24 bits; `address`: 32), private ones by prefix and by the group of the public address
   they are behind. Then rule 4 is applied to groups.
7. Targets are put together by prefix likewise, each prefix a client; its path is that of the smallest address that answered, or
   else of the smallest, and it weighs as many as it has targets.
8. A silent hop is known by the group before it (or none), the group or client after it, how many silent hops are between the two,
   and which of them it is.
9. Nodes are the vantage point, groups, silent hops and clients on paths; a link is a step between two on a path.
10. In the tree each node has one parent: of the nodes with a link to it that come before it in the order of rule 11, the one with the
    most weight, then the most paths, then the most levels, then the smallest name.
11. Nodes are ordered from the vantage point. The next is one to which a link leads from one that is ordered: first those to which no link
    leads from others than ordered ones, then the one fewest steps away on any path, then the smallest name. Names are in order of
    kind (group, silent, client), then of what they are known by; public groups come before private ones.
"""

import gzip
import heapq
import ipaddress
import json
import sys

PRIVATE = [
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
]
LENGTHS = {"16": 16, "24": 24, "address": 32}
ORIGIN = (0,)


def is_private(address):
    return any(ipaddress.ip_address(address) in net for net in PRIVATE)


def number(address):
    return int(ipaddress.IPv4Address(address))


def read(name):
    """Targets with the address at each distance (rules 1 and 2), None where silent, and whether the target is the last; and
    how much of what there is in all records."""
    with open(name, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    opened = gzip.open(name, "rt") if zipped else open(name, "rt")
    with opened as file:
        text = file.read()
    records = from_json(text) if text.lstrip().startswith("{") else from_rtrack(text)
    paths, totals, addresses = {}, {"records": 0, "round_trips": 0}, set()
    for target, answers, round_trips in records:
        totals["records"] += 1
        totals["round_trips"] += round_trips
        addresses.update(address for _, address in answers if address is not None)
        # answers: (distance, address or None) in the order of the file
        at_target = [ttl for ttl, address in answers if address == target]
        length = min(at_target) if at_target else max((ttl for ttl, _ in answers), default=0)
        hops = [None] * length
        for ttl, address in answers:
            if ttl <= length and hops[ttl - 1] is None:
                hops[ttl - 1] = address
        if at_target:
            hops[length - 1] = target
        paths[target] = (hops, bool(at_target))
    return paths, {**totals, "addresses": len(addresses)}


def from_json(text):
    for line in text.splitlines():
        if not line.strip():
            continue
        trace = json.loads(line)
        answers, round_trips = [], 0
        for hop in trace["result"]:
            round_trips += sum(probe.get("rtt") is not None for probe in hop["result"])
            if hop["hop"] != 255:
                answers.append((hop["hop"], None))
                answers += [(hop["hop"], probe.get("from")) for probe in hop["result"]]
        yield trace["dst_addr"], answers, round_trips


def from_rtrack(text):
    for block in text.split("Target: ")[1:]:
        lines = block.splitlines()
        target = lines[0].split()[0]
        answers = []
        for line in lines[1:]:
            if line.startswith("TTL: "):
                answers.append((int(line[5:]), target))
            elif " - " in line:
                ttl, hop = line.split(" - ")
                hop = hop.split()[0]
                answers.append((int(ttl), None if hop == "Anonymous" else hop))
        yield target, answers, 0


def without_loops(hops):
    """Rule 4: `hops` are (silent hops before, what is there or None). Returns the same without None, and the silence at the end."""
    kept, silent = [], 0
    for before, what in hops:
        silent += before
        if what is None:
            silent += 1
            continue
        names = [name for _, name in kept]
        if what in names:
            kept = kept[: names.index(what) + 1]
        else:
            kept.append((silent, what))
        silent = 0
    return kept, silent


def routers(target, hops, answered):
    """Rules 3 to 5."""
    found, public = [], None
    for address in hops:
        if address == target:
            break
        if address is None:
            found.append((0, None))
        elif is_private(address):
            found.append((0, (address, public)))
        else:
            found.append((0, (address, None)))
            public = address
    kept, silent = without_loops(found)
    return kept, silent if answered else 0


def prefix(address, length):
    return (number(address) >> (32 - length) << (32 - length), length)


def group(router, length):
    """Rule 6; public groups are smaller than private ones."""
    address, behind = router
    if is_private(address):
        return (1, () if behind is None else (group((behind, None), length),), prefix(address, length))
    return (0, prefix(address, length))


def way(path, target, length, client):
    """The names of the nodes on a path."""
    kept, tail = routers(target, *path)
    kept, _ = without_loops([(silent, group(router, length)) for silent, router in kept])
    nodes, after = [ORIGIN], ()

    def silence(count, before):
        nodes.extend((2, after, before, count, position) for position in range(count))

    for silent, place in kept:
        silence(silent, place)
        nodes.append((1, place))
        after = (place,)
    silence(tail, (0, client))
    nodes.append((3, client))
    return nodes


def clients(paths, length):
    """Rule 7: the target and the weight of each client."""
    by_prefix = {}
    for target in sorted(paths, key=number):
        by_prefix.setdefault(prefix(target, length), []).append(target)
    for client, targets in sorted(by_prefix.items()):
        answering = [target for target in targets if paths[target][1]]
        yield client, (answering or targets)[0], len(targets)


def ordered(nodes, links):
    """Rule 11."""
    behind, waits = {}, {node: 0 for node in nodes}
    for before, after in links:
        behind.setdefault(before, []).append(after)
        waits[after] += 1
    done, result = set(), []
    heap = [(False, 0, ORIGIN)]
    while heap:
        _, _, node = heapq.heappop(heap)
        if node in done:  # an entry that a better one has replaced
            continue
        done.add(node)
        result.append(node)
        for after in behind.get(node, []):
            if after not in done:
                waits[after] -= 1
                heapq.heappush(heap, (waits[after] > 0, nodes[after], after))
    return result


def tree(nodes, links):
    """Rule 10: the parent and the level of each node."""
    before = {}
    for (source, sink), weight in links.items():
        before.setdefault(sink, []).append((source, weight))
    parents, levels = {}, {}
    for node in ordered(nodes, links):
        choice = [(source, weight) for source, weight in before.get(node, []) if source in levels]
        # From the smallest name on, so that the first of equals is taken.
        choice.sort(key=lambda one: one[0])
        parent = max(choice, key=lambda one: (*one[1], levels[one[0]]), default=(None,))[0]
        parents[node] = parent
        levels[node] = 0 if parent is None else levels[parent] + 1
    return parents, levels


def main():
    name, group_by, clients_by = sys.argv[1:]
    paths, totals = read(name)
    nodes, links, followed = {}, {}, set()
    for client, target, weight in clients(paths, LENGTHS[clients_by]):
        passed = way(paths[target], target, LENGTHS[group_by], client)
        for position, node in enumerate(passed):
            nodes[node] = min(position, nodes.get(node, position))
        for link in zip(passed, passed[1:]):
            known = links.get(link, (0, 0))
            links[link] = (known[0] + weight, known[1] + 1)
        groups = [node for node in passed if node[0] == 1]
        followed.update(groups[:-1])
    parents, levels = tree(nodes, links)
    count = lambda kind: sum(node[0] == kind for node in nodes)
    reached_from = {}
    for _, sink in links:
        reached_from[sink] = reached_from.get(sink, 0) + 1
    print(json.dumps({
        **totals,
        "targets": len(paths),
        "nodes": len(nodes),
        "groups": count(1),
        "silent": count(2),
        "clients": count(3),
        "leaves": len(nodes) - len({parent for parent in parents.values() if parent is not None}),
        "last_groups": count(1) - len(followed),
        "links": len(links),
        "diamonds": sum(ways > 1 for ways in reached_from.values()),
        "depth": max(levels.values()),
    }))


main()
