"""Write docs/licences.md from an SBOM in CycloneDX's JSON, or check that it still says the same.

python .ci/licences.py build/sbom.json [--check]
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
#: The project itself, and pip, which brings itself along.
OWN = ("model_zoo", "pip")
HEAD = """# Licences of dependencies

What each package that `make` installs says of its own licence, tools of developers included. `make licences` writes
this page, `make check` fails if it no longer holds. What depends on what: `build/sbom.json` (CycloneDX).
The models have licences of their own, see their READMEs.

| package | version | licence |
|---|---|---|
"""


def licence(component: dict[str, Any]) -> str:
    """The SPDX expressions of a package, or else what it says in its own words."""
    stated = [_name(entry) for entry in component.get("licenses", [])]
    spdx = [name for name in stated if " License" not in name]
    return "; ".join(dict.fromkeys(spdx or stated)) or metadata(component["name"]).get("License") or "not stated"


def _name(entry: dict[str, Any]) -> str:
    one = entry.get("license", {})
    named = entry.get("expression") or one.get("id") or one["name"]
    return str(named).removeprefix("License :: ").removeprefix("OSI Approved :: ")


def page(sbom: dict[str, Any]) -> str:
    """The page for an SBOM."""
    rows = [(c["name"], c["version"], licence(c)) for c in sbom["components"] if c["name"] not in OWN]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in sorted(rows, key=lambda row: row[0].lower()))


if __name__ == "__main__":
    text = page(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    if "--check" not in sys.argv:
        PAGE.write_text(text, "utf-8")
    elif PAGE.read_text("utf-8") != text:
        sys.exit("error: docs/licences.md is not what the installed packages say; run `make licences`")
