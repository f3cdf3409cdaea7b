"""From a batch of logits to one token per row, and the likelihoods that a client asked for."""

import random
from collections.abc import Sequence as Rows

import torch

from finetune_inference.server.sampling import Choice, Likelihoods, Sampling

NUCLEUS = 512
"""The likeliest tokens that top-p looks at first; only a flatter distribution than that is sorted whole."""


def choose(logits: torch.Tensor, asked: Rows[tuple[Sampling, random.Random]]) -> list[Choice]:
    """One token for each row of ``logits`` (rows, vocabulary)."""
    best, likeliest = logits.max(dim=-1)
    tokens: list[int] = likeliest.tolist()
    finite: list[bool] = torch.isfinite(best).tolist()
    drawn = [row for row, (sampling, _) in enumerate(asked) if not sampling.greedy and finite[row]]
    if drawn:
        for row, token in zip(drawn, _draw(logits[drawn], [asked[row] for row in drawn]), strict=True):
            tokens[row] = token
    told = [row for row, (sampling, _) in enumerate(asked) if sampling.logprobs is not None and finite[row]]
    likelihoods = _likelihoods(logits[told], [tokens[row] for row in told], [asked[row][0] for row in told]) if told else []
    by_row = dict(zip(told, likelihoods, strict=True))
    return [Choice(token, finite[row], by_row.get(row)) for row, token in enumerate(tokens)]


def _draw(logits: torch.Tensor, asked: Rows[tuple[Sampling, random.Random]]) -> list[int]:
    """By inverse distribution function, one uniform number per row."""
    heat = torch.tensor([sampling.temperature for sampling, _ in asked], device=logits.device, dtype=torch.float32)
    probabilities = torch.softmax(logits.float() / heat[:, None], dim=-1)
    points = torch.tensor([source.random() for _, source in asked], device=logits.device, dtype=torch.float32)
    if all(sampling.top_p >= 1.0 and sampling.top_k == 0 for sampling, _ in asked):
        return _at(probabilities.cumsum(-1), points)
    shares = torch.tensor([sampling.top_p for sampling, _ in asked], device=logits.device, dtype=torch.float32)
    vocabulary = probabilities.shape[-1]
    counts = torch.tensor([sampling.top_k or vocabulary for sampling, _ in asked], device=logits.device)
    ordered, order = probabilities.topk(min(NUCLEUS, vocabulary), dim=-1)
    enough = (ordered.sum(-1) >= shares) | (counts <= ordered.shape[-1])
    if not bool(enough.all()):
        ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    places = torch.arange(ordered.shape[-1], device=logits.device)
    kept = ordered * ((before < shares[:, None]) & (places[None] < counts[:, None]))
    picked = torch.tensor(_at(kept.cumsum(-1), points), device=logits.device)
    return order.gather(-1, picked[:, None])[:, 0].tolist()  # type: ignore[no-any-return]


def _at(cumulated: torch.Tensor, points: torch.Tensor) -> list[int]:
    """The first place where the cumulated mass passes the point, as a share of the whole mass."""
    target = points[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, target, right=True)[:, 0].clamp(max=cumulated.shape[-1] - 1).tolist()  # type: ignore[no-any-return]


def _likelihoods(logits: torch.Tensor, tokens: list[int], asked: list[Sampling]) -> list[Likelihoods]:
    logarithms = torch.log_softmax(logits.float(), dim=-1)
    most = max(sampling.logprobs or 0 for sampling in asked)
    values, order = logarithms.topk(max(1, most), dim=-1)
    chosen = logarithms.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    rows = zip(chosen, order.tolist(), values.tolist(), asked, strict=True)
    return [Likelihoods(own, tuple(zip(ids, numbers, strict=True))[: sampling.logprobs or 0]) for own, ids, numbers, sampling in rows]
