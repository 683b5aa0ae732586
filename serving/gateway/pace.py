"""How fast a model answers, and whether a further request would wait for longer than anybody should.

A number of requests in flight is a moment's work of a fast model, and far too much of a slow one. What cannot be done
soon is refused at once instead.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from i2i_rt.serving.gateway.refused import Refused

LONGEST_S = 4.0  # that a request may be expected to take
LEAST = 4  # requests that are always let in: a video alone has so many in flight
WEIGHT = 0.2  # of the newest answer in the mean


class Pace:
    """The pace of one model.

    Attributes:
        in_flight: requests that it has not answered yet.
        each_s: that it takes for each of those in flight, on the mean of the last answers; 0 before the first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.in_flight = 0
        self.each_s = 0.0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it is in flight; only one that is answered tells of the pace.

        Raises:
            Refused: UNAVAILABLE where it would have to wait for too long.
        """
        expected_s = (self.in_flight + 1) * self.each_s
        if self.in_flight >= LEAST and expected_s > LONGEST_S:
            words = f"{self._name} has an overload of {self.in_flight} requests in flight"
            raise Refused("UNAVAILABLE", f"{words}, each {self.each_s:.2g} s", retry_after_s=1)
        self.in_flight += 1
        place, started = self.in_flight, time.monotonic()
        try:
            yield
            sample = (time.monotonic() - started) / place
            self.each_s += (sample - self.each_s) * (WEIGHT if self.each_s else 1.0)
        finally:
            self.in_flight -= 1
