"""Cards of results for wikis and model cards: self-contained, literal about names; and what a Solution says of itself."""

from __future__ import annotations

from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from markdown_it import MarkdownIt

import dynamics as dyn

CYCLE = dyn.preferences.cyclic(3, advantage=0.4)
HOSTILE = [
    '<script>alert("1")</script>',
    "a|b *bold* _it_ `code` [x](http://evil.example) ![i](http://evil.example/i.png) \\ # $1$ ~~s~~",
    "&amp; <img src=x onerror=alert(1)>\n\n# heading \u202e www.evil.example 'q'",
]
ALLOWED = {"section", "h3", "table", "tr", "th", "td", "tbody", "thead"}


class Reader(HTMLParser):
    """Tags, attributes and text of a fragment."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def shown(text: str) -> str:
    """A name as a card shows it: on one line, without characters that do not print."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def rendered(markdown: str) -> Reader:
    """As GitHub and Hugging Face render it: tables, strikethrough, raw HTML let through, and bare links made links."""
    return Reader(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@pytest.fixture(scope="module")
def report():
    return dyn.stability.analyze(dyn.SelfSampling(CYCLE, dyn.IPO(0.25), 0.5, 1.0), starts=4)


@pytest.fixture(scope="module")
def comparison():
    return dyn.methods.compare(CYCLE, ["inpo", "iterated-dpo", "sppo"], rounds=500)


@pytest.fixture(scope="module", params=["known", "counted"])
def safe(request):
    if request.param == "known":
        return dyn.stability.known_beta(CYCLE, dyn.IPO, [0.0, 0.5], [1.0], progress=False)
    wins = np.array([[0, 30, 12], [10, 0, 28], [25, 9, 0]])
    return dyn.stability.safe_beta(wins, dyn.DPO, [0.5], [1.0], key=jax.random.key(0), draws=20, progress=False)


@pytest.mark.parametrize("which", ["report", "comparison"])
class TestNames:
    @pytest.mark.thorough
    def test_html_shows_them_literally(self, which, request):
        found = Reader(request.getfixturevalue(which).to_html(HOSTILE, title=HOSTILE[0]))
        assert set(found.tags) <= ALLOWED
        assert found.attributes <= {"style", "scope"}
        assert not found.open
        text = "".join(found.text)
        assert all(shown(name) in text for name in HOSTILE)
        assert "\u202e" not in text

    @pytest.mark.thorough
    def test_markdown_shows_them_literally(self, which, request):
        found = rendered(request.getfixturevalue(which).to_markdown(HOSTILE, title=HOSTILE[1]))
        assert set(found.tags) <= ALLOWED | {"ul", "li", "strong", "p"}
        assert found.tags.count("h3") == 1
        text = "".join(found.text)
        assert all(shown(name) in text for name in HOSTILE)

    def test_without_names_numbers(self, which, request):
        assert "0: 0." in request.getfixturevalue(which).to_html()

    @pytest.mark.parametrize(
        ("names", "words"),
        [(["a", "b"], "entries for 3 responses; pass one name per response"), ("abc", "names is the text 'abc'")],
    )
    def test_refuses_names_that_do_not_fit(self, which, request, names, words):
        with pytest.raises(ValueError, match=words):
            request.getfixturevalue(which).to_markdown(names)


def test_a_report_says_what_it_found(report):
    for text in ("".join(Reader(report.to_html()).text), "".join(rendered(report.to_markdown()).text)):
        assert report.verdict in text
        assert shown(report.reason) in text
        assert shown(report.certificate_reason) in text
        assert f"spectral radius {report.spectral_radius:.6f}" in text


def test_a_report_on_prompts_has_a_row_for_each():
    two = jnp.stack([CYCLE, dyn.preferences.cyclic(3, advantage=0.1)])
    found = dyn.stability.analyze(dyn.SelfSampling(two, dyn.IPO(0.25), 0.5, 1.0), starts=4)
    last = found.to_markdown().splitlines()[-2:]
    assert [row.split(" | ")[1] for row in last] == ["oscillating", "converged"]


def test_a_comparison_has_its_rows(comparison):
    lines = [line for line in comparison.to_markdown().splitlines() if line.startswith("|")]
    assert lines[1] == "|" + " --- |" * 7
    for row, line in zip(comparison.rows, lines[2:], strict=True):
        assert line.startswith(f"| {row.method.name} |")
        assert row.verdict in line
        assert row.spectral_radius is None or f"| {row.spectral_radius:.4g} |" in line


@pytest.mark.thorough
def test_safe_betas_are_those_of_the_result(safe):
    text = safe.to_markdown()
    found = rendered(text)
    assert set(found.tags) <= ALLOWED | {"ul", "li", "strong", "p"}
    rows = [line for line in text.splitlines() if line.startswith("| 0")]
    assert len(rows) == safe.beta.size
    for (a, n), row in zip(np.ndindex(safe.beta.shape), rows, strict=True):
        assert row.split(" | ")[2].removesuffix(" |") == f"{safe.beta[a, n]:.4g}"
        assert row.startswith(f"| {safe.alpha[a]:g} | {safe.lam[n]:g} |")
    page = Reader(safe.to_html(title="<b>"))
    assert set(page.tags) <= ALLOWED
    assert "<b>" in "".join(page.text)
    assert ("posterior probability 0.95" in text) == (safe.confidence is not None)


def test_a_bare_address_is_no_link(report):
    """GitHub makes links of bare addresses; within a card they stay text, as their colon or dot is escaped."""
    text = report.to_markdown(["http://evil.example", "WWW.evil.example", "https://x"])
    assert "http://" not in text
    assert "https://" not in text
    assert "www." not in text.lower()


class TestSolution:
    start = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    loop = dyn.SelfSampling(CYCLE, dyn.IPO(0.5), alpha=0.5, lam=1.0)

    @pytest.mark.thorough
    def test_says_result_rounds_and_statistics(self):
        sol = dyn.iterate(self.loop, 300, initial=self.start, every=100, measure=["entropy", "verdict"])
        head, rows, statistics, entropy = repr(sol).splitlines()
        assert head == "Solution: successful, to round 300, 4 saved"
        assert rows == "  rows: entropy (4,), log_policy (4, 3)"
        assert "verdict converged" in statistics
        assert f"amplitude {float(sol.amplitude):.4g}" in statistics
        assert entropy == f"  final entropy: {float(sol.entropy[-1]):.4g} nats" == "  final entropy: 1.099 nats"

    def test_of_a_failed_run(self):
        loop = Broken(jnp.array(1e3))
        sol = dyn.iterate(loop, 5, initial=jnp.log(jnp.array([0.7, 0.3])), throw=False)
        assert repr(sol).startswith("Solution: nonfinite, to round 5, 6 saved")

    def test_of_a_flow_a_batch_and_a_trace(self):
        flow = dyn.PreferenceFlow(
            policy=dyn.policies.Tabular(3), preference=CYCLE, objective=dyn.IPO(0.1), sampler=dyn.samplers.OnPolicy()
        )
        assert "to time 2, " in repr(dyn.gradient_flow(flow, t1=2.0))
        seen = []

        def run(z):
            sol = dyn.iterate(self.loop, 3, initial=z)
            seen.append(repr(sol))
            return sol

        batch = jax.vmap(run)(jnp.stack([self.start, self.start]))
        assert seen[0].splitlines() == ["Solution: 4 saved", "  rows: log_policy (4, 3)"]
        assert repr(batch).splitlines() == ["Solution: a batch of (2,), 4 saved", "  rows: log_policy (2, 4, 3)"]
        assert repr(jax.tree.map(lambda x: None, batch)) == "Solution(coordinate=None)"


class Broken(dyn.RoundMap):
    """Rounds that stop being finite."""

    size: jax.Array

    @property
    def num_responses(self):
        return 2

    def __call__(self, logits, key=None):
        return (logits + self.size) ** 200 * jnp.array([1.0, -1.0])
