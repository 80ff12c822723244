"""Attention of the rows of one kind, and the rotary embedding."""

from __future__ import annotations

import torch
from torch.nn import functional


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [N, heads, D], cos and sin [N, 1, R] of the first R of D."""
    width = cos.shape[-1]
    turned, rest = (x, None) if width == x.shape[-1] else (x[..., :width], x[..., width:])
    half = width // 2
    swapped = torch.cat([-turned[..., half:], turned[..., :half]], -1)
    turned = turned * cos + swapped * sin
    return turned if rest is None else torch.cat([turned, rest], -1)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scaling: float,
    dropout: float,
    eager: bool,
) -> torch.Tensor:
    """[B, heads, Q, D] of query, key and value [B, heads, K, D]; `mask` [B, 1, Q, K] is added to the scores."""
    if not eager:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal and mask is None, scale=scaling
        )
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if mask is not None:
        scores = scores + mask
    elif causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, torch.finfo(scores.dtype).min)
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    if dropout:
        weights = functional.dropout(weights, p=dropout)
    return torch.matmul(weights, value)
