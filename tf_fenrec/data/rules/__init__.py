"""Example rules: who trains on what. One file a rule."""

from tf_fenrec.data.rules.cloze import Cloze
from tf_fenrec.data.rules.prefixes import Prefixes, SoftLabels
from tf_fenrec.data.rules.rule import Rule
from tf_fenrec.data.rules.users import Users
from tf_fenrec.data.rules.windows import Windows

__all__ = ["Cloze", "Prefixes", "Rule", "SoftLabels", "Users", "Windows"]
