"""The command line: Hydra underneath, one clear line for every mistake."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.places import home


class JobFailed(Exception):
    """A job of a multirun failed and has said so; the others went on."""


def main() -> int:
    """Run the command in `sys.argv`; the exit code is 0, 2 for a mistake of the user, or 1."""
    arguments = sys.argv[1:]
    # Flags may stand anywhere: Hydra's parser wants all overrides in one row.
    sys.argv[1:] = sorted(arguments, key=lambda argument: "=" in argument or argument.startswith(("+", "~")))
    if {"-h", "--help"} & set(arguments):
        from kd_experiments.help_text import help_text

        print(help_text())
        return 0
    os.environ["KD_EXPERIMENTS_HOME"] = str(home())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    try:
        _hydra_main()
    except JobFailed as failure:
        return _say(str(failure), 1)
    except UserError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from the last finished epoch", 130)
    except Exception as error:
        from kd_experiments.hydra_errors import explain

        sentence = explain(error, arguments)
        if sentence is None:
            traceback.print_exc()
            return 1
        return _say(sentence, 2)
    return 0


def _say(sentence: str, code: int) -> int:
    prefix = "error: " if code != 130 else ""
    print(f"{prefix}{sentence}", file=sys.stderr)
    return code


def _hydra_main() -> None:
    import hydra

    from kd_experiments.choices import register_networks

    register_networks()
    hydra.main(version_base="1.3", config_path=str(home() / "conf"), config_name="config")(job)()


def job(composed: Any) -> None:
    """One job of a run or a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        try:
            given = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(str(error).splitlines()[0]) from error
        from kd_experiments.config import check
        from kd_experiments.run import run

        assert isinstance(given, dict)
        run(check(given))  # type: ignore[arg-type]  # the keys of a YAML mapping are text
    except UserError as error:
        if not multirun:
            raise SystemExit(_say(str(error), 2)) from None
        _say(str(error), 2)
        raise JobFailed(f"a job failed ({error}); the others were run") from None
    except Exception:
        traceback.print_exc()
        if not multirun:
            raise SystemExit(1) from None
        raise JobFailed("a job failed with the traceback above; the others were run") from None
