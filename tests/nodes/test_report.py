"""Reports: measurements of a known change, passes, JSON and table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import latentloom
from latentloom.diffusion.latents.latents import Latent, SamplePass
from latentloom.diffusion.sampling.report import PassReport, PassRow, to_table
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.engine.errors import InputError
from latentloom.engine.execution.events import AnyEvent, Finished
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.nodes.codecs import TENSOR_FINGERPRINT
from latentloom.nodes.report import SaveReport, pass_report

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint
SOURCE = torch.full((1, 8, 8, 3), 100.5 / 255)
LATENT = Latent(torch.zeros(1, 4, 1, 1))


def test_a_change_of_ten_levels_inside_a_mask_is_measured() -> None:
    mask, changed = torch.zeros(1, 8, 8), SOURCE.clone()
    mask[:, :4] = 0.2
    changed[:, :2] += 10 / 255
    (row,) = pass_report(SOURCE, changed, LATENT, mask).rows
    assert row.inside is not None
    assert row.outside is not None
    assert (row.inside.pixels, row.inside.changed) == (32, 16)
    assert row.inside.psnr_db == pytest.approx(31.14, abs=0.01)
    assert 1.0 < row.inside.delta_e < 3.0
    assert (row.outside.pixels, row.outside.changed, row.outside.psnr_db) == (32, 0, None)
    assert row.outside.delta_e == 0.0


def test_scores_are_the_change_of_the_last_row() -> None:
    changed = SOURCE.clone()
    changed[:, :2] += 10 / 255
    report = pass_report(SOURCE, changed, LATENT, previous=pass_report(SOURCE, SOURCE, LATENT))
    assert report.scores.keys() == {
        "inside_pixels", "inside_changed", "inside_psnr_db", "inside_delta_e",
    }  # fmt: skip
    assert report.scores["inside_changed"] == 16
    assert PassReport().scores == {}


def test_without_a_mask_everything_is_inside() -> None:
    (row,) = pass_report(SOURCE, SOURCE[:, :5, :3], LATENT).rows
    assert row.inside is not None
    assert row.inside.pixels == 15
    assert row.outside is None


def test_an_image_of_another_size_is_rejected() -> None:
    with pytest.raises(InputError, match=r"image: expected 8×8 pixels"):
        pass_report(SOURCE, torch.rand(1, 16, 8, 3), LATENT)


def test_seconds_do_not_distinguish_two_passes() -> None:
    quick = SamplePass("euler", "normal", 3, 14.6, 6, 0.1)
    slow = SamplePass("euler", "normal", 3, 14.6, 6, 9.9)
    other = SamplePass("euler", "normal", 3, 14.6, 7, 0.1)
    assert fingerprint(quick) == fingerprint(slow) != fingerprint(other)


def test_a_prefix_that_leaves_the_folder_is_rejected_before_the_run() -> None:
    with pytest.raises(InputError, match=r"filename_prefix"):
        SaveReport.check("../report")


def test_passes_are_listed_with_their_figures(engine: Engine, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (90, 120, 150)).save(tmp_path / "photo.png")
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    photo, _ = b.LoadImage(image="photo.png")
    mask = b.SolidMask(width=16, height=16, value=1.0)
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent: Any = b.VAEEncode(pixels=photo, vae=vae)
    reports: list[Any] = []
    for steps in (2, 3):
        latent = b.KSampler(
            model=model, positive=prompt, negative=prompt, latent_image=latent, steps=steps,
            cfg=2.0, seed=steps, denoise=0.5, sampler_name="heun",
        )  # fmt: skip
        image = b.VAEDecode(samples=latent, vae=vae)
        previous = {"previous": reports[-1]} if reports else {}
        reports.append(
            b.PassReport(source=photo, image=image, latent=latent, mask=mask, **previous)
        )
    b.SaveReport(report=reports[-1], id="save")
    events: list[AnyEvent] = []
    workspace = Workspace(input_dir=tmp_path, output_dir=tmp_path / "out")
    result = engine.run(b.graph, workspace, on_event=events.append)
    assert result.errors == ()
    passes = json.loads(result.saved[0][1].read_text())["passes"]
    assert [row["sampled"]["steps"] for row in passes] == [2, 3]
    assert [row["sampled"]["model_calls"] for row in passes] == [3, 5]
    assert all(row["inside"]["psnr_db"] > 0 for row in passes)
    assert all(row["outside"] is None for row in passes)
    assert passes[0]["sampled"]["first_sigma"] > 1
    (text,) = [event.text for event in events if isinstance(event, Finished) and event.text]
    assert text.splitlines()[0].split()[:3] == ["pass", "sampler", "steps"]
    assert "heun/simple" in text.splitlines()[2]


def test_the_table_says_which_calls_were_captured_and_why_not() -> None:
    captured = SamplePass("euler", "normal", 20, 14.6, 20, 0.2, captured_calls=18)
    eager = SamplePass("euler", "normal", 4, 2.0, 4, 0.4, eager_reason="Triton is not installed")
    lines = to_table(PassReport((PassRow(captured), PassRow(eager), PassRow()))).splitlines()
    assert "20 (18 captured)" in lines[1]
    assert "captured" not in lines[2]
    assert lines[4:] == ["pass 2 ran eagerly: Triton is not installed"]
    assert captured.fingerprint == replace(captured, captured_calls=0).fingerprint
