"""Views: what an example is contrasted with. One file each."""

from tf_fenrec.data.views.again import Again
from tf_fenrec.data.views.same_target import SameTarget
from tf_fenrec.data.views.view import View

__all__ = ["Again", "SameTarget", "View"]
