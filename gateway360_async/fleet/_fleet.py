"""What the processes of a fleet have in common: settings, and no state."""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from .._errors import InvalidConfiguration
from .._guard import SpendGuard
from .._redis._link import Link, checked_url
from .._redis._names import Names, checked_name
from .._secret import Secret
from .._settings import checked_seconds
from ._session import FleetSession

__all__ = ["Fleet"]


def _checked_rate(rate: float | None) -> float | None:
    if rate is None:
        return None
    expected = "requests a second, 0.00001 to 1000000, or None"
    checked = checked_seconds("rate", rate, expected)
    if not 1e-5 <= checked <= 1e6:
        raise InvalidConfiguration("rate", f"is {rate!r}", expected)
    return checked


class Fleet:
    """What all processes of a fleet have in common. Hand it to each one's `Gateway360Client(fleet=…)`.

    Args:
        url: The Redis that they share: `redis://…`, `rediss://…` (TLS) or `unix://…`.
        name: The fleet's name, which its keys in Redis begin with: letters, digits, `_`, `.` and `-`. A fleet is of one
            account and one gateway: clients with another API key or URL are refused, and have to have another name.
        rate: Requests that start in a second, over all processes, retries included; `None`: no bound. In any stretch
            there are at most those of its length, and those of a quarter of a second more.
        keep: Seconds that the record of a wish stays after its outcome: a task that is delivered later than that
            sends again.
        patience: Seconds that a call waits for a Redis that is away before it is refused, which is `NOT_SENT`.

    Raises:
        InvalidConfiguration: A setting is wrong; `.setting` names it.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "gateway360",
        rate: float | None = None,
        keep: float = 86_400.0,
        patience: float = 2.0,
    ) -> None:
        # First, so that a fleet whose settings are refused below still has a `repr`, for the traceback.
        self.name, self.keep, self.patience = "", 0.0, 0.0
        self.rate: float | None = None
        checked = checked_url(url)
        # Gone before anything can raise with this frame, and so with this variable, in its traceback.
        del url
        if isinstance(checked, InvalidConfiguration):
            raise checked
        self._url = checked
        self.name = checked_name(name)
        self.rate = _checked_rate(rate)
        self.keep = checked_seconds("keep", keep, "a finite number of seconds, 1 or more", least=1.0)
        self.patience = checked_seconds("patience", patience, "a finite number of seconds, 0 or more")

    def __repr__(self) -> str:
        return f"Fleet(name={self.name!r}, rate={self.rate}, keep={self.keep:g}, patience={self.patience:g})"

    async def check(self) -> list[str]:
        """Ask Redis how it is set up.

        Returns:
            What is wrong with that, and what is lost for it, a sentence each. They are logged as warnings as well.

        Raises:
            FleetError: Redis cannot be asked.
            InvalidConfiguration: It is a cluster.
        """
        link = Link(self._url, f"{self.name}:memory")
        try:
            return await link.troubles()
        finally:
            await link.aclose()

    def session(
        self,
        *,
        gateway_url: str,
        api_key: Secret,
        deadline: float = 30.0,
        guard: SpendGuard | None = None,
        cooldown: float | None = None,
    ) -> FleetSession:
        """Open a client's part of the fleet. The client does that by itself.

        Args:
            gateway_url: Where its requests are posted to.
            api_key: The account's key.
            deadline: Seconds that most of its calls take at most.
            guard: Where requests may go, and how many.
            cooldown: Seconds for which a result stands for its number.
        """
        names = Names(self.name, gateway_url, api_key)
        link = Link(self._url, names.memory, names.account)
        return FleetSession(
            names,
            link,
            keep=self.keep,
            rate=self.rate,
            patience=self.patience,
            deadline=deadline,
            guard=guard,
            cooldown=cooldown,
        )
