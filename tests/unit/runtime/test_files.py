"""What an installation keeps is for its user only."""

from pathlib import Path

from runtime.files import make_private


def test_what_lay_open_before_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    inner = folder / "broker" / "data"
    inner.mkdir(parents=True, mode=0o755)
    log, script = inner / "0.log", folder / "tool"
    log.write_text("who opened what")
    log.chmod(0o644)
    script.write_text("")
    script.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    elsewhere.chmod(0o644)
    (folder / "link").symlink_to(elsewhere)
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    make_private(folder)
    modes = {p: p.stat().st_mode & 0o777 for p in (folder, inner, log, script, elsewhere)}
    assert modes == {folder: 0o700, inner: 0o700, log: 0o600, script: 0o700, elsewhere: 0o644}


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
