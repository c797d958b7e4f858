"""`python -m kd_experiments`: Hydra underneath, one clear line for every mistake."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.places import home


def main() -> int:
    """Run the command in `sys.argv`; the exit code is 0, 2 for a mistake of the user, or 1."""
    arguments = sys.argv[1:]
    # Flags may stand anywhere: Hydra's parser wants all overrides in one row.
    sys.argv[1:] = sorted(arguments, key=lambda argument: "=" in argument or argument.startswith(("+", "~")))
    if {"-h", "--help"} & set(arguments):
        from kd_experiments.cli.help_text import help_text

        print(help_text())
        return 0
    os.environ["KD_EXPERIMENTS_HOME"] = str(home())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    from kd_experiments.sweeping.callback import SweepReport

    SweepReport.current = None
    code = _answer(arguments)
    sweep = SweepReport.current
    if sweep is None or not sweep.began:
        return code
    lines, complete = sweep.summary()
    print("\n".join(lines))
    return code if code == 130 else int(not complete)


def _answer(arguments: list[str]) -> int:
    """Let Hydra run the job or jobs; a mistake is told in one line."""
    try:
        _hydra_main()
    except UserError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from the last finished epoch", 130)
    except Exception as error:
        from kd_experiments.cli.hydra_errors import explain

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

    from kd_experiments.cli.resolvers import register_networks

    register_networks()
    hydra.main(version_base="1.3", config_path=str(home() / "conf"), config_name="config")(job)()


def job(composed: Any) -> float | None:
    """One job of a run or a multirun; only the first ends the program when it fails.

    Returns what a search for the best values goes by.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from kd_experiments.cli.resolvers import register_networks
    from kd_experiments.config import Config, check

    register_networks()  # a launcher may have started this job in a process of its own
    hydra = HydraConfig.get()

    def checked() -> Config:
        try:
            given = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(str(error).splitlines()[0]) from error
        assert isinstance(given, dict)
        return check(given)  # type: ignore[arg-type]  # the keys of a YAML mapping are text

    if hydra.mode == RunMode.MULTIRUN:
        from kd_experiments.sweeping.job import do

        print(f"\njob {hydra.job.num}: {' '.join(hydra.overrides.task)}", flush=True)
        return do(checked, hydra.runtime.choices.get("sweeps"), hydra.job.num, Path(hydra.runtime.output_dir))
    from kd_experiments.run import run

    try:
        run(checked())
    except UserError as error:
        raise SystemExit(_say(str(error), 2)) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
    return None


if __name__ == "__main__":
    sys.exit(main())
