"""A chart that can be asked: Vega-Lite, made with altair, its library inlined; nothing is loaded from a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ..figures.style import series_look
from ..tables import METRICS
from .chart_data import CHOICES, ChartData
from .content import counted

#: What makes the chart; without it the page has the static figures alone.
REMEDY = "pip install 'emoprobe[report]'"

_WIDTH, _HEIGHT, _DETAIL = 300, 240, 290
_GREY = "#6b6b6b"
_EVERY = "all models"


def can_be_asked() -> bool:
    """Whether altair and vl-convert are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


@cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which defines ``vegaEmbed``."""
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The only text that could end the element that holds it.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def note(data: ChartData) -> str:
    """How the chart is asked, and what of the utterances and speakers it shows."""
    text = (
        "Point at a mark for its numbers; click on a layer to see what it predicts, and of whom. Bars are 95 % "
        "intervals. Dashed: the same network with random weights. Short lines: 95 % of permuted labels stay below."
    )
    for (shown, there), noun in ((data.utterances, "utterance"), (data.speakers_there, "speaker")):
        if shown < there:
            which = "drawn at random, the same for every layer" if noun == "utterance" else "those with most utterances"
            text += f" Shown are {shown} of {counted(there, noun)}, {which}; scores are of all."
    return text


def specification(data: ChartData, *, start: tuple[str, str, int]) -> dict[str, Any]:
    """The chart of a corpus.

    Parameters
    ----------
    data : ChartData
    start : tuple of str, str, int
        Model, dimension and layer that are shown before anybody clicks.

    Returns
    -------
    dict
        Vega-Lite.
    """
    import altair as alt

    show = _Shown(
        metric=alt.param(
            name="metric", value=METRICS[CHOICES[0]],
            bind=alt.binding_radio(options=[METRICS[name] for name in CHOICES], name="Score "),
        ),
        model=alt.param(
            name="model", value=_EVERY, bind=alt.binding_select(options=[_EVERY, *data.models], name="Model "),
        ),
        twin=alt.param(name="twin", value=True, bind=alt.binding_checkbox(name="random twin ")),
        null=alt.param(name="null_shown", value=True, bind=alt.binding_checkbox(name="permuted labels ")),
        baselines=alt.param(name="baselines", value=True, bind=alt.binding_checkbox(name="baselines ")),
        picked=alt.selection_point(
            name="picked", fields=["model", "dimension", "layer"], on="click", toggle=False, empty=False,
            value=[dict(zip(("model", "dimension", "layer"), start, strict=True))],
        ),
    )  # fmt: skip
    panels = [_panel(data, dimension, show, first=not place) for place, dimension in enumerate(data.dimensions)]
    curves = _beside_each_other(panels)
    parts = [curves, alt.hconcat(_utterances(data, show), _speakers(show), spacing=60)]
    chart = (
        alt.vconcat(*(parts if data.predicted else parts[:1]), spacing=26)
        .add_params(show.metric, show.model, show.twin, show.null, show.baselines)
        .configure_view(stroke=None)
        .configure(font="system-ui, sans-serif", background="white")
        .configure_axis(labelFontSize=11, titleFontSize=12, gridOpacity=0.4)
    )
    return {**chart.to_dict(), "datasets": data.tables()}


def _beside_each_other(panels: list[Any]) -> Any:
    """Panels that share the layer that is picked."""
    import warnings

    import altair as alt

    with warnings.catch_warnings():
        # That one selection serves all panels is what is wanted.
        warnings.filterwarnings("ignore", message="Automatically deduplicated selection parameter")
        return alt.hconcat(*panels, spacing=18).resolve_scale(y="shared", color="shared")


@dataclass(frozen=True)
class _Shown:
    """What the reader chooses: parameters of altair."""

    metric: Any
    model: Any
    twin: Any
    null: Any
    baselines: Any
    picked: Any


def _panel(data: ChartData, dimension: str, show: _Shown, *, first: bool) -> Any:
    """Layers of all models for one dimension, with null, twins and baselines."""
    import altair as alt

    shown = f"datum.dimension == '{dimension}' && datum.metric == metric"
    of_metric = alt.Chart(alt.NamedData("scores")).transform_filter(
        f"{shown} && (model == '{_EVERY}' || datum.of == model)"
    )
    trained, twins = of_metric.transform_filter("!datum.twin"), of_metric.transform_filter("datum.twin && twin")
    names = {row["place"]: row["name"] for row in data.baselines}
    last = max(row["layer"] for row in data.scores)
    x = alt.X(
        "layer:Q", title="Layer", scale=alt.Scale(domain=[min(names, default=0) - 0.5, last + 0.5], nice=False),
        axis=alt.Axis(
            values=list(range(0, last + 1, 1 + last // 13)), format="d", grid=False, titlePadding=26 if names else 6,
        ),
    )  # fmt: skip
    y = alt.Y("value:Q", title=None, axis=alt.Axis(labels=first, ticks=first))
    color = alt.Color(
        "of:N", title=None,
        scale=alt.Scale(domain=data.models, range=[series_look(place).color for place in range(len(data.models))]),
        legend=alt.Legend(orient="top", symbolType="circle", symbolOpacity=1, labelFontSize=12),
    )  # fmt: skip
    told = [
        alt.Tooltip("model:N", title="model"), alt.Tooltip("dimension:N"), alt.Tooltip("layer:Q"),
        alt.Tooltip("metric:N", title="score"), alt.Tooltip("said:N", title="value, 95 % interval"),
        alt.Tooltip("p:N", title="p of CCC, corrected"), alt.Tooltip("n:Q", title="utterances"),
        alt.Tooltip("speakers:Q"),
    ]  # fmt: skip
    size = alt.condition(show.picked, alt.value(150), alt.value(42))
    layers = [
        trained.transform_filter("null_shown && isValid(datum.null)")
        .mark_tick(color=_GREY, orient="horizontal", thickness=2, size=12, opacity=0.8)
        .encode(x=x, y=alt.Y("null:Q", title=None)),
        trained.mark_rule(opacity=0.5, strokeWidth=1.5).encode(
            x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=color
        ),
        trained.mark_line(strokeWidth=2).encode(x=x, y=y, color=color),
        twins.mark_line(strokeDash=[4, 3], strokeWidth=1.3).encode(x=x, y=y, color=color),
        twins.mark_point(filled=False, opacity=1).encode(x=x, y=y, color=color, size=size, tooltip=told),
        trained.mark_point(filled=True, opacity=1, cursor="pointer")
        .encode(x=x, y=y, color=color, size=size, tooltip=told)
        .add_params(show.picked),
    ]
    if names:
        beside = alt.Chart(alt.NamedData("baselines")).transform_filter(f"{shown} && baselines")
        place = alt.X("place:Q")
        about = [alt.Tooltip("name:N", title="baseline"), alt.Tooltip("said:N", title="value, 95 % interval")]
        layers += [
            beside.mark_rule(color=_GREY, opacity=0.6).encode(x=place, y=alt.Y("low:Q", title=None), y2="high:Q"),
            beside.mark_point(filled=True, shape="diamond", size=60, color=_GREY, opacity=1).encode(
                x=place, y=y, tooltip=about
            ),
            beside.mark_text(align="right", baseline="middle", angle=270, fontSize=10, color=_GREY).encode(
                x=place, y=alt.value(_HEIGHT + 5), text="name:N"
            ),
        ]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=dimension)


def _utterances(data: ChartData, show: _Shown) -> Any:
    """Predicted against rated, of the layer that was picked."""
    import altair as alt

    ends = [value for row in data.rated for value in row["truth"] if value is not None]
    same = alt.Data(values=[{"at": min(ends, default=0)}, {"at": max(ends, default=1)}])
    line = alt.Chart(same).mark_line(color=_GREY, strokeDash=[2, 2]).encode(x="at:Q", y="at:Q")
    points = (
        alt.Chart(alt.NamedData("predicted"))
        .transform_filter(show.picked)
        .transform_lookup(
            lookup="dimension",
            from_=alt.LookupData(data=alt.NamedData("rated"), key="dimension", fields=["truth", "speaker", "id"]),
        )
        .transform_flatten(["predictions", "truth", "speaker", "id"])
        .mark_circle(size=28)
        .encode(
            x=alt.X("truth:Q", title="rated", scale=alt.Scale(zero=False)),
            y=alt.Y("predictions:Q", title="predicted", scale=alt.Scale(zero=False)),
            opacity=alt.condition(_POINTED, alt.value(0.6), alt.value(0.05)),
            tooltip=[
                alt.Tooltip("id:N", title="utterance"), alt.Tooltip("speaker:N"),
                alt.Tooltip("truth:Q", title="rated"), alt.Tooltip("predictions:Q", title="predicted"),
            ],
        )
    )  # fmt: skip
    title = alt.TitleParams(alt.ExprRef(_TOLD))
    return alt.layer(line, points).properties(width=_DETAIL + 200, height=_DETAIL, title=title)


#: Whether an utterance is of the speaker that is pointed at, or none is.
_POINTED = "!isValid(pointed.name) || indexof(pointed.name, datum.speaker) >= 0"

#: Which layer was picked, in the words of Vega.
_TOLD = (
    "length(data('picked_store')) ? 'Each utterance: ' + data('picked_store')[0].values[0] + ', ' + "
    "data('picked_store')[0].values[1] + ', layer ' + data('picked_store')[0].values[2] : 'Click on a layer above'"
)


def _speakers(show: _Shown) -> Any:
    """Mean prediction against mean rating of each speaker, of the layer that was picked."""
    import altair as alt

    pointed = alt.selection_point(name="pointed", fields=["name"], on="pointerover", clear="pointerout", empty=True)
    return (
        alt.Chart(alt.NamedData("speakers"))
        .transform_filter(show.picked)
        .transform_flatten(["name", "rows", "rating", "prediction"])
        .mark_circle(opacity=0.8)
        .encode(
            x=alt.X("rating:Q", title="mean rating", scale=alt.Scale(zero=False)),
            y=alt.Y("prediction:Q", title="mean prediction", scale=alt.Scale(zero=False)),
            size=alt.condition(pointed, alt.value(90), alt.value(40)),
            tooltip=[
                alt.Tooltip("name:N", title="speaker"), alt.Tooltip("rows:Q", title="utterances"),
                alt.Tooltip("rating:Q", title="mean rating"), alt.Tooltip("prediction:Q", title="mean prediction"),
            ],
        )
        .add_params(pointed)
        .properties(width=_DETAIL, height=_DETAIL, title="Each speaker: point at one to see its utterances alone")
    )  # fmt: skip
