"""Measure trained networks in every precision on every NPU generation, resumably, and write docs/trained.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.trained.networks import NETWORKS
from benchmarks.trained.page import page

#: An NPU with half precision and one without.
CHIPSETS = ("snapdragon-8-elite", "qcs6490")
PRECISIONS = ("float", "w8a8", "w8a16", "w4a16")
_SECONDS = 3600


def main() -> None:
    """Run what is missing from the results, a process a cell, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained", description=__doc__)
    parser.add_argument("--networks", nargs="*", choices=sorted(NETWORKS), default=sorted(NETWORKS))
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--chipsets", nargs="*", default=CHIPSETS)
    parser.add_argument("--results", type=Path, required=True, help="JSON, a line a cell; none of them runs again")
    parser.add_argument("--page", type=Path, help="Markdown to write, e.g. docs/trained.md")
    arguments = parser.parse_args()
    known = read(arguments.results)
    for network in arguments.networks:
        for precision in arguments.precisions:
            for chipset in arguments.chipsets:
                if (network, precision, chipset) in known or (precision == "float" and chipset == "qcs6490"):
                    continue
                row = _run(network, precision, chipset)
                known[network, precision, chipset] = row
                with arguments.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(network, precision, chipset, row["verdict"], row.get("emulator", {}).get("figure"), flush=True)
    if arguments.page:
        arguments.page.write_text(page(list(known.values())))


def read(results: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows by network, precision and chipset."""
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return {(row["network"], row["precision"], row["chipset"]): row for row in rows}


def _run(network: str, precision: str, chipset: str) -> dict[str, Any]:
    row: dict[str, Any] = {"network": network, "precision": precision, "chipset": chipset}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "cell.json")
        command = [sys.executable, "-m", "benchmarks.trained.cell", network, precision, chipset, "--out", str(out)]
        try:
            finished = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return row | {"verdict": "failed", "said": f"took over {_SECONDS} s"}
        if not out.exists():
            return row | {"verdict": "failed", "said": finished.stderr.strip().splitlines()[-1]}
        return row | json.loads(out.read_text())


if __name__ == "__main__":
    main()
