"""Puts the mutants of slither-mutate into the escrow, one at a time, and has its tests look for each.

usage: mutants.py PROJECT FORGE [SHARE]

PROJECT is a forge project with `ExecEscrow.sol` and its tests; it is changed. With SHARE only each SHARE-th mutant is tried.
slither-mutate itself compiles every mutant twice and asks for a compiler with a command line of its own, so only what it makes of the
contract is taken from it. Prints JSON.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from slither import Slither
from slither.tools.mutator.mutators import all_mutators

CONTRACT = "ExecEscrow"
# Cheap tests first: a mutant that survives them is looked for by random calls under invariants.
ROUNDS = [["--no-match-contract", "Invariants"], ["--match-contract", "Invariants"]]


def mutators():
    """All of them, in an order that does not change."""
    classes = (each for name, each in vars(all_mutators).items() if isinstance(each, type))
    named = {each.NAME: each for each in classes if getattr(each, "NAME", "")}
    return [named[name] for name in sorted(named)]


def patches(project):
    """What the mutators would change: each change once."""
    slither = Slither(str(project))
    found = {}
    for unit in slither.compilation_units:
        contracts = [each for each in unit.contracts if each.name == CONTRACT]
        for contract in contracts[:1]:
            for mutator in mutators():
                made = mutator(unit, 0, "", "", contract, None, False, project, [])
                for file, changes in made._mutate().get("patches", {}).items():
                    for change in changes:
                        if change["old_string"] == change["new_string"]:
                            continue
                        key = (change["start"], change["end"], change["new_string"])
                        found.setdefault(key, (mutator.NAME, Path(file), change))
    return [found[key] for key in sorted(found)]


def verdict(project, forge):
    """`invalid` if it does not compile, `killed` if a test fails, else `survives`."""
    calls = dict(os.environ, FOUNDRY_FUZZ_RUNS="32", FOUNDRY_INVARIANT_RUNS="40", FOUNDRY_INVARIANT_DEPTH="60")
    for tests in ROUNDS:
        command = [forge, "test", "--fail-fast", "--fuzz-seed", "0x5eed", *tests]
        try:
            ran = subprocess.run(command, cwd=project, env=calls, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            return "killed"
        if "Compiler run failed" in ran.stdout + ran.stderr:
            return "invalid"
        if ran.returncode != 0:
            return "killed"
    return "survives"


def main():
    project, forge = Path(sys.argv[1]).resolve(), sys.argv[2]
    share = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    logging.disable(logging.CRITICAL)
    counted = {"killed": 0, "survives": 0, "invalid": 0}
    survivors = []
    chosen = patches(project)[::share]
    for number, (name, file, change) in enumerate(chosen, 1):
        original = file.read_bytes()
        try:
            file.write_bytes(original[: change["start"]] + change["new_string"].encode() + original[change["end"] :])
            outcome = verdict(project, forge)
        finally:
            file.write_bytes(original)
        counted[outcome] += 1
        if outcome == "survives":
            told = {"by": name, "line": change["line_number"], "from": change["old_string"], "to": change["new_string"]}
            survivors.append(told)
            print(f"survives: {told}", file=sys.stderr)
        if number % 50 == 0:
            print(f"  {number} of {len(chosen)}: {counted}", file=sys.stderr)
    print(json.dumps({"made": len(chosen), **counted, "survivors": survivors}))


main()
