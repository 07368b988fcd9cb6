# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a command from its arguments to its exit status: errors and signals end it in one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from ..cores import use_available_cores
from ..malloc import keep_memory
from ..model.checkpoints import WeightsError
from ..requirements import missing
from ..signals import Interruption, interruptions
from ..training.training_error import TrainingError


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, calls the function ``run`` that the parser has set, and returns the exit status.

    arguments: None for those of the process.

    An error, a missing library or a signal is reported in one sentence: status 1, or 128 and the signal's number.
    """
    try:
        with interruptions():
            options = parser.parse_args(prepared(sys.argv[1:] if arguments is None else arguments))
            keep_memory()
            use_available_cores()
            options.run(options)
    except BrokenPipeError:
        return 1
    except (WeightsError, TrainingError, ValueError, OSError) as error:
        print(f"snscf: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("snscf"):
            raise
        print(f"snscf: {missing(error.name)}", file=sys.stderr)
        return 1
    except Interruption as ended:
        print(f"snscf: {ended}", file=sys.stderr)
        return 128 + ended.number
    return 0


def prepared(arguments: Sequence[str]) -> list[str]:
    """Joins a value that begins with a minus sign to its option, as in ``--box -5,100,30,50``.

    The parser would take the value for an option. Raises ValueError for an empty value, which a shell makes of a
    variable that is not set.
    """
    found: list[str] = []
    for argument in arguments:
        option = found[-1] if found and re.fullmatch(r"--[\w-]+", found[-1]) else ""
        if not argument:
            raise ValueError(f"{option or 'an argument'} is empty" + (": give it a value" if option else ""))
        if match := re.fullmatch(r"(--[\w-]+)=", argument):
            raise ValueError(f"{match[1]} is empty: give it a value")
        if option and re.match(r"-\.?\d", argument):
            found[-1] = f"{option}={argument}"
        else:
            found.append(argument)
    return found
