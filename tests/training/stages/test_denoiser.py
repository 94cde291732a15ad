"""What the denoiser learns from: timesteps, weights, captions."""

from __future__ import annotations

import torch

from training.stages.denoiser import EMPTY_SHARE, SHORT, Lessons
from training.stages.schedule import draw_timesteps, loss_weights


def make_lessons() -> Lessons:
    """Two images with three captions of 77 tokens each; the empty caption is all zeros."""
    tokens = torch.arange(1, 7).reshape(2, 3, 1).expand(2, 3, 77).to(torch.int16)
    empty, weights = torch.zeros(1, 77).long(), torch.tensor([3.0, 1.0])
    return Lessons(torch.randn(2, 4, 16, 16).half(), tokens, empty, weights)


def test_timesteps_cover_every_stratum_of_the_schedule() -> None:
    timesteps = draw_timesteps(32, torch.Generator().manual_seed(0))

    shares = timesteps / 1000 * 32
    assert sorted(shares.round(decimals=1).floor().int().tolist())[-1] == 31
    assert int(timesteps.min()) < 120
    assert int(timesteps.max()) < 1000


def test_high_noise_weighs_more_than_min_snr_alone() -> None:
    weights = loss_weights()

    assert float(weights[999]) > 5
    assert float(weights[999]) > float(weights[500]) > float(weights[50])


def test_a_share_of_the_captions_is_empty() -> None:
    picks = torch.zeros(4000).long()
    _, tokens = make_lessons().draw(1, picks, torch.Generator().manual_seed(0))

    empty = float((tokens[:, 0] == 0).float().mean())
    assert abs(empty - EMPTY_SHARE) < 0.02


def test_one_step_in_seven_trains_on_all_77_tokens() -> None:
    lessons = make_lessons()

    picks = torch.tensor([0, 1])
    lengths = [lessons.draw(step, picks, torch.Generator())[1].shape[1] for step in range(8)]

    assert lengths == [77, *[SHORT] * 6, 77]


def test_latents_and_captions_of_a_batch_belong_together() -> None:
    lessons = make_lessons()

    generator = torch.Generator().manual_seed(2)
    latents, tokens = lessons.draw(1, lessons.pick(50, generator), generator)

    second = (latents == lessons.latents[1].float()).flatten(1).all(1)
    named = tokens[:, 0] > 0
    assert torch.equal((tokens[:, 0] > 3)[named], second[named])


def test_images_come_up_as_often_as_their_weights_say() -> None:
    picks = make_lessons().pick(4000, torch.Generator().manual_seed(3))

    assert abs(float((picks == 0).float().mean()) - 0.75) < 0.03
