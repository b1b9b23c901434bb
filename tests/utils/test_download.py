"""A download is whole and checked, or there is one clear error and nothing under the final name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model_zoo.utils.download import download
from model_zoo.utils.errors import ModelZooError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how it misbehaves."""

    ranges: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.ranges.append(self.headers.get("Range"))
        if self.path == "/absent":
            self.send_error(404)
            return
        start = 0
        if (wanted := self.headers.get("Range")) and self.path != "/no-ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == "/drops" and not start else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_a_whole_file_arrives_once(server: str, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.bin"
    for _ in range(2):
        download(f"{server}/file", path, SHA256[:8], "hint")
    assert path.read_bytes() == CONTENT and len(Handler.ranges) == 1
    assert not path.with_name("file.bin.part").exists()


@pytest.mark.parametrize("page", ["drops", "no-ranges"])
def test_a_broken_download_goes_on(page: str, server: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    if page == "drops":
        with pytest.raises(ModelZooError, match="cannot download"):
            download(f"{server}/{page}", path, SHA256, "hint")
    else:  # a server that sends all of it again
        path.with_name("file.bin.part").write_bytes(CONTENT[:1000])
    assert not path.exists()
    half = path.with_name("file.bin.part").stat().st_size
    assert 0 < half < len(CONTENT)
    download(f"{server}/{page}", path, SHA256, "hint")
    assert path.read_bytes() == CONTENT and Handler.ranges[-1] == f"bytes={half}-"


def test_a_whole_part_is_taken(server: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.with_name("file.bin.part").write_bytes(CONTENT)
    download(f"{server}/file", path, SHA256, "hint")
    assert path.read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(server: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with pytest.raises(ModelZooError, match=f"{server}/file gave a file with sha256 {SHA256}, expected 00000000"):
        download(f"{server}/file", path, "00000000", "hint")
    assert [entry.suffix for entry in tmp_path.iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("page", ["file", "unsized"])
def test_too_much_is_refused(page: str, server: str, tmp_path: Path) -> None:
    with pytest.raises(ModelZooError, match="1000"):
        download(f"{server}/{page}", tmp_path / "file.bin", SHA256, "hint", max_bytes=1000)
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize(
    "url", ["{server}/absent", "http://127.0.0.1:9/x", "ftp://host/x", "http://no-such-host.invalid/x"]
)
def test_no_network_is_one_clear_error(url: str, server: str, tmp_path: Path) -> None:
    url = url.format(server=server)
    with pytest.raises(ModelZooError, match=r"cannot download .*take another") as caught:
        download(url, tmp_path / "file.bin", SHA256, "take another")
    assert url in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 1
