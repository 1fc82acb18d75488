"""A window of neurons with synapses that learn by STDP, in one compiled loop over its steps.

What neurons fire in one step changes the weights that count in the next. So a window is computed step by step: what
arrives, the neurons, and what they fired. Where all of it is compiled, so is this loop; for other models and rules it
is that of `brainnet.simulation.population`, and the results are the same.
"""

from __future__ import annotations

import numba
import numpy as np

from brainnet.simulation.plasticity.pair_and_triplet import arrive, fire


# Its machine code is not stored, since that of a function with a function as an argument cannot be. It becomes a part
# of the function of the model that calls it (`forceinline`: a call would hold the address of the argument), and that
# is stored.
@numba.njit(forceinline=True, nogil=True, error_model="numpy")
def learn(kernel, first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    """Compute the steps of one window.

    Args:
        kernel: That of the model.
        first_step: Number of the first step.
        excitatory: int64 [steps, neurons], the sums of the port without what arrives at the synapses that learn.
        inhibitory: Those of the other port.
        constants: What the kernel takes between the sums and the spikes.
        projections: Those whose synapses learn: of each the index of the port, and `STDPSynapses.kernel_arguments`.
        offsets: int32 [steps + 1], zeros, which are filled as those of `Spikes`.
        fired: int32, with room for all that can fire; filled from the start.
    """
    count = 0
    steps = excitatory.shape[0]
    room = fired.size // steps
    all_whole = np.empty(0)
    for s in range(steps):
        step = first_step + s
        for port, arrivals, _, changing in projections:
            sums = inhibitory[s] if port else excitatory[s]
            arrive(step, sums, all_whole, *arrivals, *changing)
        of_step = np.zeros(2, np.int32)
        kernel(step, excitatory[s : s + 1], inhibitory[s : s + 1], *constants, of_step, fired[count : count + room])
        before = count
        count += of_step[1]
        offsets[s + 1] = count
        if count > before:
            for _, _, ends, changing in projections:
                fire(step, fired[before:count], *ends, *changing)
