"""Histograms: adding them up, and estimating quantiles from their buckets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from multiagents_otel.tools.records import Buckets, Distribution, ExponentialBuckets

_NO_BUCKETS = Buckets((), ())
_Indexed = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Estimate:
    """An estimated quantile. ``beyond``: it lies somewhere above ``value``, in a bucket that has no upper end."""

    value: float
    beyond: bool = False


def merged(distributions: list[Distribution]) -> Distribution:
    """Return the sum of some distributions, at least one. Without buckets where the bounds are not the same."""
    return reduce(_add, distributions)


def quantile(distribution: Distribution, q: float) -> Estimate | None:
    """Return an estimate by linear interpolation within a bucket, None if there are no buckets to tell from."""
    slices = [entry for entry in _slices(distribution) if entry[2]]
    rank = q * sum(count for _, _, count in slices)
    for low, high, count in slices:
        if rank <= count:
            if low is None:
                return None if high is None else Estimate(_clamped(high, distribution))
            if high is None or (high == math.inf and distribution.high is None):
                return Estimate(low, beyond=True)
            value = low + (high - low) * rank / count
            return None if math.isnan(value) else Estimate(_clamped(value, distribution))  # a bound may be -Infinity
        rank -= count
    return None


def _add(one: Distribution, other: Distribution) -> Distribution:
    if not one.count or not other.count:
        return other if other.count else one
    return Distribution(
        count=one.count + other.count,
        total=None if one.total is None or other.total is None else one.total + other.total,
        low=None if one.low is None or other.low is None else min(one.low, other.low),
        high=None if one.high is None or other.high is None else max(one.high, other.high),
        buckets=_add_buckets(one.buckets, other.buckets),
    )


def _add_buckets(
    one: Buckets | ExponentialBuckets, other: Buckets | ExponentialBuckets
) -> Buckets | ExponentialBuckets:
    if isinstance(one, Buckets) and isinstance(other, Buckets):
        if one.bounds == other.bounds and one.counts and other.counts:
            return Buckets(one.bounds, tuple(a + b for a, b in zip(one.counts, other.counts, strict=True)))
        return _NO_BUCKETS
    if isinstance(one, ExponentialBuckets) and isinstance(other, ExponentialBuckets):
        scale = min(one.scale, other.scale)
        down, down_other = one.scale - scale, other.scale - scale
        return ExponentialBuckets(
            scale=scale,
            zero=one.zero + other.zero,
            zero_threshold=max(one.zero_threshold, other.zero_threshold),
            positive=_add_indexed(one.positive, down, other.positive, down_other),
            negative=_add_indexed(one.negative, down, other.negative, down_other),
        )
    return _NO_BUCKETS


def _add_indexed(one: _Indexed, down: int, other: _Indexed, down_other: int) -> _Indexed:
    # Halving the resolution puts two neighbours into one bucket: the index loses a bit.
    counts: dict[int, int] = {}
    for indexed, shift in ((one, down), (other, down_other)):
        for index, count in indexed:
            counts[index >> shift] = counts.get(index >> shift, 0) + count
    return tuple(sorted(counts.items()))


def _slices(distribution: Distribution) -> Iterator[tuple[float | None, float | None, int]]:
    """Return the buckets in ascending order: lower end, upper end, count. An end that nobody knows is None."""
    buckets = distribution.buckets
    if isinstance(buckets, ExponentialBuckets):
        for index, count in reversed(buckets.negative):
            yield -_bound(buckets.scale, index + 1), -_bound(buckets.scale, index), count
        yield (-buckets.zero_threshold if buckets.negative else 0.0), buckets.zero_threshold, buckets.zero
        for index, count in buckets.positive:
            yield _bound(buckets.scale, index), _bound(buckets.scale, index + 1), count
        return
    if not buckets.counts:
        return
    lowest = distribution.low
    if buckets.bounds and buckets.bounds[0] > 0 and (lowest is None or lowest >= 0):
        lowest = 0.0  # as Prometheus does: nothing below 0 is measured by buckets that are all above it
    ends = [lowest, *buckets.bounds, distribution.high]
    for index, count in enumerate(buckets.counts):
        yield ends[index], ends[index + 1], count


def _bound(scale: int, index: int) -> float:
    try:
        return float(2.0 ** math.ldexp(index, -scale))
    except OverflowError:
        return math.inf if index > 0 else 0.0


def _clamped(value: float, distribution: Distribution) -> float:
    if distribution.low is not None:
        value = max(value, distribution.low)
    if distribution.high is not None:
        value = min(value, distribution.high)
    return value
