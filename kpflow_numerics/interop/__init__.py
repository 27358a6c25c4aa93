"""Networks trained in other frameworks."""

from .load_network import Network, load_network

__all__ = ["Network", "load_network"]
