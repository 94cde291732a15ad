"""The order of the stages, and what each leaves in the run folder for the next.

`tokenizer/` and `folded/` are finished parts; `<stage>.checkpoint.pt` are stages under way;
`<stage>.end` is the step that a stage was asked to end at; `images-*.npy`, `edges-*.npy`,
`lessons.pt`, `redrawn.pt` and `check.pt` can be made again at any time.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTokenizer

from training.curves import draw_curves
from training.export import export_adapter, export_controlnet, export_model
from training.judging.evaluate import evaluate
from training.presets import Preset
from training.stages.adapter import Adapter, toned_lessons, train_adapter
from training.stages.autoencoder import train_autoencoder, train_decoder
from training.stages.controlnet import train_controlnet
from training.stages.denoiser import Lessons, load_lessons, train_denoiser
from training.stages.redrawn import load_redrawn
from training.stages.stage import request_end
from training.stages.tokenizer import make_tokenizer

TRAINED = ("autoencoder", "decoder", "denoiser", "controlnet", "adapter")
STAGES = (*TRAINED, "export", "evaluate")
LEFT_BEHIND = (
    "*.checkpoint.pt",
    "*.end",
    "*.partial*",
    "lessons.pt",
    "redrawn.pt",
    "check.pt",
    "images-*.npy",
    "edges-*.npy",
    "glimpse-*.png",
    "folded",
    "tokenizer",
)


@dataclass(frozen=True)
class Workshop:
    """Where a model is made: what to make, the run folder, and the models folder it goes to."""

    preset: Preset
    run: Path
    output: Path
    resume: bool

    def run_all(self) -> int:
        """Every stage in order."""
        if not self.resume:
            self.clean()
        self.run.mkdir(parents=True, exist_ok=True)
        self.folded()
        self.denoiser(resume=self.resume)
        self.decoder(resume=self.resume)
        self.controlnet(resume=self.resume)
        self.adapter(resume=self.resume)
        return self.run_only("export") or self.run_only("evaluate")

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
        folder = self.run / "tokenizer"
        if not (folder / "merges.txt").exists():
            make_tokenizer(folder)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def folded(self) -> AutoencoderKL:
        """The autoencoder with its encoder finished and its latents folded."""
        folder = self.run / "folded"
        if not (folder / "config.json").exists():
            vae = train_autoencoder(self.preset, self.run, resume=self.resume)
            partial = self.run / "folded.partial"
            vae.save_pretrained(partial)
            partial.replace(folder)
        return AutoencoderKL.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)

    def decoder(self, *, resume: bool) -> AutoencoderKL:
        """The autoencoder with its decoder finished too."""
        return train_decoder(self.preset, self.run, self.folded(), resume=resume)

    def lessons(self) -> Lessons:
        """What the denoiser and the ControlNet learn from."""
        return load_lessons(self.preset, self.run, self.folded(), self.tokenizer())

    def denoiser(self, *, resume: bool) -> dict[str, nn.Module]:
        """The denoiser and the text encoder."""
        lessons, tokenizer, vae = self.lessons(), self.tokenizer(), self.folded()
        redrawn = load_redrawn(self.preset, self.run, lessons.latents, vae, tokenizer)
        return train_denoiser(
            self.preset, self.run, lessons, redrawn, tokenizer, vae, resume=resume
        )

    def controlnet(self, *, resume: bool) -> nn.Module:
        """The ControlNet, beside the finished denoiser."""
        networks = self.denoiser(resume=True)
        return train_controlnet(self.preset, self.run, self.lessons(), networks, resume=resume)

    def adapter(self, *, resume: bool) -> Adapter:
        """The LoRA, on the finished denoiser."""
        toned = toned_lessons(self.preset, self.folded(), self.tokenizer())
        networks = self.denoiser(resume=True)
        return train_adapter(self.preset, self.run, toned, networks, resume=resume)

    def export(self) -> None:
        """Write all networks into the models folder, and the curves of their losses."""
        modules = {"vae": self.decoder(resume=True), **self.denoiser(resume=True)}
        export_controlnet(self.controlnet(resume=True), self.output)
        export_adapter(self.adapter(resume=True), self.output)
        export_model(modules, self.run / "tokenizer", self.output)
        draw_curves(self.run, TRAINED).save(self.output / "demo" / "curves.png", optimize=True)
