"""What is under a number is whole; numbers go up; old ones go last."""

import os
import pathlib
import time

import pytest

from export import versions

pytestmark = pytest.mark.fast


@pytest.fixture
def base(tmp_path):
    return tmp_path / "models" / "vae"


def publish(base, content="new"):
    with versions.workplace(base) as work:
        made = work / "new"
        made.mkdir()
        (made / "saved_model.pb").write_text(content)
        return versions.publish(made, base, versions.next_version(base))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_count_from_one(base):
    assert [publish(base).name for _ in range(3)] == ["1", "2", "3"]
    assert names(base) == ["1", "2", "3"]


def test_whatever_parses_as_a_number_is_taken(base):
    base.mkdir(parents=True)
    (base / "0007").mkdir()
    assert publish(base).name == "8"
    (base / "12").write_text("a file, which a server would take for a version too")
    (base / "v40").mkdir()
    assert publish(base).name == "13"


def test_a_number_that_another_export_took_is_refused_and_left_alone(base):
    with versions.workplace(base) as work:
        made = work / "new"
        made.mkdir()
        publish(base, "theirs")
        with pytest.raises(FileExistsError):
            versions.publish(made, base, 1)
        assert versions.publish(made, base, 2).name == "2"
    assert (base / "1" / "saved_model.pb").read_text() == "theirs"


def test_other_users_can_read_it(base):
    old = os.umask(0o077)
    try:
        version = publish(base)
    finally:
        os.umask(old)
    assert version.stat().st_mode & 0o777 == 0o755
    assert (version / "saved_model.pb").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_nothing_behind(base, existing):
    if existing:
        publish(base)
    before = sorted(base.parents[1].rglob("*"))

    def fill_the_disk():
        with versions.workplace(base) as work:
            # In the making it is on the same file system and named so that no server looks at it.
            assert work.parent == base
            assert not work.name[0].isdecimal()
            (work / "new").mkdir()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill_the_disk()
    assert sorted(base.parents[1].rglob("*")) == before


def test_what_a_killed_export_left_is_taken_away_a_day_later(base):
    publish(base)
    for name, age in (("killed", 25 * 3600), ("running", 23 * 3600)):
        (base / f".new-{name}").mkdir()
        (base / f".new-{name}" / "file").write_text("")
        os.utime(base / f".new-{name}", (time.time() - age,) * 2)
    publish(base)
    assert names(base) == [".new-running", "1", "2"]


def test_the_oldest_are_removed(base):
    for _ in range(4):
        publish(base)
    (base / "2" / "more").mkdir()
    (base / "0").write_text("a file")
    assert versions.remove_old(base, 2) == [1, 2]
    assert names(base) == ["0", "3", "4"]
    assert versions.remove_old(base, 5) == []


def test_an_old_version_is_out_of_sight_before_its_files_go(base, monkeypatch):
    publish(base)
    publish(base)
    seen = []
    monkeypatch.setattr(versions.shutil, "rmtree", lambda folder: seen.append((names(base), pathlib.Path(folder).name)))
    versions.remove_old(base, 1)
    ((visible, removed),) = seen
    assert "1" not in visible
    assert removed.startswith(".old-")


def test_versions_are_found_at_three_depths(base):
    for _ in range(11):
        publish(base)
    folders = [base / str(number) for number in range(1, 12)]
    assert versions.version_folders(base.parent) == folders
    assert versions.version_folders(base) == folders
    assert versions.version_folders(base / "7") == [base / "7"]
    with pytest.raises(ValueError, match=r"must be a version, or a folder of versions\. Received: .*nothing"):
        versions.version_folders(base / "nothing")
