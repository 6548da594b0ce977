"""Encoders: from sequences of items to vectors whose inner products with item vectors are scores. One file each."""

from tf_fenrec.encoders.bert4rec import BERT4RecEncoder
from tf_fenrec.encoders.blend import BlendEncoder
from tf_fenrec.encoders.bsarec import BSARecEncoder
from tf_fenrec.encoders.caser import CaserEncoder
from tf_fenrec.encoders.cbit import CBiTEncoder
from tf_fenrec.encoders.encoder import Encoder, padded_batch
from tf_fenrec.encoders.gru import GRU4RecEncoder
from tf_fenrec.encoders.lru import LRURecEncoder
from tf_fenrec.encoders.maerec import MAERecEncoder
from tf_fenrec.encoders.neighbours import NeighbourEncoder
from tf_fenrec.encoders.relative import RelativeEncoder
from tf_fenrec.encoders.transformer import SASRecEncoder

__all__ = [
    "BERT4RecEncoder",
    "BSARecEncoder",
    "BlendEncoder",
    "CBiTEncoder",
    "CaserEncoder",
    "Encoder",
    "GRU4RecEncoder",
    "LRURecEncoder",
    "MAERecEncoder",
    "NeighbourEncoder",
    "RelativeEncoder",
    "SASRecEncoder",
    "padded_batch",
]
