"""What the served graph should answer, computed by loops in NumPy from the encoder's output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tf_fenrec.data.vocabulary import Vocabulary


class Expected(NamedTuple):
    ids: list
    scores: list[float]
    names: list[str] | None
    unknown: int
    fallback: bool


def reference(model: Any, vocabulary: Vocabulary, history: list, k: int, exclude_seen: bool) -> Expected:
    """The answer for one history; without the padding that stands for missing candidates."""
    count = vocabulary.num_items
    raw_ids = list(vocabulary.item_ids or range(1, count + 1))
    given = [raw for raw in history if raw not in ("", 0)]
    known = [raw_ids.index(raw) + 1 for raw in given if raw in raw_ids]
    if known:
        length = model.encoder.max_length
        row = np.zeros((1, length), np.int32)
        recent = known[-length:]
        row[0, length - len(recent) :] = recent
        user = np.asarray(model.encoder(row), np.float32)[0]
        table = np.asarray(model.encoder.item_embeddings)
        scored = [(float(np.dot(table[item], user)), item) for item in range(1, count + 1)]
        if exclude_seen:
            scored = [(score, item) for score, item in scored if item not in known]
        scored.sort(key=lambda pair: -pair[0])
    else:
        scored = [(0.0, item) for item in vocabulary.popular]
    best = [item for _, item in scored[:k]]
    names = None
    if vocabulary.item_names is not None:
        names = [vocabulary.item_names[item - 1] or str(raw_ids[item - 1]) for item in best]
    return Expected(
        ids=[raw_ids[item - 1] for item in best],
        scores=[score for score, _ in scored[:k]],
        names=names,
        unknown=len(given) - len(known),
        fallback=not known,
    )
