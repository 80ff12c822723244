"""A loss that asks the pruned model for what the dense model says: what pruning lost is the difference between the two."""

import contextlib

import torch
from conversations import IGNORED
from torch.nn import functional

import yopo.transformers


def divergence(student, teacher, labels, temperature, count=None):
    """KL of the teacher's distribution to the student's where the loss is on a label; logits [B, T, V], labels [B, T]. The
    mean over the answers' tokens, or their sum over `count`, of all processes and steps of one update. Times the square of
    the temperature, which keeps gradients of one size."""
    asked = labels[:, 1:] != IGNORED
    mine, wanted = (functional.log_softmax(logits[:, :-1][asked].float() / temperature, -1) for logits in (student, teacher))
    total = functional.kl_div(mine, wanted, reduction="sum", log_target=True) * temperature**2
    return total / (asked.sum().clamp(min=1) if count is None else count)


class OwnWeights:
    """The teacher of adapters: the model that is trained, without them and without pruning. Costs no memory."""

    def __init__(self, model):
        self.model = model  # peft's

    @torch.no_grad()
    def logits(self, wrapped, inputs):
        """`wrapped`: the model as DDP or FSDP call it."""
        training = self.model.training
        self.model.eval()
        with self.model.disable_adapter(), _unpruned(self.model):
            found = wrapped(**inputs).logits
        self.model.train(training)
        return found


class Copy:
    """The teacher where weights change: the checkpoint once more, dense and frozen."""

    def __init__(self, model):
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def logits(self, wrapped, inputs):
        device = inputs["input_ids"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        return self.model(**inputs).logits


def _unpruned(model):
    return yopo.transformers.dense(model) if yopo.transformers.is_applied(model) else contextlib.nullcontext()
