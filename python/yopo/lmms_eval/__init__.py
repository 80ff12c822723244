"""Pruned checkpoints in lmms-eval, as its model `yopo`:

    python -m lmms_eval --model yopo --model_args pretrained=out/demo/pruned --tasks ...

The entry point `yopo` of the group `lmms_eval.models` is `manifest`; lmms-eval imports `chat` when the model is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifest() -> ModelManifest:
    """What lmms-eval has to know of the model before it is asked for."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="yopo", chat_class_path="yopo.lmms_eval.chat.Yopo")
