"""Which requests are sent again, how often and when."""

import random
from dataclasses import dataclass

from i2i_rt.serving.errors import Busy, ModelDied, ServingError, Unreachable


@dataclass(frozen=True)
class Retry:
    """Asks again after pauses that double, each drawn from half of its length to all of it.

    An overloaded server is asked a few times only. One that restarts is asked until the deadline: it refuses at once
    and at no cost. What it refuses for good, a restricted call among it, is never sent again.

    Attributes:
        overloaded: the most times that a request is sent again because the server is overloaded.
        first_s, most_s: the first pause and the longest one.
    """

    overloaded: int = 3
    first_s: float = 0.05
    most_s: float = 1.0

    def pause_s(self, error: ServingError, attempt: int, *, repeatable: bool, known: bool) -> float | None:
        """Gives the pause before the next attempt; None where there is to be none.

        Args:
            error: what came of the last attempt.
            attempt: how many were made before it.
            repeatable: whether the work may be done twice. That of a frame in a stream may not: the model remembers.
            known: whether the server ever answered; an address where nobody ever did is rather a mistake.
        """
        if error.taken and not repeatable:
            return None
        if isinstance(error, Busy):
            again = not error.overloaded or attempt < self.overloaded
        else:
            again = isinstance(error, ModelDied) or (isinstance(error, Unreachable) and known)
        if not again:
            return None
        pause: float = max(min(self.first_s * 2 ** min(attempt, 10), self.most_s), error.retry_after_s or 0.0)
        # not all at one time; and never before the server asked for
        return pause * (random.uniform(1.0, 1.25) if error.retry_after_s else random.uniform(0.5, 1.0))
