"""Write docs/licences.md from an SBOM in CycloneDX's JSON, or check that it still says the same.

python .ci/licences.py build/sbom.json [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
#: The project itself, and pip, which brings itself along.
OWN = ("model_zoo", "pip")
HEAD = """# Licences of dependencies

What each package that `make` installs says of its own licence, tools of developers included. Written by `make licences`;
`make check` fails if it no longer holds. The same with dependencies and hashes: `build/sbom.json` (CycloneDX).
The models have licences of their own, see their READMEs.

| package | version | licence |
|---|---|---|
"""


def licence(component: dict[str, Any]) -> str:
    """The SPDX expressions of a package, or else the first line of what it says."""
    stated = []
    for entry in component.get("licenses", []):
        one = entry.get("license", {})
        text = one.get("text", {}).get("content", "").strip()
        name = one.get("name", "").removeprefix("License :: ").removeprefix("OSI Approved :: ")
        if name.startswith("declared license") and "encoding" not in one.get("text", {}):
            name = text.splitlines()[0] if text else ""
        stated.append(entry.get("expression") or one.get("id") or ("" if name.startswith("declared ") else name))
    stated = [name for name in dict.fromkeys(stated) if name]
    spdx = [name for name in stated if " License" not in name]
    return "; ".join(spdx or stated) or "not stated"


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
