"""What all protocols share that pass an upstream's stream on, byte for byte."""

from .block_reader import BlockReader
from .encoder import UpstreamEncoder
from .protocol import UpstreamProtocol

__all__ = ["BlockReader", "UpstreamEncoder", "UpstreamProtocol"]
