"""The numbers of the paper (Tables 1 and 3), to stand beside ours."""

from __future__ import annotations

from tf_fenrec.config import Config

METRICS = ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")

# Test split, mean of three seeds, in the order of METRICS.
TABLE_3: dict[str, dict[str, tuple[float, ...]]] = {
    "sports": {
        "FENRec": (0.0431, 0.0621, 0.0890, 0.0299, 0.0361, 0.0429),
        "without soft labels": (0.0403, 0.0578, 0.0806, 0.0282, 0.0339, 0.0396),
        "without enduring negatives": (0.0422, 0.0616, 0.0869, 0.0292, 0.0354, 0.0417),
    },
    "beauty": {
        "FENRec": (0.0728, 0.1019, 0.1393, 0.0514, 0.0608, 0.0702),
        "without soft labels": (0.0693, 0.0968, 0.1317, 0.0496, 0.0585, 0.0673),
        "without enduring negatives": (0.0707, 0.0991, 0.1363, 0.0501, 0.0593, 0.0687),
    },
    "toys": {
        "FENRec": (0.0818, 0.1109, 0.1462, 0.0592, 0.0686, 0.0775),
        "without soft labels": (0.0789, 0.1055, 0.1392, 0.0573, 0.0659, 0.0744),
        "without enduring negatives": (0.0806, 0.1092, 0.1437, 0.0582, 0.0675, 0.0762),
    },
    "yelp": {
        "FENRec": (0.0286, 0.0485, 0.0776, 0.0182, 0.0246, 0.0319),
        "without soft labels": (0.0275, 0.0455, 0.0740, 0.0174, 0.0232, 0.0304),
        "without enduring negatives": (0.0268, 0.0454, 0.0738, 0.0170, 0.0230, 0.0301),
    },
}


def variant(config: Config) -> str:
    """What Table 3 calls a configuration, or would."""
    if not config.contrasts:
        return "SASRec with soft labels" if config.gamma else "SASRec with cross-entropy"
    if config.hard_negatives:
        return "FENRec" if config.gamma else "without soft labels"
    return "without enduring negatives" if config.gamma else "without both (ICSRec)"


def paper_row(dataset: str, config: Config) -> dict[str, float] | None:
    """The paper's test metrics of a configuration's variant, None where it has none."""
    row = TABLE_3.get(dataset, {}).get(variant(config))
    return dict(zip(METRICS, row, strict=True)) if row else None
