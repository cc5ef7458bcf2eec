"""What the first client and the first connection import is not imported with the package."""

import subprocess
import sys

LATER = (
    "httpx",
    "httpx2",
    "cattrs",
    "certifi",
    "aiohappyeyeballs",
    "http.cookiejar",
    "sqlite3",
    "redis",
    "starlette",
)
PROGRAM = f"""
import sys
import gateway360_async
print(*(name for name in {LATER!r} if name in sys.modules))
"""


def test_package_import_brings_only_what_it_needs():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
