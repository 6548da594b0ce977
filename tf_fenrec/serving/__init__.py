"""Serving: `Client` asks a server, `tf_fenrec.serving.server` is the local one."""

from tf_fenrec.serving.client import Client, Item, Recommendation

__all__ = ["Client", "Item", "Recommendation"]
