"""Model folders: ComfyUI's folders, subfolders, links, and files of extra paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.diffusion.errors import MissingModelError, ModelFileError
from latentloom.diffusion.weights.extra_paths import EXTRA_PATHS_VARIABLE
from latentloom.diffusion.weights.folders import (
    MODELS_VARIABLE,
    find_embedding,
    find_missing_folders,
    list_models,
    resolve_model,
)

A1111 = """\
a111:
    base_path: {base}

    checkpoints: models/Stable-diffusion
    configs: models/Stable-diffusion
    vae: models/VAE
    loras: |
         models/Lora
         models/LyCORIS
    upscale_models: |
                  models/ESRGAN
                  models/RealESRGAN
    embeddings: embeddings
    controlnet: models/ControlNet
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "comfy" / "models"
    root.mkdir(parents=True)
    monkeypatch.setenv(MODELS_VARIABLE, str(root))
    monkeypatch.chdir(tmp_path)
    return root


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("checkpoints", "checkpoints"),
        ("vae", "vae"),
        ("loras", "loras"),
        ("controlnet", "controlnet"),
        ("controlnet", "t2i_adapter"),
        ("text_encoders", "text_encoders"),
        ("text_encoders", "clip"),
        ("diffusion_models", "diffusion_models"),
        ("diffusion_models", "unet"),
        ("upscale_models", "upscale_models"),
        ("embeddings", "embeddings"),
    ],
)
def test_every_kind_has_its_folders_with_subfolders(root: Path, kind: str, folder: str) -> None:
    write(root / folder / "one.safetensors")
    deep = write(root / folder / "sub" / "deep" / "two.safetensors")
    write(root / folder / "notes.txt")
    assert {"one.safetensors", "sub/deep/two.safetensors"} <= set(list_models(kind))
    assert "notes.txt" not in list_models(kind)
    assert resolve_model(kind, "sub/deep/two.safetensors") == deep


def test_a_new_file_is_listed_at_once_and_a_deleted_one_is_not(root: Path) -> None:
    assert "new.safetensors" not in list_models("loras")
    file = write(root / "loras" / "new.safetensors")
    assert "new.safetensors" in list_models("loras")
    file.unlink()
    assert "new.safetensors" not in list_models("loras")


def test_linked_folders_are_followed_once(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "disk" / "a.safetensors")
    (root / "loras").mkdir()
    (root / "loras" / "disk").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "disk")
    assert [name for name in list_models("loras") if "a.safe" in name] == ["disk/a.safetensors"]


def test_files_inside_a_model_folder_are_not_listed(root: Path) -> None:
    write(root / "checkpoints" / "sd" / "model_index.json")
    write(root / "checkpoints" / "sd" / "unet" / "weights.safetensors")
    write(root / "vae" / "mse" / "config.json")
    write(root / "vae" / "mse" / "weights.safetensors")
    write(root / "vae" / "mse" / "diffusion_pytorch_model.bin")
    assert [name for name in list_models("checkpoints") if "sd" in name] == ["sd"]
    assert [name for name in list_models("vae") if "mse" in name] == ["mse"]


@pytest.mark.parametrize("kind", ["checkpoints", "loras", "upscale_models", "embeddings"])
@pytest.mark.parametrize("name", ["old.ckpt", "sub/old.pt", "old.pth", "old.bin", "new.sft"])
def test_files_in_torch_format_are_listed(root: Path, kind: str, name: str) -> None:
    file = write(root / kind / name)
    assert name in list_models(kind)
    assert resolve_model(kind, name) == file


@pytest.mark.parametrize(
    "name", ["optimizer.bin", "scheduler.bin", "rng_state_0.pth", "training_args.bin", "a.pkl"]
)
def test_training_state_is_not_listed(root: Path, name: str) -> None:
    write(root / "loras" / name)
    write(root / "loras" / "optimizer-look.safetensors")
    assert name not in list_models("loras")
    assert "optimizer-look.safetensors" in list_models("loras")


def test_an_embedding_in_two_formats_is_read_from_safetensors(root: Path) -> None:
    write(root / "embeddings" / "fox.bin")
    safe = write(root / "embeddings" / "fox.safetensors")
    assert find_embedding("fox") == safe


def test_a_file_next_to_the_models_lists_folders_elsewhere(root: Path, tmp_path: Path) -> None:
    web = tmp_path / "webui"
    write(root.parent / "extra_model_paths.yaml", A1111.format(base=web))
    write(web / "models/Stable-diffusion/x/sd.safetensors")
    write(web / "models/Lora/a.safetensors")
    write(web / "models/LyCORIS/b.safetensors")
    style = write(web / "embeddings/style.pt")
    assert "x/sd.safetensors" in list_models("checkpoints")
    assert {"a.safetensors", "b.safetensors"} <= set(list_models("loras"))
    assert find_embedding("style") == style


def test_the_default_section_comes_first(root: Path, tmp_path: Path) -> None:
    own = write(root / "loras" / "a.safetensors")
    other = write(tmp_path / "other" / "a.safetensors")
    file = root.parent / "extra_model_paths.yaml"
    write(file, "more:\n  base_path: ../other\n  loras: .\n")
    assert resolve_model("loras", "a.safetensors") == own
    write(file, "more:\n  base_path: ../other\n  is_default: true\n  loras: .\n")
    assert resolve_model("loras", "a.safetensors").samefile(other)


def test_a_folder_that_is_listed_but_missing_is_named(root: Path, tmp_path: Path) -> None:
    assert find_missing_folders() == []
    write(root.parent / "extra_model_paths.yaml", "more:\n  base_path: ../other\n  loras: x\n")
    (message,) = find_missing_folders()
    assert message.startswith("extra_model_paths.yaml: more.loras: there is no folder ")


def test_extensions_may_be_in_upper_case(root: Path) -> None:
    write(root / "loras" / "LOUD.SAFETENSORS")
    style = write(root / "embeddings" / "Fox.PT")
    assert "LOUD.SAFETENSORS" in list_models("loras")
    assert [find_embedding(name) for name in ("Fox", "Fox.PT", "Fox.pt")] == [style] * 3


@pytest.mark.parametrize(
    ("name", "suggested"), [("fox.pt", "SD1.5/fox.pt"), ("Old\\cat.pt", "cat.pt")]
)
def test_the_same_name_in_another_folder_is_suggested_first(
    root: Path, name: str, suggested: str
) -> None:
    write(root / "loras" / "SD1.5" / "fox.pt")
    for other in ("cat.pt", "fix.pt", "fxo.pt"):
        write(root / "loras" / other)
    with pytest.raises(MissingModelError, match=f"did you mean '{suggested}'"):
        resolve_model("loras", name)


def test_old_names_of_kinds_work(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.safetensors")
    write(root.parent / "extra_model_paths.yaml", "s:\n  base_path: ../x\n  unet: .\n  clip: .\n")
    assert "a.safetensors" in list_models("diffusion_models")
    assert "a.safetensors" in list_models("text_encoders")


def test_the_variable_lists_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x" / "a.safetensors")
    monkeypatch.setenv(
        EXTRA_PATHS_VARIABLE, str(write(tmp_path / "paths.yaml", "s:\n  loras: x\n"))
    )
    assert "a.safetensors" in list_models("loras")
    monkeypatch.setenv(EXTRA_PATHS_VARIABLE, str(tmp_path / "missing.yaml"))
    with pytest.raises(ModelFileError, match=r"missing\.yaml, which is not a file"):
        list_models("loras")


@pytest.mark.parametrize("text", ["", "# nothing\n", "s:\n", "s:\n  base_path: x\n"])
def test_a_file_without_folders_is_valid(root: Path, text: str) -> None:
    write(root.parent / "extra_model_paths.yaml", text)
    assert "a" not in list_models("loras")


@pytest.mark.parametrize(
    "text",
    [
        "[1]", "a: 5", "a: [x]", "a:\n  loras: [x]", "a:\n  base_path: 5", "{", "a: &b [*b]",
        "a: !!python/object:os.system {}", "a:\n  loras: \"\\0\"", "a:\n  base_path: ~no-one/x",
        "[" * 5000,
    ],
)  # fmt: skip
def test_an_invalid_file_is_an_error(root: Path, text: str) -> None:
    write(root.parent / "extra_model_paths.yaml", text)
    with pytest.raises(ModelFileError, match=r"extra_model_paths\.yaml"):
        resolve_model("loras", "a")
