"""The order of the stages, and what each leaves in the run folder for the next.

`tokenizer/` and `folded/` are finished parts; `<stage>.checkpoint.pt` are stages under way;
`<stage>.end` is the step that a stage was asked to end at; `<stage>.part1.pt` and the like and
`tokenizer.json` are what a run on a GPU leaves: all that the later stages and the export need.
`images-*.npy`, `edges-*.npy`, `tokens-*.npy`, `lessons.pt`, `redrawn.pt` and `check.pt` can be made
again at any time.
"""

from __future__ import annotations

import json
import shutil
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTokenizer

from training.curves import draw_curves
from training.export import export_adapter, export_controlnet, export_model
from training.judging.evaluate import evaluate
from training.presets import Preset
from training.stages.adapter import Adapter, toned_lessons, train_adapter
from training.stages.autoencoder import build, train_autoencoder, train_decoder
from training.stages.controlnet import build_controlnet, start_edges, train_controlnet
from training.stages.denoiser import (
    Lessons,
    build_denoiser,
    build_text_encoder,
    load_lessons,
    train_denoiser,
)
from training.stages.finished import is_finished, load_finished, save_finished
from training.stages.redrawn import load_redrawn
from training.stages.stage import read_history, request_end
from training.stages.tokenizer import asked_table, captions_table, make_tokenizer
from training.world.crew import Crew
from training.world.pool import pool_tables
from training.world.tables import views_table

if TYPE_CHECKING:
    from collections.abc import Mapping

TRAINED = ("autoencoder", "decoder", "denoiser", "controlnet", "adapter")
STAGES = (*TRAINED, "export", "evaluate")
# In which order the stages share the time that a run has, and how.
SHARES = {
    "autoencoder": 0.22, "denoiser": 0.53, "decoder": 0.1, "controlnet": 0.12, "adapter": 0.03,
}  # fmt: skip
# The seconds that each stage needs before its first step and after its last, about.
AROUND = {"autoencoder": 0.0, "denoiser": 22.0, "decoder": 5.0, "controlnet": 6.0, "adapter": 4.0}
LEFT_BEHIND = (
    "*.checkpoint.pt",
    "*.end",
    "*.partial*",
    "lessons.pt",
    "redrawn.pt",
    "check.pt",
    "images-*.npy",
    "edges-*.npy",
    "tokens-*.npy",
    "*.part*.pt",
    "*.history.json",
    "tokenizer.json",
    "glimpse-*.png",
    "folded",
    "tokenizer",
)


@dataclass(frozen=True)
class Workshop:
    """Where a model is made: what to make, the run folder, and the models folder it goes to.

    With a `deadline` (`time.monotonic`) the stages share the time until then.
    """

    preset: Preset
    run: Path
    output: Path
    resume: bool
    deadline: float | None = None
    crew: Crew = field(default_factory=Crew)

    def run_all(self) -> int:
        """Every stage in order; within a given time, without export and evaluation."""
        if not self.resume:
            self.clean()
        self.run.mkdir(parents=True, exist_ok=True)
        try:
            failures = self.train_all()
        finally:
            self.crew.close()
        if self.deadline is not None:
            return failures
        return self.run_only("export") or self.run_only("evaluate")

    def train_all(self) -> int:
        """Every stage that is trained, while the crew draws what the next ones need.

        Within a given time the last stages do without each other; return how many failed.
        """
        # Where the time is short only the last scenes are missing.
        scenes, textures = pool_tables(self.preset, self.run)
        self.crew.start(textures)
        self.crew.start(scenes, self.preset.pool)
        self.tokenizer()
        self.crew.start(captions_table(self.run, self.preset.scenes, self.preset.captions))
        self.crew.start(asked_table(self.run, self.preset.pairs))
        self.crew.start(views_table(self.run, self.preset.pairs))
        self.crew.start(scenes)
        self.folded()
        self.denoiser(resume=self.resume)
        failures = 0
        for stage in (self.decoder, self.controlnet, self.adapter):
            try:
                stage(resume=self.resume)
            except Exception:
                if self.deadline is None:
                    raise
                # There may be no second try: what can still be made is made.
                traceback.print_exc()
                failures += 1
        return failures

    def run_only(self, stage: str) -> int:
        """One stage, on what the earlier ones left in the run folder."""
        self.run.mkdir(parents=True, exist_ok=True)
        if stage == "autoencoder":
            self.folded()
        elif stage == "decoder":
            self.decoder(resume=self.resume)
        elif stage == "denoiser":
            self.denoiser(resume=self.resume)
        elif stage == "controlnet":
            self.controlnet(resume=self.resume)
        elif stage == "adapter":
            self.adapter(resume=self.resume)
        elif stage == "export":
            self.export()
        elif stage == "evaluate" and not evaluate(self.output, self.preset.counts):
            return 1
        return 0

    def finish(self, stage: str) -> int:
        """Have a stage let its rate fall and end, in whatever process it runs; return the step."""
        return request_end(self.run, stage, getattr(self.preset, stage))

    def clean(self) -> None:
        """Remove what an earlier run left, and nothing else."""
        for path in [result for pattern in LEFT_BEHIND for result in self.run.glob(pattern)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer, made on first use."""
        folder, packed = self.run / "tokenizer", self.run / "tokenizer.json"
        if packed.exists() and not folder.exists():
            folder.mkdir(parents=True)
            for name, text in json.loads(packed.read_text("utf-8")).items():
                (folder / name).write_text(text, "utf-8")
        if not (folder / "merges.txt").exists():
            make_tokenizer(folder)
        if self.preset.copies:
            texts = {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}
            self.preset.copies.mkdir(parents=True, exist_ok=True)
            (self.preset.copies / packed.name).write_text(json.dumps(texts), "utf-8")
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def folded(self) -> AutoencoderKL:
        """The autoencoder with its encoder finished and its latents folded."""
        folder = self.run / "folded"
        for stage in ("autoencoder", "decoder"):
            if is_finished(self.run, stage):
                return self._finished_autoencoder(stage).to(self.preset.device)
        if not (folder / "config.json").exists():
            preset = self._with_time("autoencoder")
            vae = train_autoencoder(preset, self.run, self.crew, resume=self.resume)
            if self._is_timed():
                self._save("autoencoder", {"vae": vae})
                return self.folded()
            partial = self.run / "folded.partial"
            vae.save_pretrained(partial)
            partial.replace(folder)
        return AutoencoderKL.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)

    def decoder(self, *, resume: bool) -> AutoencoderKL:
        """The autoencoder with its decoder finished too."""
        if resume and is_finished(self.run, "decoder"):
            return self._finished_autoencoder("decoder")
        preset = self._with_time("decoder")
        vae = train_decoder(preset, self.run, self.crew, self.folded(), resume=resume)
        self._save("decoder", {"vae": vae})
        if self.preset.copies:
            # The decoder's file has the encoder too.
            for path in self.preset.copies.glob("autoencoder.part*.pt"):
                path.unlink()
        return vae

    def lessons(self) -> Lessons:
        """What the denoiser and the ControlNet learn from."""
        return load_lessons(
            self.preset, self.run, self.folded(), self.tokenizer(), self.crew, self._patience()
        )

    def denoiser(self, *, resume: bool) -> dict[str, nn.Module]:
        """The denoiser and the text encoder."""
        if resume and is_finished(self.run, "denoiser"):
            tokenizer = self.tokenizer()
            networks: dict[str, nn.Module] = {
                "unet": build_denoiser(self.preset),
                "text_encoder": build_text_encoder(self.preset, tokenizer),
            }
            load_finished(self.run, "denoiser", networks)
            return networks
        lessons, tokenizer, vae = self.lessons(), self.tokenizer(), self.folded()
        until = self._patience()
        redrawn = load_redrawn(self.preset, self.run, lessons.latents, vae, self.crew, until)
        start_edges(self.preset, self.run, self.crew, len(lessons.latents))
        preset = self._with_time("denoiser")
        networks = train_denoiser(preset, self.run, lessons, redrawn, tokenizer, vae, resume=resume)
        self._save("denoiser", networks)
        return networks

    def controlnet(self, *, resume: bool) -> nn.Module:
        """The ControlNet, beside the finished denoiser."""
        networks = self.denoiser(resume=True)
        if resume and is_finished(self.run, "controlnet"):
            net: nn.Module = build_controlnet(self.preset, networks["unet"])
            load_finished(self.run, "controlnet", {"controlnet": net})
            return net
        lessons, preset = self.lessons(), self._with_time("controlnet")
        net = train_controlnet(preset, self.run, lessons, networks, self.crew, resume=resume)
        self._save("controlnet", {"controlnet": net})
        return net

    def adapter(self, *, resume: bool) -> Adapter:
        """The LoRA, on the finished denoiser."""
        networks = self.denoiser(resume=True)
        if resume and is_finished(self.run, "adapter"):
            adapter = Adapter(networks["unet"], self.preset.rank)
            load_finished(self.run, "adapter", {"adapter": adapter})
            return adapter
        toned = toned_lessons(self.preset, self.run, self.folded(), self.tokenizer())
        preset = self._with_time("adapter")
        adapter = train_adapter(preset, self.run, toned, networks, resume=resume)
        self._save("adapter", {"adapter": adapter})
        return adapter

    def export(self) -> None:
        """Write all networks into the models folder, and the curves of their losses."""
        modules = {"vae": self.decoder(resume=True), **self.denoiser(resume=True)}
        export_controlnet(self.controlnet(resume=True), self.output)
        export_adapter(self.adapter(resume=True), self.output)
        export_model(modules, self.run / "tokenizer", self.output)
        draw_curves(self.run, TRAINED).save(self.output / "demo" / "curves.png", optimize=True)

    def _finished_autoencoder(self, stage: str) -> AutoencoderKL:
        vae = build(self.preset.autoencoder_channels)
        load_finished(self.run, stage, {"vae": vae})
        return vae

    def _is_timed(self) -> bool:
        return self.deadline is not None or self.preset.device != "cpu"

    def _save(self, stage: str, modules: Mapping[str, nn.Module]) -> None:
        """Write the files of a stage that can be carried elsewhere; others have a checkpoint."""
        if self._is_timed():
            history = read_history(self.run, stage)
            save_finished(self.run, stage, modules, history, self.preset.copies)
            print(f"{stage} is finished, at {history.done} steps", flush=True)

    def _with_time(self, stage: str) -> Preset:
        """The preset with the seconds of a stage, out of what is left until the deadline."""
        if self.deadline is None:
            return self.preset
        order = list(SHARES)
        later = order[order.index(stage) + 1 :]
        left = self.deadline - time.monotonic() - sum(AROUND[name] for name in later)
        seconds = left * SHARES[stage] / sum(SHARES[name] for name in (stage, *later))
        print(f"{stage}: {seconds:.0f} s of {left:.0f} s", flush=True)
        plan = replace(getattr(self.preset, stage), seconds=max(1.0, seconds))
        return replace(self.preset, **{stage: plan})

    def _patience(self) -> float | None:
        """Until when to wait for the crew: a tenth of what is left."""
        if self.deadline is None:
            return None
        return time.monotonic() + 0.1 * max(0.0, self.deadline - time.monotonic())
