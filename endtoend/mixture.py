"""Two different models under one name in a table of results."""

from __future__ import annotations

from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.probe.results import load_results

from .card import run_modality

#: What of a run must be the same for its scores to take another one's place.
_SAME_MODEL = ("model", "audio", "text")


def refuse_mixture(results: str | Path, stated: dict, corpus_name: str, *, probe: str) -> None:
    """Keep two different models from standing under one name in a table; the same one trained otherwise replaces it.

    Parameters
    ----------
    results : str or Path
        The folder.
    stated : dict
        Everything on which the numbers of a run depend, as it comes back from JSON.
    corpus_name : str
    probe : str
        In the column of that name.

    Raises
    ------
    UserError
    """
    if not (Path(results) / "protocol.json").is_file():
        return
    name, modality = stated["label"], run_modality(stated)
    key = (name, corpus_name, probe, modality)
    for entry in load_results(results).protocol:
        if tuple(entry[column] for column in ("model", "corpus", "probe", "features")) != key:
            continue
        run = entry.get("run", {})  # which a protocol may lack, and any part of it
        unknown = [part for part in _SAME_MODEL if part not in run]
        changed = [part for part in _SAME_MODEL if part in run and run[part] != stated[part]]
        if changed or unknown:
            how = f"it differs in {', '.join(changed)}" if changed else f"it does not say its {', '.join(unknown)}"
            raise UserError(
                f"{results} holds another '{name}' ({modality}) on '{corpus_name}' ({how}): give this one a "
                "name of its own with --label, another folder with --results, or --overwrite"
            )
