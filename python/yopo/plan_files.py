"""Plans: what each decoder layer computes for visual tokens.

Read from the "yopo" object of an exported checkpoint's config.json (versions 1 to 3) or from a plan.json (versions 1
and 2); docs/formats.md describes both.
"""

from __future__ import annotations

import difflib
import json
import pathlib
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from .errors import Error


class PlanError(Error):
    """A plan, a checkpoint or a call that cannot be run pruned. The message says what was expected and found."""


@dataclass(frozen=True)
class Window:
    """A visual query reads visual keys within (size - 1) / 2 rows and columns of its own picture."""

    size: int
    causal: bool


@dataclass(frozen=True)
class LayerPlan:
    """One layer. `heads`, `updates`: a flag for each query head. `neurons`: indices, None for all."""

    alive: bool
    window: Window | None
    heads: tuple[bool, ...]
    updates: tuple[bool, ...]
    neurons: tuple[int, ...] | None
    rank: int | None = None  # of the compensation; None: there is none


@dataclass(frozen=True)
class Plan:
    """`layers` in the order of the model. `ordered`: what is kept stands first in the weights already, as export leaves
    them. `budget`: its name where the checkpoint has several. `compensation_file` holds the compensation's tensors
    under `compensation_prefix`."""

    layers: tuple[LayerPlan, ...]
    ordered: bool
    source: str
    budget: str | None = None
    compensation_file: pathlib.Path | None = None
    compensation_prefix: str = ""

    def __repr__(self) -> str:
        alive = sum(layer.alive for layer in self.layers)
        budget = f", budget {self.budget}" if self.budget else ""
        return f"Plan({self.source}: {len(self.layers)} layers, visual tokens in {alive}{budget})"


@dataclass(frozen=True)
class Sizes:
    """What a plan has to fit."""

    layers: int
    heads: int
    kv_heads: int
    neurons: int


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """Of a config.json as dict, flat or nested."""
    text = config.get("text_config") or config.get("llm_config") or config
    try:
        heads = int(text["num_attention_heads"])
        return Sizes(int(text["num_hidden_layers"]), heads, int(text.get("num_key_value_heads") or heads), int(text["intermediate_size"]))
    except KeyError as missing:
        raise PlanError(f"config.json has no {missing}, which says how large the decoder is") from None


def _fail(source: str, where: str, expected: str, found: Any) -> PlanError:
    return PlanError(f"{source}: {where}: expected {expected}, found {json.dumps(found)[:80]}")


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _check_keys(source: str, where: str, found: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PlanError(f"{source}: {where}: unknown key {json.dumps(key)}{hint}")


def _window(source: str, where: str, found: Any) -> Window | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not _is_count(found.get("size"), 1 << 30) or found["size"] % 2 == 0:
        raise _fail(source, where + ".window", 'null or {"size": an odd number, "causal": ...}', found)
    if not isinstance(found.get("causal", False), bool):
        raise _fail(source, where + ".window.causal", "true or false", found["causal"])
    return Window(found["size"], found.get("causal", False))


def _flags(source: str, where: str, found: Any, count: int) -> tuple[bool, ...]:
    if not isinstance(found, list) or len(found) != count or any(flag not in (0, 1) for flag in found):
        raise _fail(source, where, f"{count} flags, 0 or 1", found)
    return tuple(bool(flag) for flag in found)


def _group_flags(source: str, where: str, found: Any, sizes: Sizes) -> tuple[bool, ...]:
    """Counts (or flags) a KV group as flags of query heads."""
    inside = sizes.heads // sizes.kv_heads
    if not isinstance(found, list) or len(found) != sizes.kv_heads:
        raise _fail(source, where, f"{sizes.kv_heads} entries, one for each KV head", found)
    flags: list[bool] = []
    for index, entry in enumerate(found):
        if isinstance(entry, list):
            flags += _flags(source, f"{where}[{index}]", entry, inside)
        elif _is_count(entry, inside):
            flags += [position < entry for position in range(inside)]
        else:
            raise _fail(source, f"{where}[{index}]", f"a count up to {inside}", entry)
    return tuple(flags)


def _rank(source: str, where: str, found: Any) -> int | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not _is_count(found.get("rank"), 1 << 20):
        raise _fail(source, where + ".compensation", '{"rank": a number}', found)
    return found["rank"]


def _checked(source: str, layers: list[LayerPlan]) -> tuple[LayerPlan, ...]:
    for index, layer in enumerate(layers):
        if any(update and not head for head, update in zip(layer.heads, layer.updates)):
            raise PlanError(f"{source}: layers[{index}].updates: a head that visual queries compute must be kept, too")
        if layer.alive and index and not layers[index - 1].alive:
            raise PlanError(f"{source}: layers[{index}] is alive, but the one before it is not")
    return tuple(layers)


def _pruned_layers(source: str, found: Any, sizes: Sizes) -> tuple[LayerPlan, ...]:
    if not isinstance(found, list) or len(found) != sizes.layers:
        count = len(found) if isinstance(found, list) else 0
        raise PlanError(f"{source}: layers: expected {sizes.layers} layers as the model has, found {count}")
    every = (True,) * sizes.heads
    layers = []
    for index, entry in enumerate(found):
        where = f"layers[{index}]"
        if not isinstance(entry, dict):
            raise _fail(source, where, "an object", entry)
        _check_keys(source, where, entry, ("alive", "window", "heads", "updates", "neurons", "compensation"))
        heads = _group_flags(source, where + ".heads", entry["heads"], sizes) if "heads" in entry else every
        updates = _group_flags(source, where + ".updates", entry["updates"], sizes) if "updates" in entry else heads
        neurons = entry.get("neurons")
        if neurons is not None and not _is_count(neurons, sizes.neurons):
            raise _fail(source, where + ".neurons", f"a count up to {sizes.neurons}", neurons)
        if not isinstance(entry.get("alive", True), bool):
            raise _fail(source, where + ".alive", "true or false", entry["alive"])
        layers.append(
            LayerPlan(
                entry.get("alive", True),
                _window(source, where, entry.get("window")),
                heads,
                updates,
                None if neurons is None else tuple(range(neurons)),
                _rank(source, where, entry.get("compensation")),
            )
        )
    return _checked(source, layers)


def _first_version(source: str, found: Mapping[str, Any], sizes: Sizes, grouped: bool) -> tuple[LayerPlan, ...]:
    """Version 1 of both files: one window and one depth, and arrays with an entry a layer."""
    depth = found.get("visual_layers", sizes.layers)
    if not _is_count(depth, sizes.layers):
        raise _fail(source, "visual_layers", f"a count up to {sizes.layers}", depth)
    window = _window(source, "plan", found.get("window"))
    columns: dict[str, list[Any]] = {}
    for name in ("heads", "updates", "ffn"):
        column = found.get(name)
        if column is None:
            columns[name] = [None] * sizes.layers
        elif isinstance(column, list) and len(column) == sizes.layers:
            columns[name] = column
        else:
            count = len(column) if isinstance(column, list) else 0
            raise PlanError(f"{source}: {name}: expected {sizes.layers} layers as the model has, found {count}")
    every = (True,) * sizes.heads

    def flags(name: str, index: int, fallback: tuple[bool, ...]) -> tuple[bool, ...]:
        entry = columns[name][index]
        if entry is None:
            return fallback
        where = f"{name}[{index}]"
        return _group_flags(source, where, entry, sizes) if grouped else _flags(source, where, entry, sizes.heads)

    layers = []
    for index in range(sizes.layers):
        heads = flags("heads", index, every)
        entry = columns["ffn"][index]
        neurons = _neurons(source, f"ffn[{index}]", tuple(range(entry)) if grouped and _is_count(entry, sizes.neurons) else entry, sizes)
        layers.append(LayerPlan(index < depth, window, heads, flags("updates", index, heads), neurons))
    return _checked(source, layers)


def _neurons(source: str, where: str, found: Any, sizes: Sizes) -> tuple[int, ...] | None:
    if found is None:
        return None
    if not isinstance(found, (list, tuple)) or not all(_is_count(n, sizes.neurons - 1) for n in found) or list(found) != sorted(set(found)):
        raise _fail(source, where, f"ascending neurons below {sizes.neurons}", found)
    return tuple(found)


def budgets_of(path: str | pathlib.Path) -> list[str]:
    """The budgets that an elastic checkpoint holds plans for, its default first; none where it holds one plan."""
    found = _read_json(pathlib.Path(path) / "config.json").get("yopo")
    if not isinstance(found, dict) or not isinstance(found.get("plans"), dict):
        return []
    default = found.get("default")
    return sorted(found["plans"], key=lambda name: name != default)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise PlanError(f"{path}: no JSON: {error}") from None
    if not isinstance(found, dict):
        raise PlanError(f"{path}: expected a JSON object")
    return found


def plan_of_checkpoint(
    path: str | pathlib.Path, budget: float | str | None = None, decoder: Mapping[str, Any] | None = None
) -> Plan:
    """The plan of an exported checkpoint. `budget` picks one of an elastic checkpoint's; None: its default. `decoder`:
    the decoder's config with defaults filled in, where config.json leaves some out."""
    folder = pathlib.Path(path)
    config = _read_json(folder / "config.json")
    source = str(folder / "config.json")
    found = config.get("yopo")
    if found is None:
        raise PlanError(f'{source}: no "yopo" object, so this checkpoint has no plan; `yopo export` writes one')
    if not isinstance(found, dict) or found.get("format") != "yopo-pruned":
        raise PlanError(f'{source}: "yopo" is not of format yopo-pruned')
    version, sizes, prefix, name = found.get("version"), sizes_of(decoder or config), "", None
    if version == 3:
        plans = found.get("plans")
        if not isinstance(plans, dict) or found.get("default") not in plans:
            raise PlanError(f'{source}: "yopo" of version 3 needs "plans" and a "default" among them')
        name = found["default"] if budget is None else _budget_name(source, plans, budget)
        prefix, found = f"budgets.{name}.", plans[name]
    elif version not in (1, 2):
        raise PlanError(f'{source}: "yopo" has version {json.dumps(version)}; this release reads 1 to 3')
    elif budget is not None:
        raise PlanError(f"{source}: a budget is given ({budget}), but the checkpoint has one plan only")
    if version == 1:
        layers = _first_version(source, found, sizes, grouped=True)
    else:
        layers = _pruned_layers(source, found.get("layers"), sizes)
    return _with_compensation(Plan(layers, True, source, name), folder / "yopo.safetensors", prefix)


def _budget_name(source: str, plans: Mapping[str, Any], budget: float | str) -> str:
    for name in plans:
        try:
            if float(name) == float(budget):
                return name
        except ValueError:
            continue
    raise PlanError(f"{source}: no plan for budget {budget}; there are {', '.join(plans)}")


def _with_compensation(plan: Plan, file: pathlib.Path, prefix: str) -> Plan:
    if all(layer.rank is None for layer in plan.layers):
        return plan
    if not file.is_file():
        raise PlanError(f"{file}: missing; {plan.source} says that layers have compensation")
    return Plan(plan.layers, plan.ordered, plan.source, plan.budget, file, prefix)


def read_plan(path: str | pathlib.Path, config: Mapping[str, Any]) -> Plan:
    """A plan.json, for the model whose config.json is `config` (its sizes have to fit)."""
    file = pathlib.Path(path)
    found, source, sizes = _read_json(file), str(file), sizes_of(config)
    if found.get("format") != "yopo-plan":
        raise PlanError(f"{source}: expected format yopo-plan, found {json.dumps(found.get('format'))}")
    if found.get("semantics") != "skip":
        raise PlanError(f"{source}: semantics {json.dumps(found.get('semantics'))}: only skip can be computed with less")
    if found.get("version") == 1:
        return Plan(_first_version(source, found, sizes, grouped=False), False, source)
    if found.get("version") != 2:
        raise PlanError(f"{source}: version {json.dumps(found.get('version'))}; this release reads 1 and 2")
    entries = found.get("layers")
    if not isinstance(entries, list) or len(entries) != sizes.layers:
        count = len(entries) if isinstance(entries, list) else 0
        raise PlanError(f"{source}: layers: expected {sizes.layers} layers as the model has, found {count}")
    layers = []
    for index, entry in enumerate(entries):
        where = f"layers[{index}]"
        if not isinstance(entry, dict):
            raise _fail(source, where, "an object", entry)
        _check_keys(source, where, entry, ("alive", "window", "heads", "updates", "neurons", "compensation"))
        heads = _flags(source, where + ".heads", entry.get("heads"), sizes.heads)
        updates = _flags(source, where + ".updates", entry["updates"], sizes.heads) if "updates" in entry else heads
        layers.append(
            LayerPlan(
                entry.get("alive", True) is True,
                _window(source, where, entry.get("window")),
                heads,
                updates,
                _neurons(source, where + ".neurons", entry.get("neurons"), sizes),
                _rank(source, where, entry.get("compensation")),
            )
        )
    plan = Plan(_checked(source, layers), False, source)
    named = (found.get("compensation") or {}).get("file", "plan.safetensors")
    return _with_compensation(plan, file.parent / pathlib.Path(named).name, "")
