"""How a text arrives on a phone, in the words of its page.

Rules of this module:

- Pure: a text in, sentences out. What Request PIN makes of a text that is longer than one segment, or not in GSM-7,
  is not published: these are the sizes that any SMS has.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .._text import beyond_gsm_7, sms_size

__all__ = ["arrival"]

_SHOWN: Final = 6
"""Characters that are named as the reason for UCS-2."""
# The last line alone, as the format of origin-bound one-time codes has it (WICG).
_CODE_LINE: Final = re.compile(r"@(\S+) #\S+")


@lru_cache(maxsize=1000)  # the page asks again for each SMS that it shows, at each change
def arrival(text: str) -> tuple[int, tuple[str, ...]]:
    """Give the number of segments, and what there is to say of them."""
    size = sms_size(text)
    said = [
        f"{size.segments} segment{'s' if size.segments > 1 else ''}",
        f"{size.alphabet}, {size.units} of {size.room} units",
    ]
    beyond = [ch for _, ch in beyond_gsm_7(text)]
    if beyond:
        more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
        said.append(f"not in GSM-7: {' '.join(beyond[:_SHOWN])}{more}")
    code = _CODE_LINE.match(re.split(r"\r\n|\r|\n", text)[-1])
    if code is not None:
        said.append(f"browsers fill it in on {code[1]}")
    return size.segments, tuple(said)
