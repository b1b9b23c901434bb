"""What `make` installs is written down, with its hashes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(
    r"^([A-Za-z0-9_.-]+)==([^\s;]+)(?: ;[^\n]*?)?((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE
)


def pins(file: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package."""
    found = _PIN.findall((ROOT / file).read_text("utf-8"))
    return {name: (version, hashes.count("--hash")) for name, version, hashes in found}


def test_the_lock_has_every_pin_with_hashes() -> None:
    wanted, locked = pins("global_requirements.txt"), pins("requirements.lock")
    assert len(wanted) > 100
    assert {name: locked.get(name, ("absent", 0))[0] for name in wanted} == {n: v for n, (v, _) in wanted.items()}
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert len(locked) == len([line for line in lines if line[0].isalpha()]), "a line escaped the pattern"


def test_licences_are_listed_for_every_pin() -> None:
    listed = (ROOT / "docs" / "licences.md").read_text("utf-8").lower().replace("_", "-").replace(".", "-")
    assert [name for name in pins("requirements.lock") if f"| {name.replace('.', '-')} |" not in listed] == []
