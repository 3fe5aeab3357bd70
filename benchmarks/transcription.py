"""Word error rate of a recogniser on a corpus whose words are known, over all of it and by emotion.

Words are compared without case and punctuation. The rate is the number of words to insert, delete or replace, over the
number of words said; its interval is a bootstrap over speakers. Killed and run again, it goes on where it stopped.

    python benchmarks/transcription.py --corpus RAVDESS/metadata.csv                # whisper-tiny-en
    python benchmarks/transcription.py --corpus MANIFEST --model openai/whisper-base.en --out heard.csv
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
from torchaudio.functional import edit_distance

from emoprobe.extract.corpora import read_corpus
from emoprobe.transcribe.transcription import TranscriptionSettings, transcribe


def words(text: str) -> list[str]:
    """Words without case and punctuation; an apostrophe inside a word belongs to it."""
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def compare(said: pd.DataFrame, heard: pd.DataFrame) -> pd.DataFrame:
    """Errors and words of every utterance that has words and was heard, with its speaker and emotion."""
    both = said.merge(heard[["id", "transcript", "status"]], on="id", suffixes=("", "_heard"))
    both = both[(both["status"] == "done") & (both["transcript"] != "")]
    pairs = [(words(a), words(b)) for a, b in zip(both["transcript"], both["transcript_heard"], strict=True)]
    return both.assign(errors=[edit_distance(a, b) for a, b in pairs], words=[len(a) for a, _ in pairs])


def rate(table: pd.DataFrame) -> float:
    """Word error rate in percent."""
    return 100 * table["errors"].sum() / table["words"].sum()


def interval(table: pd.DataFrame, resamples: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """95 % of the rates of resampled speakers, in percent."""
    sums = table.groupby("speaker")[["errors", "words"]].sum().to_numpy()
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    errors, count = sums[drawn].sum(axis=1).T
    return tuple(np.percentile(100 * errors / count, [2.5, 97.5]))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpus", required=True, help="a corpus with transcripts, as every command takes it")
    p.add_argument("--model", default="whisper-tiny-en", help="as in probe-transcribe (default: whisper-tiny-en)")
    p.add_argument("--out", type=Path, default=Path("heard.csv"), help="its transcripts (default: heard.csv)")
    p.add_argument("--device", default="auto")
    options = p.parse_args()

    heard = transcribe(
        options.corpus, options.model, options.out, settings=TranscriptionSettings(device=options.device), report=print
    )
    table = compare(read_corpus(options.corpus).utterances, heard)
    low, high = interval(table)
    exact = (table["errors"] == 0).mean()
    print(f"word error rate {rate(table):.2f} % [{low:.2f}, {high:.2f}] over {table['words'].sum()} words of")
    print(f"{len(table)} utterances and {table['speaker'].nunique()} speakers; {exact:.1%} of them without an error")
    for emotion, rows in table.groupby("emotion"):
        print(f"  {emotion:<12} {rate(rows):6.2f} %  of {rows['words'].sum()} words")
    wrong = table[table["errors"] > 0].groupby("transcript_heard").size().sort_values(ascending=False)
    for text, count in wrong.head(8).items():
        print(f"  heard {count} times: {text}")


if __name__ == "__main__":
    main()
