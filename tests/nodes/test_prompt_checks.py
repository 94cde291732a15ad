"""Prompts are checked before the run."""

from __future__ import annotations

import pytest

import latentloom
from latentloom.engine.execution.executor import Engine


@pytest.mark.parametrize("text", ["a (fox:1e30)", "(fox:nan)", "(" * 70 + "fox" + ")" * 70])
def test_a_prompt_that_cannot_be_read_is_named_by_check(engine: Engine, text: str) -> None:
    builder = latentloom.build()
    clip = builder.CheckpointLoaderSimple(ckpt_name="tiny", id="model").CLIP
    builder.CLIPTextEncode(text=text, clip=clip, id="prompt")
    problems = [str(problem) for problem in engine.check(builder.graph)]
    assert any("prompt" in problem and "can be read" in problem for problem in problems), problems
