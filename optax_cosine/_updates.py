"""How many updates a run has."""

from optax_cosine._time import LARGEST
from optax_cosine._validation import check_count


def count_updates(
    *, batches_per_epoch: int, epochs: int = 1, accumulation_steps: int = 1
) -> int:
    """Optimizer updates of a run, as `optax.MultiSteps` counts them.

    Use it for the `total_steps` of a schedule, if a run is planned in epochs.

    Batches are counted through to the end of the run, and what is left of an epoch goes
    into the first update of the next one::

        updates = batches_per_epoch * epochs // accumulation_steps

    Others round at the end of each epoch. A PyTorch loop that steps where
    `(i + 1) % accumulation_steps == 0` makes `epochs * (batches_per_epoch //
    accumulation_steps)` updates; one that also steps at the last batch, as the Trainer
    of transformers does, makes `epochs * ceil(batches_per_epoch / accumulation_steps)`.
    To match the first of these, call it with `epochs=1` and multiply by the number of
    epochs.

    Args:
        batches_per_epoch: Batches that the loop sees in an epoch, `len(loader)`. On
            many hosts each sees its share of every batch, so that it is the same number
            on all of them.
        epochs: Passes over the data.
        accumulation_steps: Batches for each update: `every_k_schedule` of
            `optax.MultiSteps`.

    Returns:
        The number of updates, an int.

    Raises:
        TypeError: An argument is not a number, or is traced.
        ValueError: An argument is not a whole number from 1 to 2**31 - 1, or there are
            fewer batches than one update takes, or more updates than 2**31 - 1.

    Examples:
        >>> import optax_cosine as oc
        >>> oc.count_updates(batches_per_epoch=10, epochs=3, accumulation_steps=4)
        7

    References:
        Optax, `optax.MultiSteps`; transformers, `Trainer`.
    """
    batches = check_count("batches_per_epoch", batches_per_epoch, "batches")
    batches *= check_count("epochs", epochs, "epochs")
    updates = batches // check_count(
        "accumulation_steps", accumulation_steps, "batches"
    )
    if not 1 <= updates <= LARGEST:
        raise ValueError(
            f"batches_per_epoch={batches_per_epoch} * epochs={epochs} // "
            f"accumulation_steps={accumulation_steps} must be from 1 to 2**31 - 1 "
            f"updates, is {updates}."
        )
    return updates
