"""The precision "auto": the fewest bytes of weights and activations that still keep the metric.

The cheapest build has 4-bit weights and 8-bit activations. Each tensor can be upgraded: weights to 8 bits, activations
to 16. The upgrades are ranked by the noise at the outputs that they save for each byte that they cost, and the shortest
beginning of this list that keeps the metric is found by bisection. Every candidate is really quantized, and scored on
the host CPU on samples of the calibration split: what an evaluation prints later, on the test split, is then unseen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from model_zoo.evaluators.base import Score
from model_zoo.pipeline.backend_runs import BackendRuns, untracked
from model_zoo.pipeline.layers import sensitivity
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.plan import Plan, SearchPlan
from model_zoo.pipeline.samples import Selection, select_samples
from model_zoo.pipeline.stages import ComponentBuild
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.measurement import Sensitivity
from model_zoo.utils.code_digest import code_digest, own_file
from model_zoo.utils.errors import ModelZooError

#: Bisection ends when what is left to save is less than this share of the w8a8 build's bytes.
_RESOLUTION = 0.01


@dataclass(frozen=True)
class Upgrade:
    """More bits for one tensor: the noise over signal power at the outputs that this saves, and the bytes it costs."""

    kind: str
    tensor: str
    saved: float
    bytes: float


@dataclass(frozen=True)
class Cost:
    """Bytes of all weights, and of all activations of one run that can have 8 or 16 bits."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.activations


@dataclass(frozen=True)
class Candidate:
    """An assignment that was quantized and scored on the host CPU, and its drop against torch on the same samples."""

    assignment: Assignment
    cost: Cost
    score: Score
    drop: float


@dataclass(frozen=True)
class Search:
    """How an assignment was found.

    Args:
        max_drop: How much it may lose against torch, in the unit of the metric.
        chosen: The cheapest of them that keeps the metric.
        references: What well-known precisions cost, by name.
    """

    planned: SearchPlan
    max_drop: float
    torch: Score
    tried: tuple[Candidate, ...]
    chosen: Candidate
    weights: int
    activations: int
    references: dict[str, Cost]

    def to_json(self) -> dict[str, Any]:
        tried = [{"cost": asdict(c.cost), "score": c.score.model_dump(), "drop": c.drop} for c in self.tried]
        return {
            "scored_on": asdict(self.planned),
            "max_drop": self.max_drop,
            "torch": self.torch.model_dump(),
            "tried": tried,
            "chosen": {"cost": asdict(self.chosen.cost), "drop": self.chosen.drop, **asdict(self.chosen.assignment)},
            "references": {name: asdict(cost) for name, cost in self.references.items()},
        }


def find_assignments(plan: Plan, builds: dict[str, ComponentBuild]) -> dict[str, Search]:
    """Search the assignment of every component; each stage is cached, so that a stopped search goes on where it was.

    Raises:
        ModelZooError: Not even the dearest assignment keeps the metric.
    """
    return {name: _search(builds[name], planned) for name, planned in plan.auto.items()}


def assigned(builds: Mapping[str, ComponentBuild], searches: Mapping[str, Search]) -> dict[str, ComponentBuild]:
    """The builds, with the bits that searches found for their tensors."""
    bits = {name: search.chosen.assignment for name, search in searches.items()}
    return {name: replace(build, assignment=bits.get(name)) for name, build in builds.items()}


def ranked_upgrades(sensitivities: Sequence[Sensitivity]) -> list[Upgrade]:
    """The upgrade that saves most noise for each byte first."""
    in_8_bits = {each.tensor: each.noise for each in sensitivities if each.kind == "weights" and each.bits == 8}
    upgrades = []
    for each in sensitivities:
        if each.kind == "activation":
            upgrades.append(Upgrade(each.kind, each.tensor, each.noise, each.elements))
        elif each.bits == 4:
            upgrades.append(Upgrade(each.kind, each.tensor, each.noise - in_8_bits[each.tensor], each.elements / 2))
    return sorted(upgrades, key=lambda upgrade: (-upgrade.saved / upgrade.bytes, upgrade.tensor))


def assignment_of(upgrades: Sequence[Upgrade], count: int) -> Assignment:
    """The bits of every tensor when the first upgrades are made."""
    made = sorted(upgrade.tensor for upgrade in upgrades[:count] if upgrade.kind == "activation")
    left = sorted(upgrade.tensor for upgrade in upgrades[count:] if upgrade.kind == "weights")
    return Assignment(activations_16bit=tuple(made), weights_4bit=tuple(left))


def cost_of(sensitivities: Sequence[Sensitivity], assignment: Assignment) -> Cost:
    narrow, wide = set(assignment.weights_4bit), set(assignment.activations_16bit)
    weights = [each for each in sensitivities if each.kind == "weights" and each.bits == 8]
    activations = [each for each in sensitivities if each.kind == "activation"]
    return Cost(
        weights=sum((each.elements + 1) // 2 if each.tensor in narrow else each.elements for each in weights),
        activations=sum(each.elements * (2 if each.tensor in wide else 1) for each in activations),
    )


def shortest(spent: Sequence[float], keeps: Callable[[int], bool], resolution: float) -> int | None:
    """How many of the first upgrades are enough, found by bisection.

    Args:
        spent: Bytes that the first n upgrades cost together, for n from 0 to all.
        keeps: Whether the first n keep the metric.
        resolution: Fewer bytes than this are not worth another try.

    Returns:
        None: not even all are enough.
    """
    bad, good = 0, len(spent) - 1
    if keeps(bad):
        return bad
    if not keeps(good):
        return None
    while good - bad > 1 and spent[good] - spent[bad] > resolution:
        middle = bisect_left(spent, (spent[bad] + spent[good]) / 2)
        middle = min(max(middle, bad + 1), good - 1)
        bad, good = (bad, middle) if keeps(middle) else (middle, good)
    return good


def _search(build: ComponentBuild, planned: SearchPlan) -> Search:
    sensitivities = sensitivity(build)
    upgrades = ranked_upgrades(sensitivities)
    spent = list(accumulate((upgrade.bytes for upgrade in upgrades), initial=0.0))
    dataset = build.facts.dataset(planned.dataset, "calibration")
    size = BackendRuns(build, None, compare=True, workers=1).bytes_per_sample()
    selection = select_samples(dataset, build.facts.inputs, planned.samples, planned.seed, size)
    metric = build.new_evaluator().metric
    max_drop = metric.max_drop if planned.max_drop is None else planned.max_drop
    torch = _score(build, selection, Backend.TORCH, "score torch on calibration samples")
    tried: dict[int, Candidate] = {}

    def keeps(count: int) -> bool:
        assignment = assignment_of(upgrades, count)
        cost = cost_of(sensitivities, assignment)
        title = f"try {cost.weights / 1e6:.3g} MB weights, {cost.activations / 1e6:.3g} MB activations"
        score = _score(replace(build, assignment=assignment), selection, Backend.CPU, title)
        tried[count] = Candidate(assignment, cost, score, metric.drop(torch.value, score.value))
        return tried[count].drop <= max_drop

    widest = Assignment(activations_16bit=assignment_of(upgrades, len(upgrades)).activations_16bit)
    references = {"w8a8": cost_of(sensitivities, Assignment()), "w8a16": cost_of(sensitivities, widest)}
    if shortest(spent, keeps, _RESOLUTION * references["w8a8"].total) is None:
        best = min(tried.values(), key=lambda candidate: candidate.drop)
        raise ModelZooError(
            f"{build.component}: no assignment keeps {metric.name} within {max_drop:g} {metric.unit} of torch; the "
            f"best of {len(tried)}, {best.cost.total / 1e6:.3g} MB, loses {best.drop:.3g} {metric.unit} "
            f"({best.score.value:.4g} against {torch.value:.4g} on {planned.samples} calibration samples)",
            f'allow more with max_drop={best.drop:.3g}, calibrate on other samples, or use precision="float"',
        )
    kept = [candidate for candidate in tried.values() if candidate.drop <= max_drop]
    weights = len(assignment_of(upgrades, 0).weights_4bit)
    return Search(
        planned=planned,
        max_drop=max_drop,
        torch=torch,
        tried=tuple(tried.values()),
        chosen=min(kept, key=lambda candidate: candidate.cost.total),
        weights=weights,
        activations=len(upgrades) - weights,
        references=references,
    )


def _score(build: ComponentBuild, selection: Selection, backend: Backend, title: str) -> Score:
    runs = BackendRuns(build, None, compare=backend is Backend.TORCH, workers=1)

    def make(folder: Path) -> dict[str, Any]:
        return runs.collected(runs.run(selection, (backend,), untracked)[backend]).score().model_dump()

    made = build.lowered().files if backend is Backend.CPU else None
    code = code_digest(data=own_file(runs.collected))
    network = [build.source.key, build.component, build.facts.evaluator]
    key = [code, *network, made, selection.whole.fingerprint, *build.tools]
    return Score.model_validate(build.stage(title, "search", key, make, *runs.code(backend)).value)
