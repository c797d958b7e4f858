"""`python -m kd_experiments`: Hydra underneath, one clear line for every mistake."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from kd_experiments import own_code, stopping
from kd_experiments.cli.arguments import answered, say
from kd_experiments.cli.choices import SCRIPT, candidates
from kd_experiments.cli.mistypings import refuse
from kd_experiments.cli.paths import imports, readable
from kd_experiments.errors import UserError, shortened
from kd_experiments.places import home

_LONGEST = 20_000  # characters of one argument; a list of a thousand choices has as many


def main() -> int:
    """Run the command in `sys.argv`; the exit code is 0, 2 for a mistake of the user, or 1."""
    return answered(lambda: _run(sys.argv[1:]), sys.argv[1:])


def _run(typed: list[str]) -> int:
    if os.getcwd() not in sys.path:  # as `python -m` has it, for networks named by module
        sys.path.append(os.getcwd())
    if typed[:1] == ["--completion"]:
        print(SCRIPT)
        return 0
    if typed[:1] == ["--complete"]:  # before anything is refused: a word is half typed
        with contextlib.suppress(UserError):
            print("\n".join(candidates(" ".join(typed[1:]))))
        return 0
    arguments = readable(typed)
    if {"-m", "--multirun"} & set(arguments):
        arguments = own_code.written_out(arguments)
    own_code.taken_from(arguments)  # and left among them, so that the record says it
    own_code.load()
    # Flags may stand anywhere: Hydra's parser wants all overrides in one row.
    sys.argv[1:] = sorted(arguments, key=lambda argument: "=" in argument or argument.startswith(("+", "~")))
    if {"-h", "--help"} & set(arguments):
        from kd_experiments.cli.help_text import help_text

        print(help_text())
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    from kd_experiments.sweeping.callback import SweepReport

    SweepReport.current = None
    code = _answer(arguments)
    sweep = SweepReport.current
    if sweep is None or not sweep.began:
        return code
    lines, complete = sweep.summary()
    print("\n".join([*lines, "", *_table(sweep, imports(arguments))]))
    return code if code in stopping.EXIT_CODES.values() else int(not complete)


def _table(sweep: Any, more: list[str]) -> list[str]:
    """What a sweep's runs came to, and the command for the full report."""
    try:
        from kd_experiments.reporting.study import compact_of

        lines = [*compact_of(sweep.results, sweep.signatures(), sweep.name or ""), ""]
    except Exception as error:  # the runs are done, whatever becomes of their table
        from kd_experiments import files

        log = sweep.folder / "report.log"
        with contextlib.suppress(UserError):
            files.write_text(log, traceback.format_exc())
        lines = [shortened(f"the table failed: {type(error).__name__}: {error} (log: {log})", 500)]
    results = [] if sweep.results == Path("results") else [f"paths.results={sweep.results}"]
    asked = [f"sweep={sweep.name}"] if sweep.name else []
    command = shlex.join(["python", "-m", "kd_experiments.reporting", *results, *asked, *more])
    return [*lines, f"full report: {command}"]


def _answer(arguments: list[str]) -> int:
    """Let Hydra run the job or jobs; a mistake is told in one line."""
    try:
        _refuse_long(arguments)
        refuse(arguments)
        if "--signature" in arguments:
            _print_signature([argument for argument in arguments if argument != "--signature"])
        else:
            _refuse_wrong_sweep(arguments)
            _hydra_main()
    except UserError as error:
        return say(str(error), 2)
    except stopping.Stopped as error:
        return say("stopped; the same command goes on from where it was", error.exit_code)
    except Exception as error:
        return _failed(error, arguments)
    return 0


def _failed(error: Exception, arguments: list[str]) -> int:
    """A sentence for the user's mistakes, a traceback for ours."""
    if isinstance(error, BrokenPipeError):
        raise error  # nobody reads on
    from kd_experiments.cli.hydra_errors import explain

    sentence = explain(error, arguments)
    if sentence is None:
        traceback.print_exc()
        return 1
    return say(sentence, 2)


def _refuse_long(arguments: list[str]) -> None:
    """Hydra's parser takes minutes for text that nobody types."""
    for argument in arguments:
        if len(argument) > _LONGEST:
            raise UserError(f"{shortened(argument)}: {len(argument):,} characters; give at most {_LONGEST:,}")


def _refuse_wrong_sweep(arguments: list[str]) -> None:
    """What is wrong with a sweep is told before anything trains: a callback of Hydra's could not refuse it."""
    if not {"-m", "--multirun"} & set(arguments):
        return
    name = next((word.partition("=")[2] for word in arguments if word.startswith("+sweeps=")), None)
    if name is not None:
        from kd_experiments.sweeping.definitions import refuse_wrong

        refuse_wrong(name, arguments)


def _hydra_main() -> None:
    import hydra

    from kd_experiments.cli.composing import prepare

    prepare()
    hydra.main(version_base="1.3", config_path=str(home() / "conf"), config_name="config")(job)()


def job(composed: Any) -> float | None:
    """One job of a run or a multirun; only the first ends the program when it fails.

    Returns what a search for the best values goes by.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from kd_experiments.cli.composing import prepare

    hydra = HydraConfig.get()
    # A launcher may have started this job in a process of its own, on another machine even.
    own_code.use(own_code.listed(composed.imports), Path(hydra.runtime.cwd))
    prepare()
    # A sweeper writes its jobs' interpolations with backslashes, which nobody types.
    typed = [re.sub(r"\$\\\{(.*?)\\\}", r"${\1}", override) for override in hydra.overrides.task]
    sweep = hydra.runtime.choices.get("sweeps")
    if hydra.mode == RunMode.MULTIRUN:
        from kd_experiments.sweeping.job import do

        return do(lambda: _checked(_plain(composed)), typed, sweep, hydra.job.num, Path(hydra.runtime.output_dir))
    try:
        _run_one(_plain(composed), typed, sweep)
    except UserError as error:
        raise SystemExit(say(str(error), 2)) from None
    except Exception as error:
        raise SystemExit(_failed(error, typed)) from None
    return None


def _run_one(given: dict[str, Any], typed: list[str], sweep: str | None) -> None:
    """Do a run, unless it is known to be done: then it is answered before torch is imported."""
    from kd_experiments import digests, known
    from kd_experiments.tracking.record import RunFolder
    from kd_experiments.tracking.summary import already_done, summary_lines

    again = given.get("rerun") or given.get("samples") or "MASTER_ADDR" in os.environ
    before = None if again else known.look_up(given)
    if before is not None:
        folder = RunFolder(Path(given["paths"]["results"]) / "runs" / before.signature)
        if (record := folder.done()) is not None:
            lines = summary_lines(record, folder.record_file)
            print("\n".join([already_done(record, folder.record_file, digests.changed(record.code)), *lines]))
            return
    from kd_experiments.single_run import run

    config = _checked(given)
    if before is None:
        known.remember(given, _known(config))
    run(config, typed=typed, sweep=sweep)


def _print_signature(overrides: list[str]) -> None:
    """`--signature`: what this configuration is, without running it."""
    from kd_experiments import known
    from kd_experiments.cli.composing import composed

    given = composed(overrides)
    answer = known.look_up(given)
    if answer is None:
        answer = _known(_checked(given))
        known.remember(given, answer)
    print(f"signature  {answer.signature}\nteacher    {answer.teacher_signature or 'none'}\nlabel      {answer.label}")


def _known(config: Any) -> Any:
    from kd_experiments import identity, naming
    from kd_experiments.known import Known

    teacher = identity.teacher_signature(config) if config.source == "teacher" else None
    return Known(identity.signature(config), teacher, str(naming.label_of(config)))


def _plain(composed: Any) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        given = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error
    assert isinstance(given, dict)
    return {str(key): value for key, value in given.items()}


def _checked(given: dict[str, Any]) -> Any:
    from kd_experiments.config import check

    return check(given)


if __name__ == "__main__":
    sys.exit(main())
