"""The snippets of the page that the project started from, as they were published: they work here.

``SEED_PAGE`` names the file that holds the page's text. Nothing in a snippet is changed but the
base URL, the two credentials, and two lines that can't work: Go's unused import, which no Go
compiler accepts, and Ruby's ``use_ssl``, because the running system speaks plain HTTP.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

pytestmark = pytest.mark.timeout(300)


class RunningSystem(Protocol):
    env: dict[str, str]
    env_file: Path


class Snippet(NamedTuple):
    first: str
    last: str
    file: str
    command: tuple[str, ...]
    succeeded: str
    """What its output matches when the use was recorded."""
    dropped: str = ""
    """A line that can't work here."""


SNIPPETS = {
    "curl": Snippet(
        first='curl -X POST "',
        last="}'\n",
        file="snippet.sh",
        command=("sh",),
        succeeded=r'"success":true,.*"version":\d+',
    ),
    "python": Snippet(
        first="import requests\n",
        last="print(response.json())\n",
        file="snippet.py",
        command=(sys.executable,),
        succeeded=r"'success': True,.*'version': \d+",
    ),
    "javascript": Snippet(
        first="const response = await fetch(",
        last="console.log(data);\n",
        file="snippet.mjs",
        command=("node",),
        succeeded=r"success: true,.*version: \d+",
    ),
    "go": Snippet(
        first="package main\n",
        last='fmt.Println("Response Status:", resp.Status)\n}\n',
        file="snippet.go",
        command=("go", "run"),
        succeeded=r"^Response Status: 200 OK$",
        dropped='"encoding/json"\n',
    ),
    "ruby": Snippet(
        first="require 'net/http'\n",
        last="puts response.body\n",
        file="snippet.rb",
        command=("ruby",),
        succeeded=r'"success":true,.*"version":\d+',
        dropped="http.use_ssl = true\n",
    ),
}


@pytest.fixture(scope="module")
def page() -> str:
    file = os.environ.get("SEED_PAGE")
    if not file:
        pytest.skip("SEED_PAGE names no file: the seed page is not part of the repository")
    return Path(file).read_text()


def cut(page: str, snippet: Snippet) -> str:
    start = page.index(snippet.first)
    return page[start : page.index(snippet.last, start) + len(snippet.last)]


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


@pytest.mark.parametrize("language", SNIPPETS)
def test_the_published_snippet_works(
    language: str, page: str, running_system: RunningSystem, tmp_path: Path
) -> None:
    snippet = SNIPPETS[language]
    program = "curl" if language == "curl" else snippet.command[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this machine")
    if language == "python" and find_spec("requests") is None:
        pytest.skip("the Python package requests is not installed")
    text = cut(page, snippet)
    assert "/locks/123/use-temp-key" in text
    text = replaced(text, "https://api.spkey.co", running_system.env["BASE_URL"])
    text = replaced(text, "YOUR_API_TOKEN (JWT)", running_system.env["TOKEN"])
    text = replaced(text, "YOUR_API_KEY", running_system.env["API_KEY"])
    if snippet.dropped:
        text = replaced(text, snippet.dropped, "")
    (tmp_path / snippet.file).write_text(text)
    result = subprocess.run(
        [*snippet.command, snippet.file],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(snippet.succeeded, result.stdout, re.DOTALL | re.MULTILINE), result.stdout
