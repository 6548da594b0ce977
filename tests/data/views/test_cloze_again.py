"""Further masked copies of a window (CBiT)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.small_data import random_dataset
from tf_fenrec.data.rules.cloze import Cloze
from tf_fenrec.data.rules.users import Users
from tf_fenrec.data.views import ClozeAgain
from tf_fenrec.errors import InputError


def test_copies_are_hidden_independently() -> None:
    rule = Cloze(random_dataset(users=500), 8, mask_probability=0.3)
    rows, rng = np.arange(len(rule)), np.random.default_rng(0)
    plain = rule.inputs(rows)
    labelled = np.zeros((3, len(plain.items)), bool)
    for copy in labelled:
        drawn = ClozeAgain()(rule, rows, rng)
        copy[drawn.labels.tokens] = True
        assert (np.where(copy, plain.items, drawn.items) == plain.items).all()
        assert (drawn.labels.ids[:, 0] == plain.items[copy]).all()
    both = (labelled[0] & labelled[1]).mean()
    assert abs(both - 0.09) < 5 * np.sqrt(0.09 * 0.91 / len(plain.items))


def test_other_rules_have_no_copies() -> None:
    with pytest.raises(InputError, match=r"needs the rule Cloze\. Received: Users"):
        ClozeAgain()(Users(random_dataset()), np.array([0]), np.random.default_rng(0))
