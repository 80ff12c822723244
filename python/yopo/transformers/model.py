"""Puts a plan on a model of transformers, takes it off, and reads and writes pruned checkpoints."""

from __future__ import annotations

import contextlib
import inspect
import json
import pathlib
import shutil
from typing import Any, Iterator

from torch import nn

from ..plan_files import LayerPlan, Plan, PlanError, plan_of_checkpoint, read_plan
from .cache import PrunedCacheLayer
from .classes import change_class, restore_class
from .compensation import read_compensation
from .families import LAYERS, decoder_sizes, find_model, rotary_sections
from .hooks import Watcher
from .layer import PrunedLayer, make_shares
from .linear import accept_slices, refuse_slices
from .reorder import Order, check_orderable, inverse, order_of, reorder_layer, reordered

_PLAIN = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
_FUSED = ("self_attn.qkv_proj", "mlp.gate_up_proj")
_BOTH = ("self_attn.o_proj", "mlp.down_proj")


class _Applied:
    """What `remove` has to undo."""

    def __init__(self, plan: Plan, watcher: Watcher, orders: list[Order]) -> None:
        self.plan, self.watcher, self.orders = plan, watcher, orders


def load(path: str | pathlib.Path, *, budget: float | str | None = None, **from_pretrained_arguments: Any) -> Any:
    """A checkpoint that `yopo export` wrote, as its own class of transformers, pruned. `budget` picks one of an elastic
    checkpoint's plans. PlanError where there is no plan, or no class that is known."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder = pathlib.Path(path)
    if not (folder / "config.json").is_file():
        raise PlanError(f"{folder}: no config.json there; expected the folder of a checkpoint that `yopo export` wrote")
    passed = {name: from_pretrained_arguments[name] for name in ("trust_remote_code",) if name in from_pretrained_arguments}
    try:
        config = AutoConfig.from_pretrained(folder, **passed)
    except (ValueError, KeyError) as error:
        raise PlanError(f"{folder}: transformers does not know this model: {error}") from error
    plan = plan_of_checkpoint(folder, budget, config.get_text_config().to_dict())
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, **from_pretrained_arguments)
    except ValueError as error:
        raise PlanError(f"{folder}: transformers cannot load this model: {error}") from error
    return apply(model, plan)


def apply(model: nn.Module, plan: Plan | str | pathlib.Path, *, budget: float | str | None = None) -> Any:
    """Makes a model run pruned, in place, and returns it. `plan`: the folder of the exported checkpoint that the weights
    are from, or a plan.json for a model that is no export (its heads and neurons are put in the plan's order first, which
    `remove` undoes), or a Plan. PlanError where they do not fit; the model then stays as it was."""
    if is_applied(model):
        raise PlanError("the model runs pruned already: yopo.transformers.remove(model) first")
    outer, decoder, family = find_model(model)
    config, sizes = decoder.config, decoder_sizes(decoder.config)
    plan = _resolve(plan, outer.config, config, budget)
    _check_sizes(plan, sizes)
    fused = LAYERS[type(decoder.layers[0]).__name__]
    compensations = read_compensation(plan, config.hidden_size)
    names = (*(_FUSED if fused else _PLAIN), *_BOTH)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers, orders = list(plan.layers), []
    if not plan.ordered:
        orders = [order_of(layer, sizes) for layer in layers]
        layers = [reordered(layer, order) for layer, order in zip(layers, orders)]
    try:
        for index, layer in enumerate(decoder.layers):
            for name in names:
                accept_slices(layer.get_submodule(name), f"layers.{index}.{name}")
                if not plan.ordered:
                    check_orderable(layer.get_submodule(name))
    except PlanError:
        _plain_again(decoder, names)
        raise
    for layer, order in zip(decoder.layers, orders):
        reorder_layer(layer, order, sizes, head_dim, fused)
    tuples = _takes_tuple(type(decoder))
    eager, sections = config._attn_implementation == "eager", rotary_sections(config)
    for layer, entry, compensation in zip(decoder.layers, layers, compensations):
        layer.yopo = make_shares(entry, sizes, head_dim, fused, eager, sections)
        layer.yopo_tuple = tuples
        if compensation is not None:
            layer.yopo_compensation = compensation.to(device=layer.input_layernorm.weight.device, dtype=layer.input_layernorm.weight.dtype)
        change_class(layer, PrunedLayer)
    windows = any(layer.alive and layer.window is not None for layer in layers)
    alive = sum(layer.alive for layer in layers)
    outer.yopo_applied = _Applied(plan, Watcher(outer, decoder, family, len(layers), alive, windows), orders)
    return model


def remove(model: nn.Module) -> Any:
    """Gives the dense model back: the same classes, and weights in the order that they had."""
    outer, decoder, _ = find_model(model)
    applied: _Applied | None = getattr(outer, "yopo_applied", None)
    if applied is None:
        raise PlanError("the model does not run pruned")
    applied.watcher.remove()
    for layer in decoder.layers:
        restore_class(layer)
    fused = LAYERS[type(decoder.layers[0]).__name__]
    _plain_again(decoder, (*(_FUSED if fused else _PLAIN), *_BOTH))
    for index, order in enumerate(applied.orders):
        shares = decoder.layers[index].yopo
        reorder_layer(decoder.layers[index], inverse(order), shares.sizes, shares.head_dim, fused)
    for layer in decoder.layers:
        del layer.yopo, layer.yopo_tuple
        if hasattr(layer, "yopo_compensation"):
            del layer.yopo_compensation
    del outer.yopo_applied
    return model


@contextlib.contextmanager
def dense(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes what the dense one does, with the same weights: as a teacher, or to compare with. Not with
    a cache that the pruned model filled, nor the other way round."""
    watchers = [module.yopo_applied.watcher for module in model.modules() if hasattr(module, "yopo_applied")]
    if not watchers:
        raise PlanError("the model does not run pruned")
    before = [watcher.off for watcher in watchers]
    for watcher in watchers:
        watcher.off = True
    try:
        yield
    finally:
        for watcher, was in zip(watchers, before):
            watcher.off = was


def is_applied(model: nn.Module) -> bool:
    return any(hasattr(module, "yopo_applied") for module in model.modules())


def plan_in_use(model: nn.Module) -> Plan:
    for module in model.modules():
        if hasattr(module, "yopo_applied"):
            return module.yopo_applied.plan
    raise PlanError("the model does not run pruned")


def save(model: nn.Module, path: str | pathlib.Path, **save_pretrained_arguments: Any) -> None:
    """A pruned checkpoint again, for instance after training: weights, config.json with its "yopo" object, and
    yopo.safetensors. Only for models of an exported checkpoint, whose weights are in the plan's order."""
    plan = plan_in_use(model)
    if not plan.ordered:
        raise PlanError("the model was pruned by a plan.json: `yopo export` writes its checkpoint")
    model.save_pretrained(path, **save_pretrained_arguments)
    write_plan(plan, path)


def write_plan(plan: Plan, path: str | pathlib.Path) -> None:
    """Puts the plan of an exported checkpoint beside weights in its order that something else saved: the "yopo" object
    into `path`/config.json, and yopo.safetensors."""
    source, folder = pathlib.Path(plan.source).parent, pathlib.Path(path)
    config = json.loads((folder / "config.json").read_text())
    config["yopo"] = json.loads((source / "config.json").read_text())["yopo"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if source.resolve() == folder.resolve():
        return
    if plan.compensation_file is not None:
        shutil.copy2(plan.compensation_file, folder / plan.compensation_file.name)
    for code in (*source.glob("modeling_yopo.py"), *source.glob("yopo_*.py")):  # what config.json's auto_map names
        shutil.copy2(code, folder / code.name)


def cache_bytes(cache: Any) -> int:
    """Bytes of keys and values that a pruned model's cache holds."""
    layers = getattr(cache, "layers", [])
    if not layers or not all(isinstance(layer, PrunedCacheLayer) for layer in layers):
        raise PlanError("no cache of a pruned model")
    return sum(layer.nbytes for layer in layers)


def _resolve(plan: Plan | str | pathlib.Path, outer: Any, config: Any, budget: float | str | None) -> Plan:
    if not isinstance(plan, Plan):
        path = pathlib.Path(plan)
        if path.is_dir():
            plan = plan_of_checkpoint(path, budget, config.to_dict())
        elif budget is not None:
            raise PlanError(f"{path}: a budget picks one of an elastic checkpoint's plans, and this is a file")
        else:
            plan = read_plan(path, config.to_dict())
    elif budget is not None:
        raise PlanError("a budget picks one of an elastic checkpoint's plans, and this is a plan")
    if not plan.ordered and getattr(outer, "yopo", None) is not None:
        raise PlanError(f"{plan.source}: the model is an export, whose heads and neurons stand in another order than a plan.json's")
    return plan


def _check_sizes(plan: Plan, sizes: Any) -> None:
    def refuse(what: str, expected: int, found: int) -> None:
        raise PlanError(f"{plan.source}: the plan is for another model: the model has {expected} {what}, the plan {found}")

    if len(plan.layers) != sizes.layers:
        refuse("layers", sizes.layers, len(plan.layers))
    for layer in plan.layers:
        if len(layer.heads) != sizes.heads:
            refuse("heads", sizes.heads, len(layer.heads))
        if layer.neurons and layer.neurons[-1] >= sizes.neurons:
            refuse("neurons", sizes.neurons, layer.neurons[-1] + 1)


def _plain_again(decoder: Any, names: tuple[str, ...]) -> None:
    for layer in decoder.layers:
        for name in names:
            refuse_slices(layer.get_submodule(name))


def _takes_tuple(decoder: type) -> bool:
    """Whether decoders of this release and family expect a tuple of their layers. Only the source tells: some layers'
    annotations promise a tuple where they give a tensor."""
    return "layer_outputs[0]" in inspect.getsource(inspect.unwrap(decoder.forward))
