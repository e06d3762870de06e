"""Write what was calibrated: the files of the device, platform and link again, with their constants and deviations.

They lie as in a folder of one's own (``PALEO_OPT_PATH``), where they come before shipped ones of their name.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from paleo_opt import __version__
from paleo_opt.calibration.calibrate import Calibration
from paleo_opt.hardware.constant import Constant, Meaning, format_constant
from paleo_opt.hardware.link_constants import LINK_CONSTANTS
from paleo_opt.hardware.platform import ATTAINABLE, CONSTANTS


def calibrated_files(answer: Calibration) -> dict[str, str]:
    """The text of each file, by its path within a folder of one's own; those that nothing is known of are left out."""
    constants = answer.written()
    note = f"Calibrated by paleo-opt {__version__} on {time.strftime('%Y-%m-%d')} to {_named(answer)}"
    device = _of(constants, "", ATTAINABLE)
    platform = _of(constants, "platform.", CONSTANTS)
    link = _of(constants, "link.", LINK_CONSTANTS)
    files = {}
    if device or answer.device.platform != answer.platform.name:
        fields = _fields(answer.device.file)
        attainable = {**fields.get("attainable", {}), **device}
        added = {"attainable": attainable} if attainable else {}
        files[f"hardware/devices/{answer.device.name}.yaml"] = _text(
            fields | added | {"platform": answer.platform.name}, note
        )
    if platform:
        fields = _fields(answer.platform.file)
        files[f"hardware/platforms/{answer.platform.name}.yaml"] = _text(
            fields | {"constants": {**fields.get("constants", {}), **platform}}, note
        )
    if link and answer.link is not None:
        files[f"hardware/links/{answer.link.name}.yaml"] = _text(_fields(answer.link.file) | link, note)
    return files


def _named(answer: Calibration) -> str:
    names = [Path(file).name for file in answer.files]
    return f"{len(answer.ids)} rows of {', '.join(dict.fromkeys(names))}"


def _of(constants: Mapping[str, Constant], prefix: str, meanings: Mapping[str, Meaning]) -> dict[str, str]:
    """Those of one file, as it has them."""
    return {
        name: format_constant(constants[prefix + name], meaning)
        for name, meaning in meanings.items()
        if prefix + name in constants
    }


def _fields(file: str) -> dict[str, Any]:
    # Every value stays the text that it is, units and all.
    found: dict[str, Any] = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return found


def _text(fields: Mapping[str, Any], note: str) -> str:
    before = str(fields.get("source", "")).partition(" Calibrated by paleo-opt")[0].rstrip(".")
    lines = [f"{name}: {_value(value)}" for name, value in fields.items() if name != "source"]
    source = f"{before}. {note}" if before else note
    return "\n".join([*lines, f"source: {_quoted(source)}"]) + "\n"


def _value(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(of)}" for name, of in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = str(value)
    plain = text and all(letter.isalnum() or letter in " ._-/±%+" for letter in text)
    return text if plain and not text.startswith(("-", " ", "%")) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
