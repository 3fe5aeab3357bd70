"""A trained model as a teacher: what it predicts for the training part, beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.corpora import Corpus
from emoprobe.extract.corpora.cells import RATERS
from emoprobe.extract.encoders.pickled import file_sha256
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.probe.splits import OFFICIAL

from .exported import saved_in
from .material import Material
from .runs import predict_rows, write_array
from .saved import load_model, read_config, window_of
from .settings import ModelSettings

#: What it predicted, in the folder of a run.
FILE = "teacher.npy"


@dataclass(frozen=True)
class Teacher:
    """A saved model that a training learns from.

    Attributes
    ----------
    folder : Path
        Of the model.
    stated : dict
        What the numbers depend on, as JSON: its label, and hash of its weights.
    notes : tuple of str
        What is to be said of it.
    longest : int or None
        Samples that it takes at most.
    """

    folder: Path
    stated: dict
    notes: tuple[str, ...]
    longest: int | None = None

    @classmethod
    def of(cls, folder: str | Path, corpus: Corpus, model: ModelSettings) -> Teacher:
        """Find a teacher, and what can be known of it before any audio is read.

        Parameters
        ----------
        folder : str or Path
            Of a run of ``probe-train``, or of a model that it saved.
        corpus : Corpus
            That the student is trained on.
        model : ModelSettings
            Of the student.

        Raises
        ------
        UserError
            If there is no model, or it does not predict what the student is to learn.
        """
        folder = saved_in(folder)
        config = read_config(folder, of_a_run=True)
        lacking = [name for name in model.dimensions if name not in config["dimensions"]]
        if lacking:
            raise UserError(
                f"--teacher {folder} predicts no {', '.join(lacking)}: train a teacher of all dimensions, or choose "
                f"them with --dim {' '.join(config['dimensions'])}"
            )
        trained_on, notes = config["run"]["corpus"], []
        if trained_on["sha256"] not in (corpus.sha256, _without_ratings(corpus).sha256):
            notes.append(
                f"the teacher was trained on {trained_on['name']}, another table than that of {corpus.name}: whether "
                "it has heard what is tested here cannot be told"
            )
        weights = file_sha256(folder / "model.safetensors")
        stated = {"label": config["label"], "weights_sha256": weights}
        return cls(folder, stated, tuple(notes), window_of(folder, config))

    def refuse(self, material: Material) -> None:
        """Refuse what this teacher cannot teach, before anything is trained.

        Raises
        ------
        UserError
            If the corpus has no split of its own, or some of what is trained on does not fit into the teacher's window.
        """
        refuse_folds(material)
        if self.longest is None or material.speech is None:
            return
        (fold,) = material.split.folds
        rows, _ = fold.stopping
        samples = np.array([material.speech.headers[row].samples for row in rows])
        if count := int((samples > self.longest).sum()):
            raise UserError(
                f"--teacher {self.folder} takes at most {self.longest / SAMPLE_RATE:g} s, and {count:,} of the "
                f"{len(rows):,} utterances that are trained on have up to {samples.max() / SAMPLE_RATE:.1f} s: leave "
                "these out of the corpus, or train a teacher with a longer --audio-window"
            )

    def targets(self, material: Material, *, out: Path, device: str, progress: bool) -> np.ndarray:
        """What the teacher predicts for the training part, (utterances, dimensions); NaN elsewhere.

        Predicted once, and kept in the folder of the run.

        Raises
        ------
        UserError
            If the corpus has no split of its own: a teacher would have been trained on what another fold tests.
        """
        refuse_folds(material)
        (fold,) = material.split.folds
        rows, _ = fold.stopping
        path = out / FILE
        predicted = _kept(path, len(rows), len(material.dimensions))
        if predicted is None:
            teacher = load_model(self.folder, device=device)
            columns = [teacher.dimensions.index(name) for name in material.dimensions]
            predicted = predict_rows(teacher, material, rows, progress=progress)[:, columns]
            write_array(path, predicted)
        targets = np.full(material.labels.shape, np.nan)
        targets[rows] = predicted
        return targets


def _without_ratings(corpus: Corpus) -> Corpus:
    """The same utterances as a teacher has them that was trained without the single ratings."""
    table = corpus.utterances
    return replace(corpus, utterances=table.assign(**{name: np.nan for name in RATERS if name in table}))


def refuse_folds(material: Material) -> None:
    """Refuse a cross-validation, in which one teacher would have been trained on what another fold tests.

    Raises
    ------
    UserError
    """
    if material.split.kind != OFFICIAL:
        raise UserError(
            "--teacher needs a corpus with a training part of its own: of folds, one teacher has been trained on what "
            "another student is tested on; name parts in a column split, or leave --teacher out"
        )


def _kept(path: Path, rows: int, dimensions: int) -> np.ndarray | None:
    """What was predicted before, where it is whole."""
    try:
        predicted = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # a damaged one is made again
        return None
    return predicted if predicted.shape == (rows, dimensions) and np.isfinite(predicted).all() else None
