"""Gives a module another forward, in a way that all of its wrappers see, and takes it away again."""

from __future__ import annotations

import functools
import types

from torch import nn


@functools.lru_cache(maxsize=None)
def _derived(plain: type[nn.Module], mixin: type) -> type[nn.Module]:
    # A class and not a forward of the instance: transformers 5 wraps forwards of classes for gradient checkpointing.
    # The name stays, because FSDP, accelerate and peft look layers up by it.
    body = {"forward": mixin.__dict__["forward"], "yopo_plain": plain, "__module__": plain.__module__, "__qualname__": plain.__qualname__}
    return type(plain.__name__, (plain,), body)


def _refresh(module: nn.Module) -> None:
    """accelerate keeps the forward that it wrapped as a bound function of the class at that time."""
    if "_old_forward" in module.__dict__:
        module._old_forward = types.MethodType(type(module).forward, module)


def change_class(module: nn.Module, mixin: type) -> None:
    module.__class__ = _derived(type(module), mixin)
    _refresh(module)


def restore_class(module: nn.Module) -> None:
    plain = getattr(type(module), "yopo_plain", None)
    if plain is not None:
        module.__class__ = plain
        _refresh(module)
