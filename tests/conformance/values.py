"""Turns the values of the case files into what a door sends, and compares replies with what the cases expect.

The vocabulary ($repeat, $list, $items, $concat, $raw, $float, $base64, $hex) is described in README.md; a runner in another
language needs these few rules and nothing else.
"""

import base64
import json
import math
import struct

FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Raw(str):
    """JSON text that stands for itself (metadata)."""


class Base64(list):
    """Numbers that the JSON doors send as base64 of little-endian float32."""


def expand(value):
    """Replaces every {"$...": ...} by the value it describes."""
    if isinstance(value, list):
        return [expand(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        return expand(value["$repeat"]) * value["times"]
    if "$list" in value:
        return [expand(v) for v in value["$list"]] * value["times"]
    if "$items" in value:
        return [{"id": f"{value.get('id', 'i')}{j}", "vector": value["vector"]} for j in range(value["$items"])]
    if "$concat" in value:
        parts = [expand(v) for v in value["$concat"]]
        return parts[0][:0].join(parts)
    if "$raw" in value:
        return Raw(expand(value["$raw"]))
    if "$float" in value:
        return FLOATS[value["$float"]]
    if "$base64" in value:
        return Base64(value["$base64"])
    if "$hex" in value:
        return bytes.fromhex(expand(value["$hex"]).replace(" ", ""))
    return {k: expand(v) for k, v in value.items()}


def to_json(value):
    """JSON text of an expanded value: raw text is spliced in, nothing is reformatted."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Base64):
        return json.dumps(base64.b64encode(struct.pack(f"<{len(value)}f", *value)).decode())
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + to_json(v) for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def to_message(message, value):
    """Fills a protobuf message from an expanded value."""
    for name, field in value.items():
        if isinstance(field, list):
            target = getattr(message, name)
            for element in field:
                if isinstance(element, dict):
                    to_message(target.add(), element)
                else:
                    target.append(element)
        elif isinstance(field, dict):
            to_message(getattr(message, name), field)
            getattr(message, name).SetInParent()  # an empty one is there too
        else:
            setattr(message, name, field)
    return message


def from_message(message):
    """The plain form of a reply: what its JSON form holds, metadata as Raw."""
    out = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type and field.label == field.LABEL_REPEATED:
            value = [from_message(v) for v in value]
        elif field.message_type:
            value = from_message(value)
        elif field.label == field.LABEL_REPEATED:
            value = list(value)
        elif field.name == "metadata":
            value = Raw(value)
        out[field.name] = value
    return out


_decoder = json.JSONDecoder(parse_int=float, parse_constant=lambda word: _refuse(word))


def _refuse(word):
    raise ValueError(f"{word} is not JSON")


def from_json(text):
    """The plain form of a JSON reply: metadata members as the exact text that stands there, no member twice."""
    value, at = _value(text, _space(text, 0))
    if text[at:] != "\n":
        raise ValueError(f"a reply is one JSON value and a newline, not {text[at:at + 40]!r} after it")
    return value


def _space(text, at):
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _value(text, at):
    if text[at] == "{":
        return _walk(text, at, "}")
    if text[at] == "[":
        return _walk(text, at, "]")
    value, end = _decoder.raw_decode(text, at)
    return value, end


def _walk(text, at, closing):
    out = {} if closing == "}" else []
    at = _space(text, at + 1)
    while text[at] != closing:
        key = None
        if closing == "}":
            key, at = _decoder.raw_decode(text, at)
            at = _space(text, at)
            if text[at] != ":":
                raise ValueError(f"no colon at {at}")
            at = _space(text, at + 1)
            if key in out:
                raise ValueError(f"member {key!r} twice")
        if key == "metadata":
            _, end = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(text, at)
            value, at = Raw(text[at:end]), end
        else:
            value, at = _value(text, at)
        if key is None:
            out.append(value)
        else:
            out[key] = value
        at = _space(text, at)
        if text[at] == ",":
            at = _space(text, at + 1)
            if text[at] == closing:
                raise ValueError(f"trailing comma at {at}")
        elif text[at] != closing:
            raise ValueError(f"no comma at {at}")
    return out, at + 1


def difference(expected, got, path="reply"):
    """None, or where and how `got` differs. Members that `expected` does not name may be anything; null means absent."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return f"{path}: expected an object, got {_short(got)}"
        for name, value in expected.items():
            if value is None:
                if name in got:
                    return f"{path}.{name}: expected none, got {_short(got[name])}"
                continue
            if name not in got:
                return f"{path}.{name}: expected {_short(value)}, got none"
            found = difference(value, got[name], f"{path}.{name}")
            if found:
                return found
        return None
    if isinstance(expected, list):
        if not isinstance(got, list) or len(expected) != len(got):
            return f"{path}: expected {len(expected)} elements, got {_short(got)}"
        for j, value in enumerate(expected):
            found = difference(value, got[j], f"{path}[{j}]")
            if found:
                return found
        return None
    if isinstance(expected, bool) or isinstance(got, bool) or isinstance(expected, str):
        same = expected == got and isinstance(expected, bool) == isinstance(got, bool)
    else:
        same = isinstance(got, (int, float)) and (expected == got or abs(expected - got) <= 1e-6 * max(1.0, abs(expected)))
    return None if same else f"{path}: expected {_short(expected)}, got {_short(got)}"


def _short(value):
    text = repr(value)
    return text if len(text) < 200 else text[:150] + f"... ({len(text)} characters)"
