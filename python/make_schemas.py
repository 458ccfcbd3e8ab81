"""Writes tests/onnx_schemas.def: what ONNX's own schemas say of the types of the operators that are
read, for tests/test_onnx_types.c.

    python python/make_schemas.py [--out tests/onnx_schemas.def]

A line for each version of an operator that holds in some operator set from 7 on:

    SCHEMA(operator, first set, last set, types, inputs, outputs, most, attributes)

types: bit n for TensorProto.DataType n, of the inputs' first type variable that admits floats, or else
of the first; inputs, outputs: bit i where input (output) i is of that variable. Text and complex
numbers are left out; 0 where no input has a variable. most: how many inputs there may be.
"""

import argparse
import pathlib
import re

import onnx
from onnx import TensorProto

FIRST, LAST = 7, 26
LEFT_OUT = {TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128}
NAMES = {"float": "FLOAT", "double": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16",
         "bool": "BOOL"}


def number(text):
    """TensorProto's number of "tensor(float16)", None for what is no tensor or left out."""
    found = re.fullmatch(r"tensor\((\w+)\)", text)
    name = NAMES.get(found[1], found[1].upper()) if found else None
    value = getattr(TensorProto, name, None) if name else None
    return None if value in LEFT_OUT else value


def mask(ports, variable):
    bits = sum(1 << i for i, p in enumerate(ports) if p.type_str == variable)
    if ports and ports[-1].option.name == "Variadic" and ports[-1].type_str == variable:
        bits |= 0xFFFF & ~((1 << len(ports)) - 1)
    return bits


def line(schema, last):
    kinds = {c.type_param_str: {number(t) for t in c.allowed_type_strs} - {None}
             for c in schema.type_constraints}
    best = max((p.type_str for p in schema.inputs if kinds.get(p.type_str)),
               key=lambda v: TensorProto.FLOAT in kinds[v], default=None)
    types = sum(1 << t for t in kinds[best]) if best else 0
    return (f"SCHEMA({schema.name}, {schema.since_version}, {last}, {types:#x}, "
            f"{mask(schema.inputs, best) if best else 0:#x}, "
            f"{mask(schema.outputs, best) if best else 0:#x}, {min(schema.max_input, 16)}, "
            f"\" {' '.join(sorted(schema.attributes))} \")\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default="tests/onnx_schemas.def")
    root = pathlib.Path(__file__).parent.parent
    table = (root / "host/ops/onnx_ops.def").read_text()
    names = re.findall(r"^ONNX\((\w+)\)", table, re.M)
    text = ("/* Made by python/make_schemas.py from the schemas of onnx "
            f"{onnx.__version__}; do not edit. */\n")
    for name in names:
        versions = sorted({s.since_version for s in onnx.defs.get_all_schemas_with_history()
                           if s.name == name and s.domain == ""})
        for i, since in enumerate(versions):
            last = versions[i + 1] - 1 if i + 1 < len(versions) else LAST
            if since <= LAST and last >= FIRST:
                schema = onnx.defs.get_schema(name, max_inclusive_version=since, domain="")
                text += line(schema, min(last, LAST))
    parser.parse_args().out.write_text(text)


if __name__ == "__main__":
    main()
