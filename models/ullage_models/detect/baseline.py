"""What was learned of normal running, as a small file: ``.npz`` without pickle, and its SHA-256.

The same baseline always gives the same bytes. Reading trusts nothing: sizes, shapes and numbers are checked
before anything is used, and a file that fails any check is refused with the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ullage_models.errors import BaselineError

from .calibration import Calibration
from .residual import LinearModel
from .tags import ROLES, Kind, TagProfile

FORMAT = 1
MAX_BYTES = 128 * 2**20
MAX_TAGS = 20_000
MAX_LAGS = 64
_ARRAYS = ("columns", "mean", "scale", "recall", "weights", "grid", "levels")
_MEMBERS = ("about.json", *(f"{name}.npy" for name in _ARRAYS))


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """``tags`` in the order in which values are given; ``model`` over those that are signals.

    ``start``/``end``: the window learned from (timezone-aware); ``rows`` in it that were used; ``interval``:
    the usual time between rows, seconds; ``longest_step``: seconds beyond which rows are missing; ``notes``:
    what the learner found worth telling."""

    tags: tuple[TagProfile, ...]
    model: LinearModel
    calibration: Calibration
    start: datetime
    end: datetime
    rows: int
    interval: float
    longest_step: float
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The tags' names, in order."""
        return tuple(t.name for t in self.tags)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        about = {
            "format": FORMAT, "tags": [asdict(t) for t in self.tags], "lags": self.model.lags,
            "calibration": asdict(self.calibration), "start": self.start.isoformat(), "end": self.end.isoformat(),
            "rows": self.rows, "interval": self.interval, "longest_step": self.longest_step, "notes": list(self.notes),
        }  # fmt: skip
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            archive.writestr(zipfile.ZipInfo("about.json"), text.encode())
            for name in _ARRAYS:
                member = io.BytesIO()
                npy.write_array(member, np.ascontiguousarray(getattr(self.model, name)), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        return out.getvalue()

    @staticmethod
    def from_bytes(content: bytes) -> Baseline:
        """The baseline in a file's bytes; BaselineError if it is damaged, hostile or of another format."""
        try:
            return _read(content)
        except BaselineError:
            raise
        except Exception as fault:  # every way in which hostile bytes can fail is one and the same refusal
            raise BaselineError(
                f"the baseline cannot be read ({type(fault).__name__}: {fault}); learn it again"[:400]
            ) from fault


def _refuse(why: str) -> BaselineError:
    return BaselineError(f"the baseline cannot be used: {why}; learn it again")


def _read(content: bytes) -> Baseline:
    if len(content) > MAX_BYTES:
        raise _refuse(f"it has {len(content)} bytes, more than the {MAX_BYTES} allowed")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sorted(m.filename for m in members) != sorted(_MEMBERS):
            raise _refuse("its parts are not those of a baseline")
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > MAX_BYTES:
            raise _refuse("its parts are compressed or too large")
        about = json.loads(archive.read("about.json"))
        arrays = {name: npy.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False) for name in _ARRAYS}
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _refuse(f"its format is not {FORMAT}")
    tags = tuple(_tag(t) for t in about["tags"])
    if not 1 <= len(tags) <= MAX_TAGS or len({t.name for t in tags}) != len(tags):
        raise _refuse("its tags are none, too many, or named twice")
    baseline = Baseline(
        tags, _model(arrays, _whole(about["lags"], 0, MAX_LAGS), len(tags)), _calibration(about["calibration"]),
        _time(about["start"]), _time(about["end"]), _whole(about["rows"], 1, 2**53),
        _number(about["interval"], above=0.0), _number(about["longest_step"], above=0.0),
        tuple(str(n)[:500] for n in about["notes"][:200]),
    )  # fmt: skip
    if baseline.to_bytes() != content:
        raise _refuse("it is not in the form in which baselines are written")
    return baseline


def _tag(body: dict[str, Any]) -> TagProfile:
    tag = TagProfile(
        _text(body["name"]), _text(body["role"]), Kind(body["kind"]), _number(body["low"]), _number(body["high"]),
        _number(body["resolution"]), _number(body["moves"]), _whole(body["still_rows"], 0, 2**53),
        _whole(body["off_rows"], 0, 2**53), tuple(_number(v) for v in body["levels"]), _number(body["observed"]),
        _number(body["margin"]),
    )  # fmt: skip
    if tag.role not in ROLES or tag.low > tag.high or tag.resolution < 0 or len(tag.levels) > 32:
        raise _refuse(f"tag {tag.name[:80]!r} is described inconsistently")
    return tag


def _model(arrays: dict[str, NDArray[Any]], lags: int, tags: int) -> LinearModel:
    columns = arrays["columns"]
    p, g = columns.shape[0], arrays["levels"].shape[0]
    shapes = {
        "columns": (p,),
        "mean": (p,),
        "scale": (p,),
        "recall": (p,),
        "weights": (p, p * (lags + 1)),
        "grid": (p, g),
        "levels": (g,),
    }
    for name, shape in shapes.items():
        kind = np.int64 if name == "columns" else np.float64
        if arrays[name].shape != shape or arrays[name].dtype != kind or not np.isfinite(arrays[name]).all():
            raise _refuse(f"its array {name!r} is of another shape or type, or holds no numbers")
    ascending = bool((np.diff(arrays["levels"]) > 0).all() and (np.diff(arrays["grid"], axis=1) >= 0).all())
    placed = p == 0 or bool(columns.min() >= 0 and columns.max() < tags and len(set(columns.tolist())) == p)
    if g < 2 or not ascending or not placed or not (arrays["scale"] > 0).all():
        raise _refuse("its arrays contradict each other")
    if not ((arrays["recall"] >= 0) & (arrays["recall"] <= 1)).all():
        raise _refuse("its arrays contradict each other")
    return LinearModel(lags=lags, **arrays)


def _calibration(body: dict[str, Any]) -> Calibration:
    whole = {"persistence", "recovery", "drift_rows"}
    numbers: dict[str, Any] = {
        f.name: _whole(body[f.name], 1, 2**31) if f.name in whole else _number(body[f.name])
        for f in fields(Calibration)
    }
    calibration = Calibration(**numbers)
    sane = 0 < calibration.smoothing <= 1 and 0 < calibration.release <= 1 and calibration.drift >= 1
    if not sane or min(calibration.threshold, calibration.typical) <= 0 or calibration.false_per_day < 0:
        raise _refuse("its calibration is out of bounds")
    return calibration


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _refuse("a name in it is not a text of 1 to 200 characters")
    return value


def _number(value: object, above: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= above:
        raise _refuse("a number in it is missing or out of bounds")
    return float(value)


def _whole(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _refuse("a whole number in it is missing or out of bounds")
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise _refuse("a time in it has no zone")
    return time
