"""Lessons in change: pairs of views, their captions, and the noise between them."""

from __future__ import annotations

import re

import torch

from training.stages.redrawn import CAPTION_LEADS, IMAGE_LEADS, Redrawn, blend
from training.stages.schedule import noise_between, noise_schedule
from training.world.captions import SEASON_WORDS
from training.world.changes import draw_pairs
from training.world.scenes import Landscape


def test_one_thing_changes_and_nothing_moves() -> None:
    for before, after, _ in draw_pairs(200):
        assert before != after
        assert [(t.kind, t.x, t.y, t.half) for t in before.things] == [
            (t.kind, t.x, t.y, t.half) for t in after.things
        ]
        if isinstance(before, Landscape) and isinstance(after, Landscape):
            parts = ("season", "hour", "style")
            assert sum(getattr(before, part) != getattr(after, part) for part in parts) == 1
        else:
            grounds = getattr(before, "ground", ""), getattr(after, "ground", "")
            colours = [t.colour for t in before.things], [t.colour for t in after.things]
            assert (grounds[0] != grounds[1]) + (colours[0] != colours[1]) == 1


def test_the_caption_names_the_new_season() -> None:
    named = 0
    for before, after, text in draw_pairs(200):
        if isinstance(before, Landscape) and isinstance(after, Landscape):
            if before.season == after.season:
                continue
            named += 1
            assert any(word in text for word in SEASON_WORDS[after.season])
    assert named > 20


def test_a_pink_thing_does_not_say_that_lines_are_of_ink() -> None:
    for before, after, text in draw_pairs(2000):
        if after.style == "ink" != before.style:
            assert re.search(r"\bink\b", text), text


def test_low_noise_keeps_what_is_seen_and_high_noise_leads_to_the_second_view() -> None:
    before, after = torch.zeros(300, 4, 2, 2), torch.ones(300, 4, 2, 2)
    timesteps = torch.tensor([IMAGE_LEADS, (IMAGE_LEADS + CAPTION_LEADS) // 2, CAPTION_LEADS] * 100)

    seen, end = blend(before, after, timesteps, torch.Generator().manual_seed(0))

    assert float(seen.min()) < 0.1
    assert float(seen.max()) > 0.9
    assert torch.equal(end[::3], seen[::3])
    torch.testing.assert_close(end[1::3], (1 + seen[1::3]) / 2)
    torch.testing.assert_close(end[2::3], after[2::3])


def test_the_noise_between_leads_back_to_the_wanted_latents() -> None:
    generator = torch.Generator().manual_seed(1)
    wanted, seen, noise = torch.randn(3, 6, 4, 8, 8, generator=generator, dtype=torch.float64)
    timesteps = torch.tensor([50, 250, 400, 600, 800, 999])
    noisy = noise_schedule().add_noise(seen, noise, timesteps)

    result = noise_between(noisy, wanted, timesteps)

    back = noise_schedule().add_noise(wanted, result, timesteps)
    torch.testing.assert_close(back, noisy, rtol=1e-5, atol=1e-5)
    clean = noise_between(noise_schedule().add_noise(wanted, noise, timesteps), wanted, timesteps)
    torch.testing.assert_close(clean, noise, rtol=1e-5, atol=1e-5)


def test_a_draw_keeps_views_and_captions_together() -> None:
    pairs = Redrawn(
        before=torch.arange(5).float()[:, None, None, None].half(),
        after=10 + torch.arange(5).float()[:, None, None, None].half(),
        tokens=torch.arange(5)[:, None].to(torch.int16),
    )

    before, after, tokens = pairs.draw(40, torch.Generator().manual_seed(2))

    assert torch.equal(after.flatten(), before.flatten() + 10)
    assert torch.equal(tokens.flatten().float(), before.flatten())
    assert set(tokens.flatten().tolist()) == set(range(5))
