"""Advice on prompts: what other programs read in them, and embeddings that are not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import latentloom
from latentloom import Graph
from latentloom.diffusion.weights.folders import MODELS_VARIABLE

BASE = latentloom.load("img2img").bound()


def warnings_of(graph: Graph) -> list[tuple[str, str, str]]:
    """Return (rule, node, text and hint) of all warnings."""
    return [
        (warning.rule, warning.node, f"{warning.text}; {warning.hint}")
        for warning in latentloom.lint(graph)
    ]


@pytest.mark.parametrize(
    ("prompt", "shown", "hint"),
    [
        ("a fox <lora:ink:0.8>", "'<lora:ink:0.8>'", "LoraLoader"),
        ("<LyCo:ink>", "'<LyCo:ink>'", "LoraLoader"),
        ("<hypernet:ink:1>", "'<hypernet:ink:1>'", "LoraLoader"),
        ("a fox BREAK a house", "'BREAK'", "ConditioningConcat"),
        ("a fox AND a house", "'AND'", "ConditioningCombine"),
        ("a [fox:dog:0.5]", "'[fox:dog:0.5]'", "ConditioningSetTimestepRange"),
        ("a [fox::10]", "'[fox::10]'", "ConditioningSetTimestepRange"),
        ("a [fox:.5]", "'[fox:.5]'", "ConditioningSetTimestepRange"),
        ("a [fox|dog]", "'[fox|dog]'", "ConditioningSetTimestepRange"),
        ("a [red] fox", "'[red]'", "(word:0.9)"),
        ("a __animal__", "'__animal__'", "one run for each choice"),
        ("a __beasts/wild-*__", "'__beasts/wild-*__'", "one run for each choice"),
        ("a {red|blue} fox", "'{red|blue}'", "one of the choices"),
    ],
)
def test_syntax_of_other_programs_is_named_with_what_to_write(
    prompt: str, shown: str, hint: str
) -> None:
    ((rule, node, text),) = warnings_of(BASE.set("positive.text", prompt))
    assert (rule, node) == ("foreign-prompt-syntax", "positive")
    assert shown in text
    assert hint in text


@pytest.mark.parametrize(
    "prompt",
    [
        "a (red:1.2) fox, ((house))", "A CAT AND A DOG", "salt and pepper, break", r"a \[fox\]",
        "a <b> c", "snake_case __", "a {b} c", r"\(a\)", "3:4, a:b", "BREAKFAST, SAND", "",
    ],
)  # fmt: skip
def test_plain_prompts_are_not_warned_of(prompt: str) -> None:
    assert warnings_of(BASE.set("positive.text", prompt)) == []


def test_every_prompt_of_every_encoder_counts() -> None:
    graph = BASE.set("negative.text", "[bad]").add("large", "CLIPTextEncodeSDXL")
    graph = graph.set("large.text_g", "a").set("large.text_l", "a BREAK b")
    named = {(rule, node) for rule, node, _ in warnings_of(graph)}
    assert ("foreign-prompt-syntax", "negative") in named
    shared = graph.add("words", "PrimitiveString").set("words.value", "a BREAK b")
    shared = shared.set("positive.text", latentloom.Link("words", "STRING"))
    named = {(rule, node) for rule, node, _ in warnings_of(shared)}
    assert ("foreign-prompt-syntax", "positive") in named


@pytest.fixture
def embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the embedding `ink`."""
    path = tmp_path / "embeddings" / "ink.safetensors"
    path.parent.mkdir()
    save_file({"emb_params": torch.zeros(1, 4)}, path)
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    return path


@pytest.mark.usefixtures("embedding")
@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("a fox, embedding:ink", ""),
        ("embedding:ink.safetensors, a fox", ""),
        ("(embedding:ink:1.2), a", ""),
        ("a fox, embedding:inkk, b", "inkk"),
        ("embedding:gone", "gone"),
        ("(embedding:gone:1.2)", "gone"),
        ("(fox:1e30) embedding:gone", ""),
    ],
)
def test_an_embedding_that_is_not_installed_is_named(prompt: str, missing: str) -> None:
    named = [
        text
        for rule, _, text in warnings_of(BASE.set("positive.text", prompt))
        if rule == "embedding-missing"
    ]
    assert len(named) == bool(missing)
    assert all(f"no embedding {missing!r}" in text for text in named)


@pytest.mark.usefixtures("embedding")
def test_a_similar_embedding_is_suggested() -> None:
    ((_, _, text),) = warnings_of(BASE.set("positive.text", "embedding:inkk"))
    assert "did you mean 'ink'?" in text


@settings(max_examples=100, deadline=None)
@given(st.text("[]{}|:<>_\\ANDlora 0.5,(", max_size=40))
def test_any_prompt_gives_warnings_or_none(prompt: str) -> None:
    warnings_of(BASE.set("positive.text", prompt))
