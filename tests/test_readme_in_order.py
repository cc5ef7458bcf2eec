"""The blocks of the README and the guide run as a reader pastes them: all of them, in their order, in one shell.

- A block of Python is saved under the name that the sentence before it gives, or run. A person types the PIN of the SMS.
- A program that serves is put in the background, and has said that it is ready before the next block begins.
- The network is not asked. An environment that is made is the tests' own one under another name. What is installed in each
  is checked by the metadata of what is installed here: there has to be a version of everything that suits all.
- Left out are `.venv/bin/uv` (these tests, benchmarks, the guide) and `gateway360 demo --processes 2` (see
  `tests/cli/test_demo_processes.py`). Ports that are fixed in the text are replaced by free ones: `PORTS`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.examples import INCLUDED, PAGES
from support.installable import contradictions
from support.loopback import free_port
from support.plugins import alone

CHECKOUT = "gateway360-async"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:.*\\\n)*.+")
SERVERS = {
    "gateway360 sandbox": "export GATEWAY360_API_KEY",
    "python3 -m uvicorn": "Uvicorn running on",
    "celery -A shop": "key=celery",
    "redis-server": "Ready to accept connections",
}
"""Programs that serve until they are ended, and what they say when they are ready."""

PORTS = {
    ":8360": ":{sandbox}",
    "gateway360 sandbox": "gateway360 sandbox --port {sandbox}",
    ":8000": ":{app}",
    "uvicorn app:app": "uvicorn app:app --port {app}",
    ":6379": ":{redis}",
    "redis-server": "redis-server --port {redis}",
}
"""What stands in the text, and what does in the test: with a free port, and a default spelled out."""

LEFT_OUT = (".venv/bin/uv ", "gateway360 demo --processes 2")
SHELL = r"""
set -euo pipefail

make_environment() {  # the tests' own, with a pip and a uv that only note what they are asked for
  mkdir -p "$1/bin"
  local bin; bin=$(cd "$1/bin" && pwd)
  ln -sf "$PROGRAMS"/* "$bin"
  rm -f "$bin"/{python,python3,pip,uv,activate}
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$PYTHON" | tee "$bin/python" >"$bin/python3"
  printf '#!/bin/sh\necho "%s $*" >>"%s"\n' "$bin" "$NOTES" | tee "$bin/pip" >"$bin/uv"
  chmod +x "$bin"/{python,python3,pip,uv}
  echo "PATH=$bin:\$PATH" >"$bin/activate"
}
python3() { if [ "${1-} ${2-}" = "-m venv" ]; then make_environment "$3"; else command python3 "$@"; fi; }
serve() {  # what it says when it is ready, a file for what it says, and the command
  local ready=$1 log=$2; shift 2
  "$@" >"$log" 2>&1 &
  until grep -qF "$ready" "$log"; do
    kill -0 $! || { cat "$log" >&2; return 1; }
    read -rt 0.05 <>"$CLOCK" || true
  done
}
trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR
typed_pin() {  # the PIN of the next SMS, or of the last one
  local log; log=$(dirname "$NOTES")/sandbox.log
  until [ "$(grep -c → "$log")" -gt "${1:-0}" ]; do read -rt 0.05 <>"$CLOCK" || true; done
  grep → "$log" | tail -1 | grep -oE '[0-9]+' | tail -1
}
sms() { grep -c → "$(dirname "$NOTES")/sandbox.log" 2>/dev/null || true; }
"""


def named(before: str) -> str | None:
    """Give the file that the sentence before a block names for it."""
    sentence = before.rstrip().rpartition("\n\n")[2]
    names = re.findall(r"`(\w+\.py)`", sentence)
    return names[-1] if names and sentence.endswith(":") else None


def commands_of(block: str, folder: Path, line: int) -> list[str]:
    made = []
    for command in COMMAND.findall(block):
        bare = re.sub(r"\s{2,}# .*$", "", command)
        started = re.sub(r"^(?:\w+=\S* )+", "", bare)
        server = next((start for start in SERVERS if started.startswith(start)), None)
        if server is not None:
            log = folder / ("sandbox.log" if "sandbox" in server else f"line-{line}.log")
            made.append(f"serve {shlex.quote(SERVERS[server])} {shlex.quote(str(log))} env {bare}")
        elif started.startswith("gateway360 verify"):
            made.append(f"typed_pin | {bare}")
        elif not started.rpartition("&& ")[2].startswith(LEFT_OUT):
            made.append(command)
        elif "&& " in started:
            made.append(started.rpartition(" && ")[0])
    return made


def script_of(name: str, text: str, folder: Path) -> str:
    parts = []
    for found in BLOCK.finditer(text):
        language, block = found.groups()
        line = text.count("\n", 0, found.start()) + 1
        if language in ("toml", "yaml") or INCLUDED in block:  # a recipe has its own test
            continue
        parts.append(f"echo '-- {name}, line {line}'")
        if language == "sh":
            parts += commands_of(block, folder, line)
            continue
        assert language == "python", f"no way to run a block of {language}, line {line}"
        saved = named(text[: found.start()])
        file = saved or f"{name.removesuffix('.md').replace('-', '_')}_{line}.py"
        parts.append(f"cat >{file} <<'END OF BLOCK'\n{block}END OF BLOCK")
        if saved is None:
            parts.append(f"before=$(sms); python3 {file} < <(typed_pin $before)")
    return "\n".join(parts)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: install Debian's package `curl`")
@pytest.mark.timeout(300)  # it starts some thirty processes
def test_readme_pasted_in_order_works(make_redis, tmp_path):
    ports = {name: free_port() for name in ("sandbox", "app", "redis")}
    script = SHELL
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fixed, spelled in PORTS.items():
            text = text.replace(fixed, spelled.format(**ports))
        script += script_of(page.name, text, tmp_path) + "\n"
    (tmp_path / CHECKOUT).mkdir()
    notes, clock = tmp_path / "notes", tmp_path / "clock"
    os.mkfifo(clock)
    settings = {"NOTES": str(notes), "CLOCK": str(clock), "BROWSER": "true", "COLUMNS": "200"}
    settings |= {
        "PROGRAMS": str(Path(sys.executable).parent),
        "PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",
        "PYTEST_ADDOPTS": shlex.join(
            alone("asyncio")
        ),  # of the plugins here, those that a reader has installed
    }
    with (
        (tmp_path / "said").open("w") as output,
        subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path / CHECKOUT, env=os.environ | settings, start_new_session=True,
            stdout=output, stderr=subprocess.STDOUT,
        ) as shell,
    ):  # fmt: skip
        code = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = shell.wait(200)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # the servers, which nothing else ends
    said = (tmp_path / "said").read_text(encoding="utf-8")
    logs = "\n".join(f"== {log.name}\n{log.read_text()}" for log in tmp_path.glob("*.log"))
    assert code == 0, f"{said}\n{logs}"
    assert "every SMS is accounted for" in said
    assert '{"next":' in said
    assert "1 passed" in said
    assert "2 passed" in said
    assert "not known" not in said

    installs: dict[str, list[str]] = defaultdict(list)
    for note in notes.read_text(encoding="utf-8").splitlines():
        environment, command, *words = shlex.split(note)
        if command == "install":
            installs[environment] += [word for word in words if not word.startswith("-")]
    ours = re.compile(rf"^\.(?:\./{CHECKOUT})?(?=\[|$)")
    assert {
        name: wrong
        for name, words in installs.items()
        if (wrong := contradictions([ours.sub(CHECKOUT, word) for word in words]))
    } == {}
