"""Memory of a split transformer: bytes by use on the fullest device, for all strategies at once.

Activations: Korthikanti et al., arXiv:2205.05198, equations 1 to 6. What is divided: ZeRO, arXiv:1910.02054, figure 1.
"""

from __future__ import annotations

import numpy as np

from paleo_opt.estimator.block_times import BlockTimes
from paleo_opt.estimator.kernel_table import Floats
from paleo_opt.estimator.memory import OPTIMIZER_STATES
from paleo_opt.estimator.pipeline_schedule import in_flight_micro_batches
from paleo_opt.estimator.places import Places
from paleo_opt.estimator.split_identities import FULL, SELECTIVE, ZERO1, ZERO2, ZERO3, offloads
from paleo_opt.estimator.splits import Integers, Splits

#: Of an output of the projection to the vocabulary, besides what is kept of it in 16 bits: itself, the logarithm of its
#: softmax and its gradient in 32 bits, as frameworks compute the loss, less what is kept twice.
LOSS_BYTES = 10.0


def block_memory(
    times: BlockTimes, splits: Splits, layout: Integers, place: Integers, places: Places, gpus: Integers,
    micro: Integers, m: Floats, p: Floats, v: Floats, *, optimizer: str, training: bool, reserve: float,
) -> dict[str, Floats]:  # fmt: skip
    """Bytes by use on the fullest of the first, the second and the last stage's devices."""
    sending = places.sending
    assert sending is not None
    blocks = float(times.blocks)
    weight, gradient = places.weight_bytes[place], sending.gradient_bytes[place]
    batch = micro.astype(float)
    # Per split, then gathered: a few columns for all strategies.
    dense, expert, first, last, tied = (
        times.amounts(name)
        for name in ("dense_parameters", "expert_parameters", "first_parameters", "last_parameters", "tied")
    )
    stages = splits.pipeline.astype(float)
    per_stage = np.ceil(blocks / stages)
    last = last + np.where(stages > 1, tied, 0.0)
    ends = np.where(stages > 1, np.maximum(first, last), first + last)
    whole, whole_expert = (per_stage * dense + ends)[layout], (per_stage * expert)[layout]
    copies = gpus / (splits.tensor * splits.pipeline)[layout]
    expert_copies = np.maximum(copies * (splits.tensor / splits.expert)[layout], 1.0)
    sharding = times.identities.sharding[layout]

    def shared(least: int) -> Floats:
        divided = sharding >= least
        return whole / np.where(divided, copies, 1.0) + whole_expert / np.where(divided, expert_copies, 1.0)

    one_block = np.where(sharding >= ZERO3, 2.0 * (dense + expert)[layout], 0.0)
    parameters = (shared(ZERO3) + one_block) * weight
    if not training:
        kept = times.amounts("largest_kept")[layout] * batch * weight
        zero = np.zeros(())
        workspace = times.amounts("logits")[layout] * batch * weight
        return {
            "parameters": parameters,
            "gradients": zero,
            "optimizer": zero,
            "activations": kept,
            "workspace": workspace,
            "reserve": np.asarray(reserve),
        }
    gradients = (shared(ZERO2) + np.where(sharding >= ZERO3, one_block / 2.0, 0.0)) * gradient
    # 32-bit gradients are kept beside none of 16 bits; the master copy is the optimizer's.
    states = (OPTIMIZER_STATES[optimizer] + (weight < 4.0)) * 4.0
    state = shared(ZERO1) * states

    each, again = kept_by_block(times, splits, layout, place, places)
    # On the first stage and on the last.
    ahead, behind = in_flight_micro_batches(p, np.array([0.0 * p, p - 1.0]), v, m, splits.schedule[layout])
    first_kept, last_kept = times.amounts("first_kept")[layout], times.amounts("last_kept")[layout]
    logits = times.amounts("logits")[layout]
    held = per_stage[layout] * each
    if splits.offload.any():
        away, moved = (chosen[layout] for chosen in offloads(splits))
        state = np.where(away, 0.0, state)
        # On the device are the block that is worked on, and the one that is on its way.
        held = np.where(moved, np.minimum(held, 2.0 * each), held)
        ahead, behind = np.where(moved, 1.0, ahead), np.where(moved, 1.0, behind)
    inside = held * ahead + first_kept * ahead
    end = held * behind + last_kept
    alone = p == 1
    work_end = logits * LOSS_BYTES
    at_end = alone | (end * weight + work_end > inside * weight)
    activations = np.where(alone, held + first_kept + last_kept, np.where(at_end, end, inside))
    workspace = again * weight + np.where(at_end, work_end, 0.0)
    found = {
        "parameters": parameters,
        "gradients": gradients,
        "optimizer": state,
        "activations": activations * batch * weight,
        "workspace": workspace * batch,
    }
    used = sum(found.values())
    found["reserve"] = reserve + sending.fragmentation[place] * used
    return found


def kept_by_block(
    times: BlockTimes, splits: Splits, layout: Integers, place: Integers, places: Places
) -> tuple[Floats, Floats]:
    """Elements per sample that a block keeps for its backward pass, and more while computed again. Shapes (n,)."""
    sending = places.sending
    assert sending is not None
    fused = sending.fused_attention[place]
    recompute = splits.recompute
    kept, scores = times.amounts("kept"), times.amounts("kept_scores")
    boundary, largest = times.amounts("boundary"), times.amounts("largest_kept")
    full, selective = recompute == FULL, recompute == SELECTIVE
    each = again = np.zeros(())
    if fused.any():
        cheap = times.amounts("kept_attention") + times.amounts("kept_cheap")
        each = np.where(full, boundary, kept - selective * cheap)[layout]
        again = np.where(full, largest - scores, 0.0)[layout]
    if not fused.all():
        scored = np.where(full, boundary, np.where(selective, kept, kept + scores))[layout]
        scored_again = np.where(full, largest, selective * scores)[layout]
        each, again = np.where(fused, each, scored), np.where(fused, again, scored_again)
    again_products = 1.0 - sending.kept_products[place]
    if again_products.any():
        products = (selective * times.amounts("kept_products"))[layout]
        each = each - np.where(fused, again_products * products, 0.0)
    return each, again
