"""Random walks: the same questions to a store and to the model."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from ...stores import Answer, Claim, Completion, Count, Record, State, Store
from .._clock import FakeClock
from .._memory_store import Memory, MemoryStore
from .._store_racer import hashed
from ._bench import BRIEF, LONG, Bench, in_loops

__all__ = ["ModelRules"]

KEYS = tuple(hashed(f"key {number}") for number in range(5))
COOLDOWNS = tuple(Record(hashed(f"cooldown {number}"), LONG, forgets=True) for number in range(3))
COUNTS = (Count(hashed("few"), 4, None), Count(hashed("many"), 6, LONG), Count(hashed("brief"), 1, BRIEF))
HEADERS = (hashed("one"), hashed("two"))


@attrs.define
class Step:
    """A question, and whether what is `BRIEF` is to be over before the next one."""

    ask: Callable[[Store], Awaitable[Any]]
    brief: bool = False
    claims: list[Claim] = attrs.field(factory=list[Claim])


@attrs.define
class Walk:
    """Makes the questions that a rule decides, and remembers which claims were granted.

    Args:
        rng: The source of chance.
        make: Makes a claim of a new token.
        open: The granted claims that have not ended.
        ended: The others with the state that ended them.
    """

    rng: random.Random
    make: Callable[..., Claim]
    open: list[Claim] = attrs.field(factory=list[Claim])
    ended: list[tuple[Claim, State]] = attrs.field(factory=list[tuple[Claim, State]])

    def step(self, seen: dict[bytes, Answer]) -> Step:
        """Make a question. `seen` is what the records are now."""
        kind = self.rng.random()
        if kind < 0.4:
            claims = [self._claim(seen, brief=False) for _ in range(self.rng.randint(1, 4))]
            again = [claim for claim in self.open if claim.lease == LONG and claim.record is not None]
            claims += self.rng.sample(again, min(len(again), self.rng.randint(0, 2)))
            self.rng.shuffle(claims)
            return Step(lambda store: store.claim(claims), claims=claims)
        if kind < 0.55:
            claims = [self._claim(seen, brief=True)]
            return Step(lambda store: store.claim(claims), brief=True, claims=claims)
        if kind < 0.6:
            claim = self._claim(seen, brief=False)
            give_back = claim.counts
            ends = [Completion(claim=claim, state=State.FREE, result="", give_back=give_back, withdrawn=True)]

            async def withdrawn(store: Store) -> Any:
                await store.complete(ends)
                return await store.claim([claim])

            return Step(withdrawn)
        if kind < 0.85:
            ends = [end for _ in range(self.rng.randint(1, 3)) if (end := self._completion()) is not None]
            brief = any(end.claim.lease == BRIEF for end in ends)
            ends = [end for end in ends if not brief or end is ends[0]]
            return Step(lambda store: store.complete(ends), brief=brief)
        if kind < 0.95:
            known = [*self.open, *(claim for claim, _ in self.ended)]
            leased = [claim for claim in known if claim.record is not None]
            claims = self.rng.sample(leased, min(len(leased), 3))
            brief = any(claim.lease == BRIEF for claim in claims)
            return Step(lambda store: store.renew(claims), brief=brief)
        key, value = self.rng.choice(HEADERS), f"{self.rng.random()}"
        return Step(lambda store: store.header(key, value))

    def _claim(self, seen: dict[bytes, Answer], *, brief: bool) -> Claim:
        rng, short = self.rng, BRIEF if brief else LONG
        record = Record(rng.choice(KEYS), short, rng.choice([b"one", b"two"])) if rng.random() < 0.9 else None
        resend = replace = None
        if record is not None and seen[record.key].state is not State.FREE:
            resend = rng.choice([None, "another", seen[record.key].token])
            replace = rng.choice([None, "another", seen[record.key].token])
        return self.make(
            record=record,
            lease=short,
            cooldown=None if brief else rng.choice([None, None, *COOLDOWNS]),
            counts=tuple(one for one in COUNTS[: 2 + brief] if rng.random() < 0.2),
            report_id=rng.choice([None, f"report {rng.random()}"]),
            resend=resend,
            replace=replace,
            force=resend is not None or rng.random() < 0.3,
        )

    def _completion(self) -> Completion | None:
        rng = self.rng
        if self.ended and rng.random() < 0.3:
            claim, before = rng.choice(self.ended)
            state = before if before is not State.IN_DOUBT else rng.choice([before, State.COMPLETED])
            self.ended.remove((claim, before))
        elif self.open:
            claim = rng.choice(self.open)
            state = rng.choice([State.COMPLETED, State.COMPLETED, State.IN_DOUBT, State.FREE, State.FREE])
            self.open.remove(claim)
        else:
            return None
        if claim.lease == LONG or state is not State.COMPLETED:
            self.ended.append((claim, state))
        give_back = tuple(one for one in claim.counts if rng.random() < 0.7)
        return Completion(claim=claim, state=state, result=f"{rng.random()}", give_back=give_back)


def comparable(answer: Any) -> Any:
    """Return the part that two stores have to agree on: a granted claim may repeat its holder, a running lease what was before."""
    if isinstance(answer, list):
        return [comparable(one) for one in answer]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(answer, Answer):
        return answer
    if answer.state in {State.CLAIMED, State.LIMITED}:
        return answer.state, answer.result, answer.limit
    leased = answer.state is State.IN_PROGRESS
    return attrs.evolve(
        answer, result=None if leased else answer.result, remaining=float(answer.remaining > 0)
    )


@in_loops
class ModelRules(Bench):
    """The rules together, in any order."""

    @pytest.mark.parametrize("seed", range(3))
    async def test_random_walk_agrees_with_the_model(self, seed: int) -> None:
        store, keys = await self.open(), [*KEYS, *(record.key for record in COOLDOWNS)]
        looked = [Record(key, LONG) for key in keys]
        walk = Walk(random.Random(seed), self.claim)  # noqa: S311  # a walk, no secret
        clock = FakeClock()
        async with MemoryStore(Memory(clock)) as model:
            seen = await model.peek(looked)
            for _ in range(70):
                step = walk.step(dict(zip(keys, seen, strict=True)))
                expected, given = await step.ask(model), await step.ask(store)
                assert comparable(given) == comparable(expected)
                for claim, answer in zip(step.claims, expected, strict=False):
                    if answer.state is State.CLAIMED and claim not in walk.open:
                        walk.open.append(claim)
                if step.brief:
                    clock.advance(2 * BRIEF)
                    await self.advance(store, 2 * BRIEF)
                seen = await model.peek(looked)
                assert comparable(await store.peek(looked)) == comparable(seen)
