"""Valid files, changed where their structure is: what a parser meets after damage, or from somebody who means harm."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from random import Random

HOSTILE_JSON = (
    "null", "true", "-1", "0", "1.5", "1e400", "-1e308", "NaN", "Infinity", "9" * 30, "9" * 5000, '""', '"\\u0000"',
    '"\\ud800"', '"a\\nb"', '"../../x"', "[]", "{}", "[[1]]", '{"a": {"a": 1}}', "[" * 60 + "]" * 60, "[" * 100_000,
    f'"{"x" * 3000}"',
)  # fmt: skip
"""What stands in the place of a value: wrong types, numbers without end, nesting without end."""

HOSTILE_WORDS = (
    "", " ", "-1", "1e400", "nan", "9" * 30, "9" * 5000, "\x00", "a\nb", "\x1b[2J", "../../../etc/passwd", "[" * 2000,
    "1.5", "0x10", "True", "=cmd()", "é" * 200, '"', "'", ",", "\ud800", "-0", "+1", "1_0", "٣",
)  # fmt: skip

NUMBERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """Cut, flipped, doubled, moved, overwritten by numbers, or filled up: one to three times."""
    for _ in range(random.randint(1, 3)):
        at, length = random.randrange(len(data) + 1), random.choice((1, 4, 8, 64, 512))
        kind = random.randrange(7)
        if kind == 0:
            data = data[:at]
        elif kind == 1 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[max(0, at - length) : at] * random.choice((2, 100)) + data[at:]
        elif kind == 3:
            data = data[:at] + data[at + length :]
        elif kind == 4:
            number = struct.pack("<q", random.choice(NUMBERS))[: random.choice((1, 2, 4, 8))]
            data = data[:at] + number + data[at + len(number) :]
        elif kind == 5:
            data = data[:at] + bytes(length) + data[at + length :]
        else:
            data = data + random.choice((b"\0", b"x", data[:64])) * length
    return data


def mutated_json(value: Any, random: Random) -> str:
    """JSON with some values changed for hostile ones, keys doubled, gone or new; or the bytes of it changed."""
    text = json.dumps(value)
    if random.random() < 0.2:
        return mutated_bytes(text.encode(), random).decode("latin-1")
    value = copy.deepcopy(value)
    raw: list[str] = []
    for _ in range(random.randint(1, 2)):
        holder, key = _a_place(value, random)
        if holder is None:
            return random.choice(HOSTILE_JSON)
        kind = random.randrange(6)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice(("a", "a\nb", "__class__", "x" * 2000, str(key).upper()))] = 1
        elif kind == 2 and isinstance(holder, dict):
            holder["@@key"] = holder[key]
            raw.append(json.dumps(key))
        else:
            holder[key] = f"@@{len(raw)}"
            raw.append(random.choice(HOSTILE_JSON))
    text = json.dumps(value)
    for number, each in enumerate(raw):
        text = text.replace(f'"@@{number}"', each).replace('"@@key"', each if each.startswith('"') else '"k"')
    return text


def _a_place(value: Any, random: Random) -> tuple[Any, Any]:
    """A dictionary or list somewhere in `value`, and a key or number in it."""
    places = [(h, k) for h in _holders(value) for k in (list(h) if isinstance(h, dict) else range(len(h)))]
    return random.choice(places) if places else (None, None)


def _holders(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(holder for each in inner for holder in _holders(each))]


def mutated_table(text: str, random: Random, separator: str = ",") -> bytes:
    """A table with cells changed, gone, new or swapped; or the bytes of it changed."""
    if random.random() < 0.2:
        return mutated_bytes(text.encode(), random)
    rows = [line.split(separator) for line in text.splitlines()]
    for _ in range(random.randint(1, 3)):
        row, word = random.choice(rows), random.choice(HOSTILE_WORDS)
        at = random.randrange(len(row)) if row else 0
        changes = (
            lambda r=row, i=at, w=word: r.__setitem__(slice(i, i + 1), [w]),
            lambda r=row, i=at, w=word: r.__setitem__(slice(i, i + 1), [*(cell + w for cell in r[i : i + 1])]),
            lambda r=row, i=at, w=word: r.insert(i, w),
            lambda r=row, i=at: r.__delitem__(slice(i, i + 1)),
            lambda r=row: rows.append(list(r)),
            lambda r=row: random.shuffle(r),
        )
        random.choice(changes)()
    return "\n".join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass")


def mutated_npz(arrays: dict[str, Any], random: Random) -> bytes:
    """An .npz with arrays of other types, shapes and names, or with headers that lie; its sums are right."""
    arrays = dict(arrays)
    name, other = random.choice(list(arrays)), random.choice(list(arrays))
    kind = random.randrange(7)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = random.choice(_odd_arrays())
    elif kind == 2:
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif kind == 3:
        arrays[name] = _another_number(arrays[name], random)
    elif kind == 4 and np.ndim(arrays[name]):
        arrays[name] = arrays[name][: random.randrange(3)]
    made = _zipped(arrays, name if kind == 5 else None, random)
    return mutated_bytes(made, random) if kind == 6 else made


def _another_number(array: Any, random: Random) -> Any:
    changed = np.array(array)
    if changed.size and changed.dtype.kind in "iuf" and changed.dtype.itemsize > 1:
        changed.flat[random.randrange(changed.size)] = random.choice((-1, 0, 1, 2**31 - 1, -(2**31)))
    return changed


def _zipped(arrays: dict[str, Any], liar: str | None, random: Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            content = stream.getvalue()
            member = zipfile.ZipInfo(f"{name}.npy")  # of no time of its own: the same bytes at each run
            packed = _lying_header(content, random) if name == liar else content
            archive.writestr(member, packed, archive.compression)
    return made.getvalue()


def _odd_arrays() -> list[Any]:
    return [
        np.zeros((0, 3)), np.array(3), np.array("x"), np.array(["a", "b"]), np.zeros((2, 2), complex),
        np.zeros(2, bool), np.zeros((2, 3), np.float16), np.full((2, 3), np.nan), np.full((2, 3), 1e300),
        np.zeros(2, "<M8[s]"),
        np.zeros(2, [("a", "<i4")]), np.zeros(2, np.uint64) - 1, np.zeros((1, 1, 1, 1)), np.array([b"\xff"]),
        np.array([2**63], np.uint64), np.zeros(0, np.int64), np.zeros((3, 0)),
    ]  # fmt: skip


def _lying_header(content: bytes, random: Random) -> bytes:
    """The header of an array with another shape or type, of the same length where that is not the lie itself."""
    length = int.from_bytes(content[8:10], "little")
    shape = random.choice(
        ("(-1,)", "(99999999999999,)", "(2, -3)", "(1e9,)", "('a',)", "(4294967296, 4294967296)", "()")
    )
    kind = random.choice(("<f4", "|O", "<i8", "|V99999", "<U9999999", "nonsense", "<c16"))
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(length - 1)[
        : length - 1
    ]
    return content[:10] + header + b"\n" + content[10 + length :]


def mutated_state(state: Any, random: Random) -> Any:
    """A dictionary of tensors and numbers with some changed for odd ones, gone, or under other names."""
    state = copy.deepcopy(state)
    for _ in range(random.randint(1, 2)):
        holder, key = _a_place(state, random)
        if holder is None:
            return random.choice(odd_values())
        kind = random.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice((1, "x", "conv1.num_batches_tracked", "a\nb", "\ud800", (1, 2), None))] = holder[key]
        else:
            holder[key] = random.choice(odd_values())
    return state


def odd_values() -> list[Any]:
    weight = torch.ones(8, 3, 7, 7)
    return [
        None, 3, "x", [], {}, (1, 2), -1, 2**70, float("nan"), b"x", torch.tensor(1), torch.tensor([]), torch.zeros(3),
        weight.to_sparse(), torch.empty(8, 3, 7, 7, device="meta"), weight.to(torch.complex64), weight.int(),
        weight.bool(), weight.to(torch.float8_e4m3fn), weight.double() * 1e300, weight * float("nan"),
        torch.zeros(1).expand(2**30, 2**30),
        torch.zeros(1).expand(8, 3, 7, 7), torch.empty(0, 2**40), torch.zeros(4, dtype=torch.uint16),
        -weight, weight.half(), {"conv1.weight": weight},
    ]  # fmt: skip


def mutated_tar(data: bytes, random: Random) -> bytes:
    """A tar with a field of a header changed and its checksum made right again; or its bytes changed."""
    if random.random() < 0.3:
        return mutated_bytes(data, random)
    starts = [at for at in range(0, len(data) - 512, 512) if data[at + 257 : at + 262] == b"ustar"]
    at = random.choice(starts)
    start, end = random.choice(((0, 100), (100, 108), (124, 136), (156, 157), (157, 257), (257, 265), (345, 500)))
    values = (
        b"\0",
        b"-1",
        b"7" * 11,
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"9",
        b"../x.jpg",
        b"L",
        b"x",
        b"g",
        b"2",
        b"S",
        b"1",
    )
    header = bytearray(data[at : at + 512])
    header[start:end] = random.choice(values)[: end - start].ljust(end - start, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return data[:at] + bytes(header) + data[at + 512 :]


def mutated_safetensors(data: bytes, random: Random) -> bytes:
    """A safetensors file with its header's JSON changed and its length right, or its bytes changed."""
    if random.random() < 0.3:
        return mutated_bytes(data, random)
    length = int.from_bytes(data[:8], "little")
    header = mutated_json(json.loads(data[8 : 8 + length]), random).encode("utf-8", "surrogatepass")
    told = random.choice(NUMBERS) & (2**64 - 1) if random.random() < 0.1 else len(header)
    return told.to_bytes(8, "little") + header + data[8 + length :]
