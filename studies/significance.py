"""Statistics of two samples: intervals, tests, effect sizes, correction for several pairs.

Everything takes arrays with one value for each unit of replication and knows nothing of runs. All differences are of b less a.
"""

import math

import numpy as np

from studies.objectives import Z, wilson

LEAST_RESAMPLED = 8
"""Seeds from which on an interval is bootstrapped; of fewer there are too few different samples."""
RESAMPLES, MOST_DRAWN = 1999, 4_000_000
"""Bootstrap samples, and the most values drawn for them (fewer samples of very many seeds do)."""
MOST_EXACT = 50
"""Values up to which a rank test is exact."""


def holm(p_values: list[float]) -> np.ndarray:
    """Return p-values corrected for their number by Holm's method: shape (pairs,); NaN stays and does not count."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")[: np.isfinite(p_values).sum()]
    corrected = np.full(len(p_values), np.nan)
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, p_values[order] * factors))
    return corrected


def mean_gain(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    """Return the mean of b less that of a."""
    return float((b - a).mean() if paired else b.mean() - a.mean())


def _is_binary(*samples: np.ndarray) -> bool:
    return all(np.isin(sample, (0.0, 1.0)).all() for sample in samples)


def interval(a: np.ndarray, b: np.ndarray, paired: bool, shares: bool = False) -> tuple[float, float, str]:
    """Return the 95 % interval of how much larger b is than a on average, and how it was found.

    The symmetric studentized (percentile-t) bootstrap: Efron & Tibshirani (1993), "An introduction to the bootstrap", section
    12.5; Hall (1988), "On symmetric bootstrap confidence intervals". With ten seeds plain percentiles cover the truth in about
    90 % of all cases, and studentized ones with two different ends in 91 to 94 % if the values are skewed. Student's t
    (Welch's if unpaired) below `LEAST_RESAMPLED` seeds and where samples are often all alike; Newcombe's interval for
    hits and misses.

    Parameters
    ----------
    a, b : array, shape (seeds,)
        In the same order if paired.
    shares : bool
        Whether these are shares of hits: if one configuration was trained, 1 or 0 with each seed.

    Returns
    -------
    low, high : float
        NaN with fewer than two seeds.
    how : str
    """
    if min(len(a), len(b)) < 2:
        return math.nan, math.nan, "none"
    if shares and _is_binary(a, b):
        return *newcombe(a, b, paired), "Newcombe's hybrid score"
    samples = [b - a] if paired else [a, b]
    middle, errors = mean_gain(a, b, paired), [_error(sample) for sample in samples]
    scale = max(np.abs(a).max(), np.abs(b).max())
    error = math.hypot(*errors)
    if error <= 1e-14 * scale:
        return middle, middle, "no scatter"
    if min(map(len, samples)) >= LEAST_RESAMPLED:
        reach = error * _studentized(samples, error)
        if math.isfinite(reach):
            return middle - reach, middle + reach, "studentized bootstrap"
    from scipy.special import stdtrit

    degrees = sum(e**2 for e in errors) ** 2 / sum(e**4 / (len(s) - 1) for e, s in zip(errors, samples, strict=True) if e)
    reach = error * float(stdtrit(degrees, 0.975))
    return middle - reach, middle + reach, "Student's t" if paired else "Welch's t"


def _error(sample: np.ndarray) -> float:
    """Return the standard error of a mean."""
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def _studentized(samples: list[np.ndarray], error: float) -> float:
    """Return how many standard errors an interval reaches from one sample's mean, or from the difference of two samples' means.

    NaN where too many bootstrap samples have no scatter to divide by. The samples' order does not matter, so that A and B can
    change places.
    """
    samples = sorted(((sample - sample.mean()) / error for sample in samples), key=lambda sample: sample.tolist())
    n = int(np.clip(MOST_DRAWN // sum(map(len, samples)), 199, RESAMPLES))
    rng, shift, square = np.random.default_rng(1), np.zeros(n), np.zeros(n)
    for sign, sample in zip((1, -1), samples, strict=False):
        drawn = sample[rng.integers(0, len(sample), (n, len(sample)), dtype=np.int32)]
        mean, mean_square = drawn.mean(axis=1), np.einsum("ij,ij->i", drawn, drawn) / len(sample)
        shift += sign * mean
        square += (mean_square - mean**2) / (len(sample) - 1)
    good = square > 1e-12
    return float(np.quantile(np.abs(shift[good]) / np.sqrt(square[good]), 0.95)) if good.mean() > 0.99 else math.nan


def newcombe(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float]:
    """Return the 95 % interval of a difference of shares, of b less a, from Wilson's intervals of both.

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10, and "Improved
    confidence intervals for the difference between binomial proportions based on paired data", method 10.
    """
    p, q = float(a.mean()), float(b.mean())
    (low_a, high_a), (low_b, high_b) = wilson(int(a.sum()), len(a)), wilson(int(b.sum()), len(b))
    phi = _association(a, b) if paired else 0.0
    down, up = (q - low_b, high_a - p), (high_b - q, p - low_a)
    reach = [math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y)) for x, y in (down, up)]
    return q - p - reach[0], q - p + reach[1]


def _association(a: np.ndarray, b: np.ndarray) -> float:
    """Return Newcombe's phi of paired 0s and 1s, corrected for continuity; 0 where one of them never changes."""
    both, neither, only_a, only_b = (a * b).sum(), ((1 - a) * (1 - b)).sum(), (a * (1 - b)).sum(), ((1 - a) * b).sum()
    spread = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    excess = max(0.0, excess - len(a) / 2) if excess > 0 else excess
    return float(excess / math.sqrt(spread)) if spread else 0.0


def probability_of_improvement(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float, float]:
    """Return how likely a value of b is above one of a (a tie counts half), with its 95 % interval.

    Paired: the share of pairs with Wilson's interval. Unpaired: U / (m n), with the interval of Newcombe (2006), "Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5, which is not of no width
    where all values of one are above the other's, as a bootstrap's is.
    """
    if paired:
        wins = float(((np.sign(_tidy(b - a, a, b)) + 1) / 2).sum())
        return wins / len(a), *wilson(wins, len(a))
    from scipy.optimize import brentq

    order = np.sort(a)
    below = (np.searchsorted(order, b, "left") + np.searchsorted(order, b, "right")) / 2
    share, size = float(below.mean() / len(a)), (len(a) + len(b)) / 2 - 1

    def square(theta: float) -> float:
        spread = 1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - share) ** 2 - Z * Z * theta * (1 - theta) * spread / (len(a) * len(b))

    low = brentq(square, 0.0, min(share, 1 - 1e-9)) if share > 0 else 0.0
    high = brentq(square, max(share, 1e-9), 1.0) if share < 1 else 1.0
    return share, low, high


def effect_size(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, str]:
    """Return by how many standard deviations b is larger than a, and the measure's name; infinite without any scatter."""
    name = "Cohen's dz" if paired else "Hedges' g"
    if min(len(a), len(b)) < 2:
        return math.nan, name
    gain, scale = mean_gain(a, b, paired), max(np.abs(a).max(), np.abs(b).max())
    if paired:
        spread, correction = float((b - a).std(ddof=1)), 1.0
    else:
        degrees = len(a) + len(b) - 2
        spread = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / degrees)
        correction = 1 - 3 / (4 * degrees - 1)
    if spread <= 1e-14 * scale:
        return (0.0 if abs(gain) <= 1e-14 * scale else math.copysign(math.inf, gain)), name
    return correction * gain / spread, name


def _tidy(values: np.ndarray, *samples: np.ndarray) -> np.ndarray:
    """Return values in which what differs by rounding only is equal, measured by the largest of the samples."""
    scale = max(float(np.abs(sample).max()) for sample in samples)
    return np.round(values / scale, 12) + 0.0 if scale else values


def rank_test(a: np.ndarray, b: np.ndarray, paired: bool, shares: bool = False) -> tuple[float, str]:
    """Return the two-sided p-value of no difference and the test's name.

    Wilcoxon's signed-rank test without differences of 0, or Mann & Whitney's: exact up to `MOST_EXACT` values, with ties too;
    then by the normal distribution. For hits and misses (`shares` as in `interval`) McNemar's exact test or Fisher's.
    """
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return math.nan, "none"
    if shares and _is_binary(a, b):
        return _shares_test(a, b, paired)
    if paired:
        gains = _tidy(b - a, a, b)
        gains = gains[gains != 0]
        if len(gains) > MOST_EXACT:
            return float(stats.wilcoxon(gains, method="asymptotic").pvalue), "Wilcoxon signed-rank"
        return _signed_rank_p(gains), "Wilcoxon signed-rank"
    x, y = _tidy(a, a, b), _tidy(b, a, b)
    if len(x) + len(y) > MOST_EXACT and len(np.unique([*x, *y])) > 1:
        return float(stats.mannwhitneyu(y, x, method="asymptotic").pvalue), "Mann-Whitney"
    return _rank_sum_p(x, y), "Mann-Whitney"


def _signed_rank_p(gains: np.ndarray) -> float:
    """Return the p-value of a sum of signed ranks among those of all signs, counted one value after the other."""
    from scipy.stats import rankdata

    ranks = (2 * rankdata(np.abs(gains))).astype(int)  # whole numbers, whatever is tied
    counts = np.zeros(ranks.sum() + 1)
    counts[0] = 1
    for rank in ranks:
        counts[rank:] += counts[:-rank].copy()
    return _two_sided(counts, ranks[gains > 0].sum())


def _rank_sum_p(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of a sum of ranks among those of all choices of so many values, counted one value after the other."""
    from scipy.stats import rankdata

    ranks, n = (2 * rankdata([*a, *b])).astype(int), min(len(a), len(b))
    counts = np.zeros((n + 1, ranks.sum() + 1))
    counts[0, 0] = 1
    for rank in ranks:
        counts[1:, rank:] += counts[:-1, :-rank].copy()
    return _two_sided(counts[n], (ranks[: len(a)] if n == len(a) else ranks[len(a) :]).sum())


def _two_sided(counts: np.ndarray, place: int) -> float:
    """Return twice the smaller share of what is at or below a place, and at or above it."""
    tails = counts[: place + 1].sum(), counts[place:].sum()
    return float(min(1.0, 2 * min(tails) / counts.sum()))


def _shares_test(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, str]:
    from scipy import stats

    if not paired:
        hits = [[int(x.sum()), int(len(x) - x.sum())] for x in (a, b)]
        return float(stats.fisher_exact(hits).pvalue), "Fisher's exact"
    up, down = int((b > a).sum()), int((b < a).sum())
    return (float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0), "McNemar's exact"
