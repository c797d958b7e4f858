"""The `key=value` arguments of every command but a run, and its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from kd_experiments import own_code, stopping
from kd_experiments.errors import UserError, did_you_mean, shortened


def asks_for_help(arguments: Sequence[str], text: str) -> bool:
    """Print `text` if somebody wants to know how."""
    if not {"-h", "--help"} & set(arguments):
        return False
    print(text, end="")
    return True


def answered(action: Callable[[], int], arguments: Sequence[str]) -> int:
    """The exit code of a command: what it returns, 2 for a mistake of the user, 143 or 130 if it is asked to stop."""
    try:
        with stopping.listening():
            code = action()
        sys.stdout.flush()
        return code
    except UserError as error:
        return say(str(error), 2)
    except stopping.Stopped as error:
        return say("stopped; the same command goes on from where it was", error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from kd_experiments.cli.hydra_errors import explain  # Hydra takes a while to import

        sentence = explain(error, arguments)
        if sentence is None:
            raise
        return say(sentence, 2)


def say(sentence: str, code: int) -> int:
    """Tell it on one line of stderr, as an error unless somebody asked the program to stop; returns the code."""
    prefix = "" if code in stopping.EXIT_CODES.values() else "error: "
    print(f"{prefix}{shortened(sentence, 2000)}", file=sys.stderr)
    return code


def parse(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Defaults overridden by `key=value` arguments; `UserError` for anything else."""
    values = dict(defaults)
    rest = own_code.taken_from(arguments)
    own_code.load()
    for argument in rest:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(f"{argument}: expected key=value; the keys are {', '.join([*defaults, own_code.KEY])}")
        if key not in defaults:
            known = [*defaults, own_code.KEY]
            raise UserError(f"{key}: no such key{did_you_mean(key, known)} (keys: {', '.join(known)})")
        values[key] = os.path.expanduser(value) if key.startswith("paths.") else value
    return values
