"""Prints every router's address and name that the files of a folder tell, as `ADDRESS<TAB>NAME` lines.

Read are *.csv.gz with the columns IP_ADDR and RDNS, or ips and name (an address in place of a name is none), and *.jsonl.gz with
paths in the likeness of RIPE Atlas whose replies have `from` and `ptr`.
"""

import csv
import gzip
import ipaddress
import json
import pathlib
import sys


def is_address(text):
    try:
        ipaddress.ip_address(text.rstrip("."))
    except ValueError:
        return False
    return True


def of_table(file):
    for row in csv.DictReader(file):
        if "RDNS" in row:
            yield row["IP_ADDR"], row["RDNS"]
        elif "ips" in row and not is_address(row["name"]):
            for address in row["ips"].split():
                yield address, row["name"]


def of_paths(file):
    for line in file:
        for hop in json.loads(line)["result"]:
            for reply in hop.get("result", []):
                if reply.get("ptr"):
                    yield reply["from"], reply["ptr"]


found = set()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    read = of_table if path.name.endswith(".csv.gz") else of_paths if path.name.endswith(".jsonl.gz") else None
    if read:
        with gzip.open(path, "rt", encoding="latin-1") as file:
            found.update(read(file))
for address, name in sorted(found):
    name = name.rstrip(".")
    if name and is_address(address) and "\n" not in name and "\t" not in name:
        print(address, name, sep="\t")
