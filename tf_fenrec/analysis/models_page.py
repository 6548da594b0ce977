"""docs/models.md, written from the systems, the paper's tables and the results of runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tf_fenrec.analysis.results import Result, read_results
from tf_fenrec.data.demo import demo_dataset
from tf_fenrec.files import write_text
from tf_fenrec.paper import DATASETS, OWN_NDCG_20, TABLE_1, TABLE_2
from tf_fenrec.systems import SYSTEMS, build_model, preset, system

if TYPE_CHECKING:
    from tf_fenrec.systems.base import SequenceModel

MENDED = """\
## What was mended

Where a released program does something else than its paper says, the paper's behaviour is the default here.

| system | released program | here | what it may do to the published row |
|---|---|---|---|
| CL4SRec (in DuoRec's repository) | its loader writes masks and shuffles into the stored training data; after 20 epochs 90 to 99% of the input items are masks | copies are augmented | the row of Table 1 is far below other systems with the same loss, which fits corrupted inputs |
| CoSeRec, ICLRec | crops and shuffles never reach the last item (a start too few) | they may | small |
| CoSeRec | with a length threshold, reorder shuffles 70% of a sequence, the ratio of the mask | its own ratio, 20% | unknown |
| ICLRec | encodes its views twice, with other dropout for each term | once | none in expectation; two passes less |
| BERT4Rec (in BSARec's repository) | the cloze loss is overwritten by another before it is used | the original recipe: cloze, and windows whose last item is hidden | the published rows of several papers come from such copies |
| CBiT | the score of the last real item is set to -999, meant for the mask | the mask's row is zero, no item is touched | one item in the catalogue can't be recommended there |
| MAERec | walks over the graph go on from sums of item numbers; the reconstruction lacks its log; epochs are chosen on the test split | walks go on from the items reached; the log is there in `fair`; validation chooses | unknown; no comparable number is published |
| MVS | the complementary model's vectors are scored with the other model's items | with its own | small: the term weighs 0.1 |
| DuoRec | the published loss differs from the paper's text | the released one, `us_x`; the others by `--contrast` | - |

An epoch of `users` (a row a user) has about a sixth of the steps of an epoch of `prefixes`. SASRec, GRU4Rec, Caser,
CoSeRec and ICLRec stand in Table 1 with one sampled negative; with the softmax over the catalogue, `fair`, they do far
better. So the table compares losses as much as systems.

Assumptions: MAERec's distance in the graph (1) is not given by its program; DuoRec's and CL4SRec's selection is MRR over
the whole ranking, theirs MRR@10; LRURec's dropout in `paper` (0.6) is what its paper calls best on sparse Amazon data.
Users without training, all users of an exported model among them, are unknown to Caser.
"""


def write_models_page(results: Path, page: Path) -> None:
    """Writes the page.

    Args:
        results: the directory of the runs' JSON files; those in `systems/` are of a few epochs each.
        page: the page to write.
    """
    write_text(page, models_page(read_results(results / "systems")))


def models_page(results: Mapping[str, Result]) -> str:
    """The whole page, with the runs among `results`."""
    rows = [_row(name) for name in SYSTEMS]
    runs = [_run(name, result) for name, result in results.items()]
    parts = [
        "# Models\n",
        "Written by `python trainers/reproduce.py --report`; not edited by hand.\n",
        "`--model NAME` takes one, `--preset paper` trains it as published, `--preset fair` on the same examples, with "
        "the same loss and the same budget as the others, where its mathematics allows it.\n",
        "| `--model` | what it is | encoder | who trains on what | views | presets |\n|---|---|---|---|---|---|",
        *rows,
        "\n## Published\n",
        "Test NDCG@20: FENRec's paper (Table 1 and 2), in brackets the system's own paper or program on these files.\n",
        "| | " + " | ".join(DATASETS) + " |\n|---|" + "---|" * len(DATASETS),
        *(_published(name) for name in SYSTEMS if _published(name)),
        "\n## Ours\n",
        "Runs on the test split, one seed each. Those of ten epochs show that a system learns; they are no "
        "reproductions, which are in RESULTS.md.\n"
        if runs
        else "No run yet.\n",
    ]
    if runs:
        parts += [
            "| run | preset | epochs | best epoch | validation NDCG@20 | test NDCG@20 | minutes |\n"
            "|---|---|---|---|---|---|---|",
            *runs,
        ]
    return "\n".join(parts) + "\n\n" + MENDED


def _row(name: str) -> str:
    kind = system(name)
    what = (inspect.getdoc(kind) or "").splitlines()[0]
    if not kind.presets:
        return f"| `{name}` | {what} | of its members | - | - | - |"
    first = next(iter(kind.presets))
    model = build_model(preset(first, name), demo_dataset())
    rule = "counted" if name == "cooccurrence" else _rule(model)
    views = ", ".join(type(view).__name__ for view in model.views().values()) or "-"
    return f"| `{name}` | {what} | {type(model.encoder).__name__} | {rule} | {views} | {', '.join(kind.presets)} |"


def _rule(model: SequenceModel) -> str:
    rule = type(model.rule(demo_dataset())).__name__
    return f"{rule}, {'every token' if model.everywhere else 'the last item'}"


def _published(name: str) -> str:
    kind = system(name)
    row = kind.config_class().row
    if name == "sasrec":
        row = "SASRec"
    cells = []
    for dataset in DATASETS:
        published = TABLE_1[dataset].get(row or "", {}) or TABLE_2[dataset].get(row or "", {})
        own = OWN_NDCG_20.get(name, {}).get(dataset)
        value = f"{published['ndcg@20']:.4f}" if published else ""
        cells.append(value + (f" ({own:.4f})" if own else ""))
    return f"| `{name}` | " + " | ".join(cells) + " |" if any(cells) else ""


def _run(name: str, result: Result) -> str:
    content = result.content
    selection = content["selection"]
    cells = [
        f"{result.config.model}, {result.dataset}",
        str(content.get("preset") or "-"),
        str(selection["epochs"]),
        str(selection["epoch"]),
        f"{content['valid']['paper']['ndcg@20']:.4f}",
        f"{content['test']['paper']['ndcg@20']:.4f}",
        f"{content['seconds'] / 60:.0f}",  # with other work on the machine
    ]
    return "| " + " | ".join(cells) + " |"
