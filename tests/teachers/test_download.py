"""Published teachers from a server on this machine: resumed, verified, unpacked, and every way it can go wrong."""

from __future__ import annotations

import hashlib
import http.client
import io
import ssl
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from kd_experiments.errors import UserError
from kd_experiments.networks import build
from kd_experiments.teachers.__main__ import main
from kd_experiments.teachers.download import download


def archive(*names: str) -> bytes:
    """Checkpoints in the layout of the public benchmark."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            saved = io.BytesIO()
            torch.save({"model": build("resnet8", classes=100).state_dict()}, saved)
            member = tarfile.TarInfo(name)
            member.size = len(saved.getvalue())
            tar.addfile(member, io.BytesIO(saved.getvalue()))
    return out.getvalue()


CONTENT = archive("cifar_teachers/resnet8_vanilla/ckpt_epoch_240.pth", "cifar_teachers/other_vanilla/ckpt.pth")


class Server(ThreadingHTTPServer):
    """Sends `content`, or only its first `cut` bytes; honours ranges unless told not to."""

    content = CONTENT
    cut: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/teachers.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted, content = self.headers.get("Range"), self.server.content
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    here = Server()
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield here
    here.shutdown()
    here.server_close()


def fetched(results: Path) -> Path:
    return results / "published_teachers" / "cifar100" / "teachers.tar"


def test_it_is_fetched_verified_and_usable(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["download", "cifar100", f"url={server.url}", f"paths.results={tmp_path}"]
    assert main(command) == 0
    said = capsys.readouterr().out
    path = fetched(tmp_path).parent / "cifar_teachers/resnet8_vanilla/ckpt_epoch_240.pth"
    assert f"teacher=resnet8 teacher.checkpoint={path}" in said and "teacher=NETWORK" in said
    assert hashlib.sha256(CONTENT).hexdigest() in said
    build("resnet8", classes=100).load_state_dict(torch.load(path, weights_only=True)["model"])
    assert main(command) == 0
    assert server.asked == [None], "what is there is not fetched again"
    assert main([*command, "sha256=" + "0" * 64]) == 2
    assert "its SHA-256 is" in capsys.readouterr().err


@pytest.mark.parametrize("ranges", [True, False])
def test_what_was_cut_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut, server.ranges = 1000, ranges
    with pytest.raises(UserError, match=r"cut off after 0\.0 MB|cannot be fetched"):
        list(download("cifar100", tmp_path, server.url))
    part = fetched(tmp_path).with_name("teachers.tar.part")
    assert part.read_bytes() == CONTENT[:1000]
    server.cut = None
    lines = list(download("cifar100", tmp_path, server.url))
    assert lines[0].startswith("going on" if ranges else "fetching")
    assert server.asked == [None, "bytes=1000-"] and fetched(tmp_path).read_bytes() == CONTENT and not part.exists()


def test_a_part_longer_than_the_file_is_begun_anew(server: Server, tmp_path: Path) -> None:
    fetched(tmp_path).parent.mkdir(parents=True)
    fetched(tmp_path).with_name("teachers.tar.part").write_bytes(CONTENT + b"more")
    list(download("cifar100", tmp_path, server.url))
    assert fetched(tmp_path).read_bytes() == CONTENT


def test_damage_is_noticed_later(server: Server, tmp_path: Path) -> None:
    list(download("cifar100", tmp_path, server.url))
    fetched(tmp_path).write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match="it is damaged or another file: remove it"):
        list(download("cifar100", tmp_path, server.url))


def test_a_check_sum_that_is_none_is_not_believed(server: Server, tmp_path: Path) -> None:
    """A power failure may have left an empty file of an earlier version."""
    list(download("cifar100", tmp_path, server.url))
    kept = fetched(tmp_path).with_name("teachers.tar.sha256")
    for content in (b"", b"\xff" * 64):
        kept.write_bytes(content)
        list(download("cifar100", tmp_path, server.url))
        assert kept.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}\n"


@pytest.mark.parametrize("error", [http.client.IncompleteRead(b""), ssl.SSLError("bad record")])
def test_what_breaks_while_it_is_read_is_one_clear_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def breaks(*arguments: object) -> bytes:
        raise error

    monkeypatch.setattr(http.client.HTTPResponse, "read", breaks)
    with pytest.raises(UserError, match=r"cannot be fetched .*type the same again to go on"):
        list(download("cifar100", tmp_path, server.url))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>not found</html>", "cannot be unpacked"),
        (archive("cifar_teachers/readme.txt"), "holds no checkpoint"),
        (archive("../../outside.pth"), "cannot be unpacked"),
    ],
)
def test_what_is_no_archive_of_teachers_is_refused(server: Server, tmp_path: Path, content: bytes, words: str) -> None:
    server.content = content
    with pytest.raises(UserError, match=words):
        list(download("cifar100", tmp_path / "deep" / "results", server.url))
    assert not list(tmp_path.rglob("outside.pth"))


def test_no_network_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "cifar100", "url=http://127.0.0.1:9/teachers.tar", f"paths.results={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be fetched (" in said and f"place it as {fetched(tmp_path)}" in said
    assert main(["download", "cifar10"]) == 2
    assert "did you mean cifar100?" in capsys.readouterr().err
