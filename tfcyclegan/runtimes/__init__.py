"""One interface to a trained generator: Keras, SavedModel, LiteRT, or a model server.

All forms return the same picture up to rounding. Only float16, bfloat16 and int8 exports differ
more, within their accuracy limits.
"""

from .keras_model import KerasRuntime
from .litert import LiteRTRuntime
from .opening import open_runtime
from .protocol import MAX_PIXELS, BadPicture, Runtime
from .saved_model import SavedModelRuntime
from .server import GrpcRuntime, RestRuntime

__all__ = [
    "MAX_PIXELS",
    "BadPicture",
    "GrpcRuntime",
    "KerasRuntime",
    "LiteRTRuntime",
    "RestRuntime",
    "Runtime",
    "SavedModelRuntime",
    "open_runtime",
]
