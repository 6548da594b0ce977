"""Evaluation of trained models and of the baselines they must beat."""

from tf_fenrec.evaluation.evaluate import baseline_metrics, evaluate, rank_users
from tf_fenrec.paper import paper_row

__all__ = ["baseline_metrics", "evaluate", "paper_row", "rank_users"]
