"""Networks trained in other frameworks."""

from .load_network import Network, load_network
from .save_network import save_network

__all__ = ["Network", "load_network", "save_network"]
