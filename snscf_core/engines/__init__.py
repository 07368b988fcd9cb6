"""The same network on several runtimes."""

from .choice import ENGINES, Engine, make
from .recording import RecordingError
from .subject import Subject

__all__ = ["ENGINES", "Engine", "RecordingError", "Subject", "make"]
