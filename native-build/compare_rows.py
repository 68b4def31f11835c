"""Ratios of the engine benchmark's rows, new over old, for compare-benchmark.sh.

Arguments: the folder with new.1, old.1, new.2 ... as the benchmark printed them,
how many of each, the size and a part of the rows' names.
"""

import re
import statistics
import sys

LIMIT, LIMIT_IF_NOISY, NOISY = 1.05, 1.10, 0.20
OF_THE_MACHINE = re.compile("sgemm|copy")


def rows_of(path, size, part):
    """Milliseconds by name."""
    rows, within = {}, False
    with open(path, encoding="utf-8") as file:
        for line in file:
            if ": d_model " in line:
                within = line.startswith(size + ":")
            found = re.match(r"(\S.{28}\S|\S.{0,28}?) +(\d+\.\d{3})\s", line)
            if within and found and part in found[1]:
                rows[found[1]] = float(found[2])
    return rows


def main(folder, rounds, size, part):
    trees = {
        tree: [rows_of(f"{folder}/{tree}.{i + 1}", size, part) for i in range(int(rounds))]
        for tree in ("new", "old")
    }
    names = {tree: list(runs[0]) for tree, runs in trees.items()}
    both = [name for name in names["new"] if name in names["old"]]
    if not both:
        print(f"[ERROR] autocircuit: the two have no row in common that contains '{part}'", file=sys.stderr)
        return 1
    print(f"{'':30} {'old ms':>9} {'new ms':>9} {'ratio':>7}   {'middle half':15}")
    slower = 0
    for name in both:
        old = [run[name] for run in trees["old"]]
        new = [run[name] for run in trees["new"]]
        ratios = [b / a if a > 0 else 1.0 for a, b in zip(old, new)]
        middle = statistics.median(ratios)
        low, _, high = (
            statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        )
        noisy = low < (1 - NOISY) * middle or high > (1 + NOISY) * middle
        if OF_THE_MACHINE.search(name):
            verdict = "the machine itself"
        elif middle > (LIMIT_IF_NOISY if noisy else LIMIT):
            verdict, slower = "SLOWER", slower + 1
        else:
            verdict = "noisy" if noisy else ""
        print(
            f"{name:30} {statistics.median(old):9.3f} {statistics.median(new):9.3f} "
            f"{middle:7.3f}   {low:.3f} to {high:.3f}  {verdict}".rstrip()
        )
    for tree in trees:
        for name in names[tree]:
            if name not in both:
                print(f"{name:30} only in the {tree} tree")
    print(f"{len(both)} rows, {slower} slower")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
