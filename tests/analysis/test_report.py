"""The page of results says what the JSON files say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.hand_made import result, write
from tf_fenrec.analysis.models_page import models_page
from tf_fenrec.analysis.report import BEGIN, END, write_report
from tf_fenrec.analysis.results import read_results
from tf_fenrec.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nAfterwards.\n")
    return tmp_path


def report(folder: Path) -> tuple[str, str]:
    write_report(folder / "results", folder / "docs" / "RESULTS.md", folder / "README.md")
    return (folder / "docs" / "RESULTS.md").read_text(), (folder / "README.md").read_text()


def section(page: str, title: str) -> str:
    """What stands between a heading and the next one."""
    _, _, rest = page.partition(f"{title}\n")
    return rest.split("\n#")[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(text: str) -> list[list[str]]:
    return [cells(line) for line in text.splitlines() if line.startswith("|") and "---" not in line]


def test_mean_deviation_and_difference(folder: Path) -> None:
    # Toys in the paper: HR@20 .1462, NDCG@20 .0775. Ours, by hand: NDCG@20 mean of .0770 and .0790 is .0780, the
    # sample deviation .0020 / sqrt(2) = .0014, the difference .0780 / .0775 - 1 = +0.6%; HR@20 .1400: -4.2%.
    write(folder / "results", "a", result("toys", 0.0770, 0.14, strict=0.081))
    write(folder / "results", "b", result("toys", 0.0790, 0.14, strict=0.083, seed=1))
    page, readme = report(folder)
    text = section(page, "### toys")
    assert rows(text) == [
        ["", "HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20"],
        ["paper", ".0818", ".1109", ".1462", ".0592", ".0686", ".0775"],
        ["ours, 2 seeds", *[".0400 ± .0000"] * 2, ".1400 ± .0000", *[".0400 ± .0000"] * 2, ".0780 ± .0014"],
        ["difference", "-51.1%", "-63.9%", "-4.2%", "-32.4%", "-41.7%", "+0.6%"],
        ["ours, `strict`", *[".0820 ± .0014"] * 6],
    ]
    assert "Not reached: within 2% of Table 1 or above it was the goal, and short of it: HR@20 -4.2%." in text
    assert "150 of 190, 151 of 191" in text
    assert "2 h 05 min" in text
    assert "Some CPU, 2 cores" in text
    assert ["toys", "2", ".1400 ± .0000", ".1462", "-4.2%", ".0780 ± .0014", ".0775", "+0.6%"] in rows(readme)


@pytest.mark.parametrize(("ndcg", "reached"), [(0.0760, True), (0.0759, False)])  # .0775 * .98 = .07595
def test_the_goal_is_two_percent(folder: Path, ndcg: float, reached: bool) -> None:
    write(folder / "results", "a", result("toys", ndcg, 0.15))
    assert ("Reached: " in section(report(folder)[0], "### toys")) == reached


def test_runs_of_one_seed_count_once(folder: Path) -> None:
    for name, ndcg, seed in (("a", 0.07, 0), ("b", 0.08, 0), ("c", 0.09, 1)):
        write(folder / "results", name, result("toys", ndcg, seed=seed))
    ours = rows(section(report(folder)[0], "### toys"))[2]
    assert ours[0] == "ours, 2 seeds"
    assert ours[-1] == ".0825 ± .0106"  # mean of .075 and .09; .015 / sqrt(2)


def test_what_is_missing_is_said(folder: Path) -> None:
    page, readme = report(folder)
    for dataset in ("sports", "beauty", "toys", "yelp"):
        assert rows(section(page, f"### {dataset}"))[2][:2] == ["no run yet", ""]
        assert [dataset, "no run yet"] in [row[:2] for row in rows(readme)]
    assert "No run with the presets' exact hyper-parameters yet." in page
    assert "Reached" not in page


def test_a_cut_short_run_does_not_count(folder: Path) -> None:
    write(folder / "results", "short", result("beauty", 0.07, epochs=12))
    page, _ = report(folder)
    assert rows(section(page, "### beauty"))[2][0] == "no run yet"
    other = rows(section(page, "## Other runs"))
    assert other[1][:3] == ["short", "beauty", "epochs 12"]
    assert len(rows(section(page, "## Runs"))) == 0


def test_another_dataset_with_its_preset_is_no_reproduction(folder: Path) -> None:
    write(folder / "results", "shop", result("demo", 0.77))
    assert rows(section(report(folder)[0], "## Other runs"))[1][:3] == ["shop", "demo", "nothing"]


def test_a_half_written_result_is_passed_over(folder: Path) -> None:
    write(folder / "results", "full", result("toys", 0.08))
    before = report(folder)
    (folder / "results" / ".tmp-123-new.json").write_text('{"dataset"')
    assert report(folder) == before


def test_every_commit_is_shown_and_whether_it_was_changed(folder: Path) -> None:
    commits = ["0123456789abcdef", "fedcba9876543210-dirty"]
    write(folder / "results", "full", result("toys", 0.08) | {"commits": commits})
    assert "0123456789, fedcba9876-dirty" in section(report(folder)[0], "## Runs")


def test_the_order_of_the_ablations(folder: Path) -> None:
    write(folder / "results", "full", result("toys", 0.08))
    write(folder / "results", "hard", result("toys", 0.07, gamma=0.0))
    page, _ = report(folder)
    ablations = section(page.partition("## Table 3")[2], "### toys")
    assert "Order by NDCG@20: FENRec > without soft labels; the same as the paper's." in ablations
    assert "No run yet: without enduring negatives." in ablations
    assert ["SASRec with cross-entropy", "paper's SASRec", ".0481"] in [row[:3] for row in rows(ablations)]
    write(folder / "results", "soft", result("toys", 0.06, hard_negatives=False))
    ablations = section(report(folder)[0].partition("## Table 3")[2], "### toys")
    assert (
        "FENRec > without soft labels > without enduring negatives; "
        "the paper's is FENRec > without enduring negatives > without soft labels." in ablations
    )


def test_plain_sasrec_is_a_row_of_its_own(folder: Path) -> None:
    write(folder / "results", "plain", result("toys", 0.05, gamma=0.0, coarse_weight=0.0, fine_weight=0.0))
    page, _ = report(folder)
    assert ["plain", "toys", "SASRec with cross-entropy"] in [row[:3] for row in rows(section(page, "## Runs"))]


def test_same_files_same_page_and_only_the_marked_part_of_the_readme(folder: Path) -> None:
    write(folder / "results", "a", result("yelp", 0.03))
    first = report(folder)
    assert report(folder) == first
    assert first[1].startswith(f"# Title\n\n{BEGIN}\n")
    assert first[1].endswith(f"{END}\n\nAfterwards.\n")
    assert "old" not in first[1]
    assert "[docs/RESULTS.md](docs/RESULTS.md)" in first[1]


def test_figures_are_shown_with_their_captions(folder: Path) -> None:
    analysis = folder / "results" / "analysis"
    write(analysis, "lengths-toys", {"title": "By length: toys", "caption": "What it is."})
    write(analysis, "without-picture", {"title": "No", "caption": "No."})
    (analysis / "lengths-toys.png").write_bytes(b"")
    page, _ = report(folder)
    assert "![By length: toys](../results/analysis/lengths-toys.png)" in page
    assert "What it is. Numbers: [lengths-toys.json](../results/analysis/lengths-toys.json)." in page
    assert "without-picture" not in page


def test_mistakes_name_the_file(folder: Path) -> None:
    (folder / "results" / "other.json").write_text('{"step": 3}')  # no result: passed over
    report(folder)
    (folder / "results" / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not JSON"):
        report(folder)
    (folder / "results" / "bad.json").unlink()
    content = result("toys", 0.07)
    write(folder / "results", "a", content)
    content["dataset"]["sha256"] = "another"
    write(folder / "results", "b", content)
    with pytest.raises(InputError, match=r"b\.json: was trained on other sequences of toys than a\.json"):
        report(folder)
    (folder / "results" / "b.json").unlink()
    (folder / "README.md").write_text("# Title\n")
    with pytest.raises(InputError, match="should hold the lines"):
        report(folder)


def test_the_page_in_this_checkout_is_what_its_results_give(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    (tmp_path / "results").symlink_to(ROOT / "results")
    page, readme = report(tmp_path)
    hint = "run `python trainers/reproduce.py --report`"
    assert page == (ROOT / "docs" / "RESULTS.md").read_text(), hint
    assert models_page(read_results(ROOT / "results" / "systems")) == (ROOT / "docs" / "models.md").read_text(), hint
    assert readme == (ROOT / "README.md").read_text(), hint
