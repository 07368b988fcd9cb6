"""The same network on several runtimes."""

from .choice import ENGINES, Engine, make
from .subject import Subject

__all__ = ["ENGINES", "Engine", "Subject", "make"]
