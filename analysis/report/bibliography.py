"""What a report cites: only what its numbers rest on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LETTERS = {"{\\'e}": "é", '{\\"o}': "ö"}


@dataclass(frozen=True)
class Reference:
    """One entry.

    Parameters
    ----------
    key : str
        Of BibTeX.
    kind : str
        "inproceedings", "article", "software".
    fields : tuple of pairs of str
        In order; values as BibTeX has them.
    """

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    @property
    def short(self) -> str:
        """As a sentence cites it: Hewitt and Liang, 2019."""
        fields = dict(self.fields)
        names = [name.split(",")[0] for name in fields["author"].split(" and ")]
        who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
        for tex, letter in _LETTERS.items():
            who = who.replace(tex, letter)
        return f"{who}, {fields['year']}"

    def bibtex(self) -> str:
        """The entry as BibTeX."""
        lines = [f"  {name:<9} = {{{value}}}," for name, value in self.fields]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def _entry(key: str, kind: str, **fields: str) -> Reference:
    return Reference(key, kind, tuple((name, value) for name, value in fields.items() if value))


def _paper(key, author, title, booktitle, year, **more) -> Reference:
    return _entry(key, "inproceedings", author=author, title=title, booktitle=booktitle, year=str(year), **more)


def _article(key, author, title, journal, year, **more) -> Reference:
    return _entry(key, "article", author=author, title=title, journal=journal, year=str(year), **more)


_REFERENCES = (
    _paper(
        "deoliveira2023leveraging",
        "de Oliveira, Danilo and Prabhu, Navin Raj and Gerkmann, Timo",
        "Leveraging Semantic Information for Efficient Self-Supervised Emotion Recognition with Audio-Textual "
        "Distilled Models",
        "Proc. Interspeech",
        2023,
        eprint="2305.19184",
        archiveprefix="arXiv",
    ),
    _article(
        "hsu2021hubert",
        "Hsu, Wei-Ning and Bolte, Benjamin and Tsai, Yao-Hung Hubert and Lakhotia, Kushal and Salakhutdinov, Ruslan "
        "and Mohamed, Abdelrahman",
        "{HuBERT}: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units",
        "IEEE/ACM Transactions on Audio, Speech, and Language Processing",
        2021,
        volume="29",
        pages="3451--3460",
    ),
    _paper(
        "chang2022distilhubert",
        "Chang, Heng-Jui and Yang, Shu-wen and Lee, Hung-yi",
        "{DistilHuBERT}: Speech Representation Learning by Layer-Wise Distillation of Hidden-Unit {BERT}",
        "Proc. IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)",
        2022,
        pages="7087--7091",
    ),
    _paper(
        "baevski2020wav2vec",
        "Baevski, Alexei and Zhou, Yuhao and Mohamed, Abdelrahman and Auli, Michael",
        "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
        "Advances in Neural Information Processing Systems",
        2020,
        volume="33",
    ),
    _article(
        "chen2022wavlm",
        "Chen, Sanyuan and Wang, Chengyi and Chen, Zhengyang and Wu, Yu and Liu, Shujie and others",
        "{WavLM}: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
        "IEEE Journal of Selected Topics in Signal Processing",
        2022,
        volume="16",
        number="6",
        pages="1505--1518",
    ),
    _paper(
        "baevski2022data2vec",
        "Baevski, Alexei and Hsu, Wei-Ning and Xu, Qiantong and Babu, Arun and Gu, Jiatao and Auli, Michael",
        "data2vec: A General Framework for Self-Supervised Learning in Speech, Vision and Language",
        "Proc. International Conference on Machine Learning (ICML)",
        2022,
    ),
    _article(
        "lin1989concordance",
        "Lin, Lawrence I-Kuei",
        "A Concordance Correlation Coefficient to Evaluate Reproducibility",
        "Biometrics",
        1989,
        volume="45",
        number="1",
        pages="255--268",
    ),
    _paper(
        "hewitt2019designing",
        "Hewitt, John and Liang, Percy",
        "Designing and Interpreting Probes with Control Tasks",
        "Proc. Conference on Empirical Methods in Natural Language Processing (EMNLP-IJCNLP)",
        2019,
        pages="2733--2743",
    ),
    _paper(
        "voita2020information",
        "Voita, Elena and Titov, Ivan",
        "Information-Theoretic Probing with Minimum Description Length",
        "Proc. Conference on Empirical Methods in Natural Language Processing (EMNLP)",
        2020,
        pages="183--196",
    ),
    _article(
        "phipson2010permutation",
        "Phipson, Belinda and Smyth, Gordon K.",
        "Permutation P-values Should Never Be Zero: Calculating Exact P-values When Permutations Are Randomly Drawn",
        "Statistical Applications in Genetics and Molecular Biology",
        2010,
        volume="9",
        number="1",
    ),
    _article(
        "holm1979simple",
        "Holm, Sture",
        "A Simple Sequentially Rejective Multiple Test Procedure",
        "Scandinavian Journal of Statistics",
        1979,
        volume="6",
        number="2",
        pages="65--70",
    ),
    _entry(
        "efron1993introduction",
        "book",
        author="Efron, Bradley and Tibshirani, Robert J.",
        title="An Introduction to the Bootstrap",
        publisher="Chapman \\& Hall",
        year="1993",
    ),
    _article(
        "hesterberg2015teachers",
        "Hesterberg, Tim C.",
        "What Teachers Should Know About the Bootstrap: Resampling in the Undergraduate Statistics Curriculum",
        "The American Statistician",
        2015,
        volume="69",
        number="4",
        pages="371--386",
    ),
    _article(
        "efron1981jackknife",
        "Efron, Bradley and Stein, Charles",
        "The Jackknife Estimate of Variance",
        "The Annals of Statistics",
        1981,
        volume="9",
        number="3",
        pages="586--596",
    ),
    _paper(
        "yang2021superb",
        "Yang, Shu-wen and Chi, Po-Han and Chuang, Yung-Sung and Lai, Cheng-I Jeff and Lakhotia, Kushal and others",
        "{SUPERB}: Speech Processing Universal {PERformance} Benchmark",
        "Proc. Interspeech",
        2021,
        pages="1194--1198",
    ),
    _paper(
        "kornblith2019similarity",
        "Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey",
        "Similarity of Neural Network Representations Revisited",
        "Proc. International Conference on Machine Learning (ICML)",
        2019,
        pages="3519--3529",
    ),
    _article(
        "song2012feature",
        "Song, Le and Smola, Alex and Gretton, Arthur and Bedo, Justin and Borgwardt, Karsten",
        "Feature Selection via Dependence Maximization",
        "Journal of Machine Learning Research",
        2012,
        volume="13",
        pages="1393--1434",
    ),
    _paper(
        "morcos2018insights",
        "Morcos, Ari S. and Raghu, Maithra and Bengio, Samy",
        "Insights on Representational Similarity in Neural Networks with Canonical Correlation",
        "Advances in Neural Information Processing Systems",
        2018,
        volume="31",
    ),
    _paper(
        "raghu2017svcca",
        "Raghu, Maithra and Gilmer, Justin and Yosinski, Jason and Sohl-Dickstein, Jascha",
        "{SVCCA}: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and Interpretability",
        "Advances in Neural Information Processing Systems",
        2017,
        volume="30",
    ),
    _article(
        "dupre2022feature",
        "Dupr{\\'e} la Tour, Tom and Eickenberg, Michael and Nunez-Elizalde, Anwar O. and Gallant, Jack L.",
        "Feature-Space Selection with Banded Ridge Regression",
        "NeuroImage",
        2022,
        volume="264",
        pages="119728",
    ),
    _article(
        "eyben2016geneva",
        "Eyben, Florian and Scherer, Klaus R. and Schuller, Bj{\\\"o}rn W. and Sundberg, Johan and Andr{\\'e}, "
        "Elisabeth and others",
        "The {Geneva} Minimalistic Acoustic Parameter Set ({GeMAPS}) for Voice Research and Affective Computing",
        "IEEE Transactions on Affective Computing",
        2016,
        volume="7",
        number="2",
        pages="190--202",
    ),
    _paper(
        "reimers2019sentence",
        "Reimers, Nils and Gurevych, Iryna",
        "Sentence-{BERT}: Sentence Embeddings using {Siamese} {BERT}-Networks",
        "Proc. Conference on Empirical Methods in Natural Language Processing (EMNLP-IJCNLP)",
        2019,
        pages="3982--3992",
    ),
    _article(
        "lotfian2019building",
        "Lotfian, Reza and Busso, Carlos",
        "Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional Speech from Existing Podcast "
        "Recordings",
        "IEEE Transactions on Affective Computing",
        2019,
        volume="10",
        number="4",
        pages="471--483",
    ),
    _article(
        "busso2008iemocap",
        "Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and Mower, Emily and others",
        "{IEMOCAP}: Interactive Emotional Dyadic Motion Capture Database",
        "Language Resources and Evaluation",
        2008,
        volume="42",
        number="4",
        pages="335--359",
    ),
    _paper(
        "buechel2017emobank",
        "Buechel, Sven and Hahn, Udo",
        "{EmoBank}: Studying the Impact of Annotation Perspective and Representation Format on Dimensional Emotion "
        "Analysis",
        "Proc. Conference of the European Chapter of the Association for Computational Linguistics (EACL)",
        2017,
        pages="578--585",
    ),
)

REFERENCES = {reference.key: reference for reference in _REFERENCES}
"""Every entry that a report may cite, by its key, in the order of its list."""

PAPER = "deoliveira2023leveraging"

#: What introduced the architectures, by the model type of their configuration.
ARCHITECTURES = {
    "hubert": "hsu2021hubert",
    "distilhubert": "chang2022distilhubert",
    "wav2vec2": "baevski2020wav2vec",
    "wavlm": "chen2022wavlm",
    "data2vec-audio": "baevski2022data2vec",
}


#: What introduced a corpus, by its name.
CORPORA = {"msp-podcast": "lotfian2019building", "iemocap": "busso2008iemocap", "emobank": "buechel2017emobank"}


def software(version: str) -> Reference:
    """This program, with the version that made the numbers."""
    return _entry(
        "emoprobe",
        "software",
        author="{The emoprobe authors}",
        title="emoprobe: which layers of a speech self-supervised model carry emotion",
        version=version,
    )


def bibtex(keys: Iterable[str], version: str) -> str:
    """The entries of `keys`, each once and in the order of the list, and this program."""
    wanted = set(keys)
    entries = [reference for key, reference in REFERENCES.items() if key in wanted]
    return "\n\n".join(reference.bibtex() for reference in [*entries, software(version)])
