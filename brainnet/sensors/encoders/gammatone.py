r"""The gammatone filter bank of Slaney, as cascades of second-order sections.

$$ g(t) = t^3 e^{-2 \pi b t} \cos(2 \pi f t), \quad b = 1.019 \, \text{ERB}(f), \quad
   \text{ERB}(f) = f / 9.26449 + 24.7 \;\text{Hz} $$

approximates the impulse response of a place of the cochlea (Patterson et al. 1992, *Complex sounds and auditory
images*); the equivalent rectangular bandwidth is that of Glasberg and Moore 1990. With $T = 1 / f_s$, $\omega = 2 \pi f
T$ and $B = 2 \pi b$, the digital filter has four sections (Slaney 1993, *An efficient implementation of the
Patterson-Holdsworth auditory filter bank*, Apple Computer Technical Report 35)

$$ H_k(z) = \frac{T - T e^{-BT} (\cos \omega \pm \sqrt{3 \pm 2^{3/2}} \, \sin \omega) \, z^{-1}}
                {1 - 2 e^{-BT} \cos \omega \, z^{-1} + e^{-2BT} z^{-2}} $$

with the four combinations of the two signs, divided by the gain of the cascade at f.

All numbers are computed in decimals of 50 digits and rounded once, so they are the same on every machine.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Final

import numpy as np
from numpy.typing import NDArray

EAR_Q: Final = Decimal("9.26449")
MIN_BANDWIDTH_HZ: Final = Decimal("24.7")
_WIDTH: Final = Decimal("1.019")
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510582")
_DIGITS: Final = 50


def center_frequencies(bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return frequencies in Hz, float64 [bands], rising, at equal distances on the scale of ERBs, both ends included.

    Args:
        bands: How many; one has the frequency `low_hz`.
        low_hz: The lowest.
        high_hz: The highest.
    """
    with localcontext() as context:
        context.prec = _DIGITS
        offset = EAR_Q * MIN_BANDWIDTH_HZ
        low, high = Decimal(low_hz) + offset, Decimal(high_hz) + offset
        ratio = (high / low).ln()
        return np.array([float(low * (ratio * i / max(bands - 1, 1)).exp() - offset) for i in range(bands)])


def sections(frequencies: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64]:
    """Return the coefficients of the filters, float64 [4, 4, bands]: by section, b0, b1, a1 and a2.

    A section computes y[n] = b0 x[n] + b1 x[n - 1] - a1 y[n - 1] - a2 y[n - 2]. The gain at the centre frequency of a
    band is 1.

    Args:
        frequencies: Centre frequencies in Hz, below half the rate.
        rate_hz: Samples per second.
    """
    return np.stack([_cascade(Decimal(float(f)), rate_hz) for f in frequencies], axis=-1)


def _cascade(frequency: Decimal, rate_hz: int) -> NDArray[np.float64]:
    with localcontext() as context:
        context.prec = _DIGITS
        omega = 2 * _PI * frequency / rate_hz
        decay = (-2 * _PI * _WIDTH * (frequency / EAR_Q + MIN_BANDWIDTH_HZ) / rate_hz).exp()
        cosine, sine = _cos_sin(omega)
        a1, a2 = -2 * decay * cosine, decay * decay
        rows = []
        for inner in (1, -1):
            root = (3 + inner * Decimal(2) * Decimal(2).sqrt()).sqrt()
            for outer in (1, -1):
                b1 = -decay * (cosine + outer * root * sine)
                # |1 + b1 / z| / |1 + a1 / z + a2 / z^2| at z = exp(i omega); T cancels against the gain
                above = _length(1 + b1 * cosine, b1 * sine)
                twice_cosine, twice_sine = cosine * cosine - sine * sine, 2 * sine * cosine
                below = _length(1 + a1 * cosine + a2 * twice_cosine, a1 * sine + a2 * twice_sine)
                gain = above / below
                rows.append([float(1 / gain), float(b1 / gain), float(a1), float(a2)])
        return np.array(rows)


def _length(real: Decimal, imaginary: Decimal) -> Decimal:
    return (real * real + imaginary * imaginary).sqrt()


def _cos_sin(angle: Decimal) -> tuple[Decimal, Decimal]:
    """Return cosine and sine of an angle from 0 to pi, as their Taylor series."""
    total, term = [Decimal(0), Decimal(0)], Decimal(1)
    for n in range(80):  # pi^80 / 80! is below 1e-78
        total[n % 2] += term if n % 4 < 2 else -term
        term = term * angle / (n + 1)
    return total[0], total[1]
