"""What is stored comes back; what was cut, changed or lost on the way never does."""

from __future__ import annotations

import json

import fsspec
import pytest

from planner.sweep.remote import MANIFEST, RemoteError, RemoteFolder


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/store"
    fsspec.filesystem("memory").store.clear()
    return "memory://store"


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    return place


def write(folder, **files):
    for name, text in files.items():
        (folder / name).write_text(text)


def fetched(tmp_path, url):
    place = tmp_path / "there"
    RemoteFolder(place, url).fetch()
    return {str(p.relative_to(place)): p.read_text() for p in place.rglob("*") if p.is_file()}


def objects(url):
    fs, root = fsspec.core.url_to_fs(url)
    return {path.rpartition("/")[2]: path for path in fs.ls(root, detail=False)}


def test_what_was_stored_last_comes_back_and_nothing_else_is_kept(tmp_path, folder, url):
    remote = RemoteFolder(folder, url)
    write(folder, a="one", b="two", **{".half": "never"})
    (folder / "deep").mkdir()
    (folder / "deep" / "c").write_text("three")
    remote.store()
    assert fetched(tmp_path, url) == {"a": "one", "b": "two", "deep/c": "three"}
    write(folder, a="other")
    (folder / "b").unlink()
    remote.store()
    assert fetched(tmp_path, url) == {"a": "other", "deep/c": "three"}
    assert len(objects(url)) == 3


def test_fetching_replaces_what_another_attempt_left_on_this_machine(tmp_path, folder, url):
    write(folder, a="new")
    RemoteFolder(folder, url).store()
    write(tmp_path, stale="x")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "stale").write_text("old")
    assert fetched(tmp_path, url) == {"a": "new"}


def test_nothing_stored_is_an_empty_folder(tmp_path, url):
    assert fetched(tmp_path, url) == {}


def test_an_upload_that_is_cut_leaves_what_was_there(tmp_path, folder, url, monkeypatch):
    remote = RemoteFolder(folder, url)
    write(folder, a="one")
    remote.store()
    write(folder, a="two, and longer")

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(remote._fs), "mv", die)
    with pytest.raises(KeyboardInterrupt):
        remote.store()
    monkeypatch.undo()
    assert fetched(tmp_path, url) == {"a": "one"}


def test_objects_that_are_not_what_their_name_says_are_left_out(tmp_path, folder, url):
    write(folder, a="one", b="two")
    RemoteFolder(folder, url).store()
    fs, _ = fsspec.core.url_to_fs(url)
    (held,) = (path for name, path in objects(url).items() if name.endswith("-a"))
    fs.pipe_file(held, b"on")
    assert fetched(tmp_path, url) == {"b": "two"}
    fs.rm_file(held)
    assert fetched(tmp_path, url) == {"b": "two"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({"../out": "x-a"}), json.dumps({"a": "../x"})]
)
def test_a_manifest_that_is_damaged_or_forged_gives_nothing(tmp_path, folder, url, text):
    write(folder, a="one")
    RemoteFolder(folder, url).store()
    fs, _ = fsspec.core.url_to_fs(url)
    fs.pipe_file(objects(url)[MANIFEST], text.encode())
    assert fetched(tmp_path, url) == {}
    assert not (tmp_path / "out").exists()


def test_removing_leaves_nothing(tmp_path, folder, url):
    write(folder, a="one")
    remote = RemoteFolder(folder, url)
    remote.store()
    remote.remove()
    remote.remove()
    assert fetched(tmp_path, url) == {}


def test_a_store_that_refuses_is_one_error_with_its_address(folder, monkeypatch):
    monkeypatch.setattr("planner.sweep.remote.PAUSE_SECONDS", 0.0)
    with pytest.raises(RemoteError, match="nowhere://"):
        RemoteFolder(folder, "nowhere://bucket/a")
    write(folder, a="one")
    remote = RemoteFolder(folder, "memory://store")

    def refuse(*_):
        raise PermissionError("access denied for this bucket")

    monkeypatch.setattr(type(remote._fs), "put_file", refuse)
    remote.store_if_due()
    with pytest.raises(RemoteError, match="memory://store: access denied"):
        remote.store()


def test_a_hiccup_is_tried_again(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("planner.sweep.remote.PAUSE_SECONDS", 0.0)
    fsspec.filesystem("memory").store.clear()
    remote, calls = RemoteFolder(folder, "memory://store"), []
    put = type(remote._fs).put_file

    def hiccup(self, *args):
        calls.append(args)
        if len(calls) < 3:
            raise TimeoutError
        return put(self, *args)

    monkeypatch.setattr(type(remote._fs), "put_file", hiccup)
    write(folder, a="one")
    remote.store()
    assert fetched(tmp_path, "memory://store") == {"a": "one"}
