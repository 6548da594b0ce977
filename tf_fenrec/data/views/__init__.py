"""Views: what an example is contrasted with. One file each."""

from tf_fenrec.data.views.again import Again
from tf_fenrec.data.views.augmented import Augmented
from tf_fenrec.data.views.cloze import ClozeAgain
from tf_fenrec.data.views.crop_mask_reorder import Crop, Mask, Reorder
from tf_fenrec.data.views.insert_substitute import Insert, Substitute
from tf_fenrec.data.views.same_target import SameTarget
from tf_fenrec.data.views.view import View

__all__ = [
    "Again",
    "Augmented",
    "ClozeAgain",
    "Crop",
    "Insert",
    "Mask",
    "Reorder",
    "SameTarget",
    "Substitute",
    "View",
]
