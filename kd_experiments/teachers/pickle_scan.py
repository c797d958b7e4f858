"""What a checkpoint of a stranger would make the reader do, found out from its bytes alone.

`torch.load(weights_only=True)` runs no code, but it does hash what it is told to, and unpacks what is packed. A few
bytes can make it work for ever: tuples of the same tuple, as keys of a dictionary, or integers with one hash. Honest
checkpoints have text and small integers for keys, and tensors that are stored as they are.
"""

from __future__ import annotations

import io
import pickletools
import stat
import zipfile
from pathlib import Path
from typing import Any

from kd_experiments.errors import UserError

MAX_PICKLE = 1 << 24  # bytes of the part that is no tensor; of a ResNet-152 it has 150,000
MAX_OPCODES = 2_000_000
_LEGACY_PICKLES = 5  # files from before torch 1.6 begin with so many
_LARGE = 1 << 60  # from here on integers may share a hash
_HASHING = ("set", "frozenset", "Counter", "bytearray")  # names that are called with what stands in the file
_CONSTANTS = {"NONE": "other", "NEWTRUE": "number", "NEWFALSE": "number", "EMPTY_TUPLE": "empty"}


def refuse_costly(path: Path) -> None:
    """Raise `UserError` for a checkpoint that is no ordinary file, or would take more work than its size."""
    where = f"teacher.checkpoint={path}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{where}: no ordinary file; give the file that torch.save wrote")
        with open(path, "rb") as file:
            packed = file.read(4) == b"PK\x03\x04"
        if packed:
            _scan(io.BytesIO(_packed_pickle(path, where, status.st_size)), where, 1)
            return
        with open(path, "rb") as file:
            _scan(file, where, _LEGACY_PICKLES)
    except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise UserError(f"{where}: cannot be read ({error}); is it truncated?") from error


def _packed_pickle(path: Path, where: str, size: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{where}: refused, it is compressed, which torch.save never does; save it again")
        if sum(member.file_size for member in members) > size:
            raise UserError(f"{where}: refused, it says to hold more than the file does; is it truncated?")
        pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
            raise UserError(f"{where}: refused, it is not what torch.save writes of a state dict")
        return archive.read(pickles[0])


def _scan(file: Any, where: str, pickles: int) -> None:
    """Go through the opcodes of the pickles a file begins with; what is no pickle is left to the reader's own error."""
    count = 0
    for _ in range(pickles):
        reader = _Keys()
        try:
            for opcode, argument, place in pickletools.genops(file):
                count += 1
                if count > MAX_OPCODES or (place or 0) > MAX_PICKLE:
                    raise UserError(f"{where}: refused, it holds too many things that are no tensors")
                reader.follow(opcode, argument)
        except _Costly as error:
            raise UserError(
                f"{where}: refused, because it {error}, as no checkpoint does; save the state dict alone with "
                f"torch.save({{'model': network.state_dict()}}, FILE)"
            ) from error
        except (ValueError, IndexError, KeyError, AttributeError, OverflowError, MemoryError):
            return


class _Costly(Exception):
    """What would be hashed, or made, at great cost."""


class _Keys:
    """A pickle's stack, of which only the kinds of things are known: text, number, large, empty, mark or other."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._memo: dict[int, str] = {}

    def follow(self, opcode: Any, argument: Any) -> None:
        name, stack = opcode.name, self._stack
        if name in ("GLOBAL", "STACK_GLOBAL", "INST") and str(argument).endswith(_HASHING):
            raise _Costly(f"makes a {str(argument).split()[-1]}")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "SETITEM":
            self._refuse_key(stack[-2])
            del stack[-2:]
        elif name == "SETITEMS":
            for key in self._pop_to_mark()[::2]:
                self._refuse_key(key)
        elif name == "DICT":
            for key in self._pop_to_mark()[::2]:
                self._refuse_key(key)
            stack.append("other")
        elif name in ("FROZENSET", "ADDITEMS"):
            raise _Costly("makes a set")
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            if called == "ordered" and arguments != "empty":
                raise _Costly("fills a dictionary while it makes it")
            stack.append("other")
        elif name == "GLOBAL":
            stack.append("ordered" if str(argument).endswith("OrderedDict") else "other")
        elif name == "MARK":
            stack.append("mark")
        else:
            self._effect(opcode, argument)

    def _effect(self, opcode: Any, argument: Any) -> None:
        """Of all others what they take and leave says enough."""
        before = [one.name for one in opcode.stack_before]
        taken = len(before)
        if "mark" in before:
            self._pop_to_mark()
            taken = before.index("mark")
        if taken > len(self._stack):
            raise IndexError("the stack is too small")
        del self._stack[len(self._stack) - taken :]
        self._stack += [_kind(opcode.name, argument) for _ in opcode.stack_after]

    def _pop_to_mark(self) -> list[str]:
        place = len(self._stack) - 1 - self._stack[::-1].index("mark")
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    @staticmethod
    def _refuse_key(kind: str) -> None:
        if kind not in ("text", "number"):
            raise _Costly("has dictionary keys that are neither text nor small integers")


def _kind(name: str, argument: Any) -> str:
    if isinstance(argument, str | bytes) and ("UNICODE" in name or "STRING" in name or "BYTES" in name):
        return "text"
    if isinstance(argument, int) and not isinstance(argument, bool) and ("INT" in name or "LONG" in name):
        return "number" if abs(argument) < _LARGE else "large"
    return _CONSTANTS.get(name, "other")
