"""Every kind of mistake in a network's YAML: the line, the field and the words of what is reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from network_text import network_file, problems

from paleo_opt.errors import SpecError
from paleo_opt.network.load import load_network

Expected = list[tuple[int, str, str]]

CONV = "{type: Convolution, outputs: 8, kernel: 3}"

# Layers of a network whose input is 224x224x3, the first on line 4; of each problem: line, field, words of it.
LAYERS: dict[str, tuple[str, Expected]] = {
    "unknown type": (
        f"a: {{type: Convolutoin, outputs: 8}}\nb: {CONV}",
        [(4, "layers.a.type", "is 'Convolutoin'; did you mean 'Convolution'?")],
    ),
    "no type": ("a: {outputs: 8}", [(4, "layers.a.type", "is missing")]),
    "the input as a type": ("a: {type: Input}", [(4, "layers.a.type", "is 'Input'")]),
    "unknown field": (
        "a: {type: Convolution, outputs: 8, kernal: 3}",
        [(4, "layers.a.kernal", "is not a known field; did you mean 'kernel'?")],
    ),
    "a field of another type": (
        "a: {type: Dropout, kernel: 3}\nb: {type: Softmax, outputs: 3}",
        [
            (4, "layers.a.kernel", "has no meaning for a layer of type Dropout; its fields: keep_probability"),
            (5, "layers.b.outputs", "has no meaning for a layer of type Softmax; it has no fields of its own"),
        ],
    ),
    "a field is missing": (
        "a: {type: Convolution}\nb: {type: Embedding, outputs: 3, vocabulary: }\nc: {type: Pooling}",
        [
            (4, "layers.a.outputs", "is missing: a layer of type Convolution needs it"),
            (4, "layers.a.kernel", "is missing"),
            (5, "layers.b.vocabulary", "is empty: a layer of type Embedding needs it"),
            (6, "layers.c.kernel", "is missing"),
        ],
    ),
    "wrong types": (
        "a: {type: Convolution, outputs: many, kernel: {h: 3}, bias: maybe}\nb: 3\nc: [1]\nd:",
        [
            (4, "layers.a.outputs", "is 'many'; expected a number"),
            (4, "layers.a.kernel", "is neither a whole number nor a list of two, [height, width]"),
            (4, "layers.a.bias", "is 'maybe'; expected true or false"),
            (5, "layers.b", "is '3'; expected a mapping"),
            (6, "layers.c", "is a list; expected a mapping"),
            (7, "layers.d", "is empty; expected a mapping"),
        ],
    ),
    "wrong tags": (
        "a: {type: Convolution, outputs: 8, kernel: 3, bias: !!bool perhaps}",
        [(4, "layers.a.bias", "is 'perhaps'; expected true or false")],
    ),
    "negative, zero, fractions": (
        "a: {type: Convolution, outputs: 0, kernel: [3, -1], strides: 0, padding: -1, groups: 1.5}",
        [
            (4, "layers.a.outputs", "is 0; expected from 1"),
            (4, "layers.a.kernel", "is -1; expected from 1"),
            (4, "layers.a.strides", "is 0; expected from 1"),
            (4, "layers.a.padding", "is -1; expected from 0"),
            (4, "layers.a.groups", "is 1.5; expected a whole number"),
        ],
    ),
    "beyond a thousand million": (
        "a: {type: InnerProduct, outputs: 1e10}\nb: {type: InnerProduct, outputs: .inf, parents: [data]}",
        [
            (4, "layers.a.outputs", "is 1e10; expected from 1 to 1e+09"),
            (5, "layers.b.outputs", "is '.inf'; expected a number"),
        ],
    ),
    "absurd together": (
        "a: {type: InnerProduct, outputs: 1e9}\nb: {type: UpSampling, factor: 1e6, parents: [data]}\n"
        "c: {type: Convolution, outputs: 1.1e7, kernel: 550, padding: SAME, parents: [data]}",
        [
            (4, "layers.a", "has 1.51e+14 weights"),
            (5, "layers.b", "writes 1.51e+17 elements a sample"),
            (6, "layers.c", "FLOPs a sample"),
        ],
    ),
    "wrong words": (
        "a: {type: Pooling, kernel: 2, pool: maximum, padding: same, split: both}\n"
        "b: {type: Dropout, keep_probability: 0}\nc: {type: Dropout, keep_probability: 1.5}",
        [
            (4, "layers.a.pool", "is 'maximum'; did you mean 'max'?"),
            (4, "layers.a.padding", "is 'same'; expected SAME, VALID, a whole number or [height, width]"),
            (4, "layers.a.split", "is 'both'; valid: data, model"),
            (5, "layers.b.keep_probability", "is 0; expected above 0"),
            (6, "layers.c.keep_probability", "is 1.5; expected from 0 to 1"),
        ],
    ),
    "duplicate names": (f"a: {CONV}\na: {CONV}", [(5, "layers.a", "is given twice (first on line 4)")]),
    "duplicate fields": (
        "a:\n  type: Dropout\n  type: Softmax",
        [(6, "layers.a.type", "is given twice (first on line 5)")],
    ),
    "a name with @ or $": (
        f"a@b: {CONV}\n$c: {CONV}",
        [(4, "layers.a@b", "a layer's name with '@' or '$'"), (5, "layers.$c", "a layer's name with '@' or '$'")],
    ),
    "a layer called data": (f"data: {CONV}", [(4, "layers.data", "is the name of the network's input")]),
    "no name": (f"'': {CONV}\n? [a, b]\n: {CONV}", [(4, "layers", "without a name"), (5, "layers", "not a word")]),
    "a long name": (f"{'x' * 300}: {CONV}", [(4, f"layers.{'x' * 293}...", "is a name of 300 characters")]),
    "missing parent": (
        f"conv1: {CONV}\nb: {{type: Dropout, parents: [conv2]}}\nc: {{type: LSTM, outputs: 3}}",
        [(5, "layers.b.parents", "'conv2' is no layer of this network; did you mean 'conv1'?")],
    ),
    "@input outside of a block": (
        "a: {type: Dropout, parents: ['@input']}",
        [(4, "layers.a.parents", "the network's input is 'data'")],
    ),
    "parents that are no list": (
        "a: {type: Dropout, parents: data}\nb: {type: Dropout, parents: []}",
        [(4, "layers.a.parents", "is 'data'; expected a list"), (5, "layers.b.parents", "is empty")],
    ),
    "too many or few parents": (
        "a: {type: Dropout}\nb: {type: Dropout, parents: [a, data]}\nc: {type: Elementwise, parents: [a]}",
        [
            (5, "layers.b.parents", "has 2 parents; expected one"),
            (6, "layers.c.parents", "has one parent; expected at least two"),
        ],
    ),
    "a cycle": (
        "a: {type: Elementwise, parents: [data, c]}\nb: {type: Dropout}\nc: {type: Dropout}\n"
        "d: {type: LSTM, outputs: 1}",
        [(4, "layers.a.parents", "is in a cycle: a -> b -> c -> a")],
    ),
    "two cycles": (
        "a: {type: Dropout, parents: [a]}\nb: {type: Dropout, parents: [c]}\nc: {type: Dropout}",
        [(4, "layers.a.parents", "a -> a"), (5, "layers.b.parents", "b -> c -> b")],
    ),
    "shapes that differ": (
        f"a: {CONV}\nb: {{type: Elementwise, parents: [a, data]}}\nc: {{type: Concatenate, parents: [data, a]}}",
        [
            (5, "layers.b", "combines inputs of different shapes: a is 222x222x8, data is 224x224x3"),
            (6, "layers.c", "differ before their last axis: data is 224x224x3, a is 222x222x8"),
        ],
    ),
    "a window larger than the input": (
        "a: {type: Convolution, outputs: 8, kernel: 225}\n"
        "b: {type: Pooling, kernel: 300, padding: 10, parents: [data]}",
        [
            (4, "layers.a.kernel", "is 225x225, larger than its input, 224x224"),
            (5, "layers.b.kernel", "is 300x300, larger than its padded input, 244x244"),
        ],
    ),
    "groups that do not divide": (
        "a: {type: Convolution, outputs: 8, kernel: 3, groups: 2}\n"
        "b: {type: Convolution, outputs: 8, kernel: 3, groups: 3, parents: [data]}",
        [
            (4, "layers.a.groups", "is 2, which does not divide the 3 input channels"),
            (5, "layers.b.groups", "is 3, which does not divide the 8 outputs"),
        ],
    ),
    "pooling that contradicts itself": (
        "a: {type: Pooling, kernel: 3, global: true}\nb: {type: Pooling, kernel: 2, padding: SAME, ceil: true}\n"
        "c: {type: Pooling, kernel: 2, padding: 2, parents: [data]}",
        [
            (4, "layers.a.kernel", "has no meaning where global is true"),
            (6, "layers.c.padding", "is 2x2, so that a window of 2x2 sees nothing else"),
        ],
    ),
    "ceil with SAME": (
        "b: {type: Pooling, kernel: 2, padding: SAME, ceil: true}",
        [(4, "layers.b.ceil", "has no meaning with padding SAME")],
    ),
    "a deconvolution that cannot be": (
        "a: {type: Deconvolution, outputs: 3, kernel: 4, strides: 2, padding: SAME, output_shape: [450, 448]}\n"
        "b: {type: Deconvolution, outputs: 3, kernel: 1, padding: 200, parents: [data]}",
        [
            (4, "layers.a.output_shape", "is 450x448, from which a convolution would make 225x224"),
            (5, "layers.b.padding", "leaves an output of -176x-176"),
        ],
    ),
    "shapes of the wrong rank": (
        "a: {type: LSTM, outputs: 3}\nb: {type: Embedding, outputs: 3, vocabulary: 5, parents: [data]}\n"
        f"c: {{type: Flatten, parents: [data]}}\nd: {CONV}",
        [
            (4, "layers.a", "takes a sequence (steps, features); data is 224x224x3"),
            (5, "layers.b", "takes token ids (steps); data is 224x224x3"),
            (7, "layers.d", "takes an image (height, width, channels); c is 150528"),
        ],
    ),
    "reshapes that do not go": (
        "a: {type: Reshape, shape: [-1, -1]}\nb: {type: Reshape, shape: [7, 11], parents: [data]}\n"
        "c: {type: Reshape, shape: [0, 2], parents: [data]}\nd: {type: Reshape, shape: [-1, 100], parents: [data]}",
        [
            (4, "layers.a.shape", "at most one is -1"),
            (5, "layers.b.shape", "is 7x11, into which data, 224x224x3, does not go"),
            (6, "layers.c.shape", "is 0; expected a size, or -1"),
            (7, "layers.d.shape", "is -1x100, into which data, 224x224x3, does not go"),
        ],
    ),
    "joining along another axis": (
        "a: {type: Concatenate, parents: [data, data], axis: 1}",
        [(4, "layers.a.axis", "is not -1")],
    ),
    "a block that is empty": (
        "x: {type: Block}\ny: {type: Block, layers: {}}\nz: {type: Dropout}",
        [(4, "layers.x.layers", "is missing: a block has its layers"), (5, "layers.y.layers", "or has none")],
    ),
    "an endpoint that is not in the block": (
        "x: {type: Block, endpoint: joint, layers: {join: {type: Dropout}}}\ny: {type: LSTM, outputs: 3}",
        [(4, "layers.x.endpoint", "is 'joint', no layer of the block; did you mean 'join'?")],
    ),
    "an outer name in a block": (
        f"conv1: {CONV}\nx:\n  type: Block\n  layers:\n    a: {{type: Dropout, parents: [conv1]}}",
        [(8, "layers.x/a.parents", "'conv1' is no layer of this block; valid: @input, a")],
    ),
    "no such repeat": (
        "x: {type: Block, repeat: 0, layers: {a: {type: Dropout}}}",
        [(4, "layers.x.repeat", "is 0; expected from 1")],
    ),
    "copies named as another layer": (
        "x_2: {type: Dropout}\nx: {type: Block, repeat: 2, layers: {a: {type: Dropout}}}",
        [(5, "layers.x.repeat", "makes a second layer 'x_2' (first on line 4)")],
    ),
    "a layer named as one in a block": (
        "x: {type: Block, layers: {a: {type: Dropout}}}\nx/a: {type: Dropout}",
        [(5, "layers.x/a", "names a second layer 'x/a' (first on line 4)")],
    ),
    "a mistake in every copy": (
        "x: {type: Block, repeat: 9, layers: {a: {type: Dropout, parents: [b]}, c: {type: Dropot}}}",
        [
            (4, "layers.x_1/c.type", "is 'Dropot'; did you mean 'Dropout'?"),
            (4, "layers.x_1/a.parents", "'b' is no layer of this block"),
        ],
    ),
    "a message of several lines": (
        '"a\\nb\\e[31m": {type: "Drop\\nout"}',
        [(4, "layers.a\\nb\\x1b[31m.type", "is 'Drop\\nout'; did you mean 'Dropout'?")],
    ),
    "a very long value": (f"a: {{type: {'x' * 10_000}}}", [(4, "layers.a.type", f"is '{'x' * 60}...'")]),
    "too many layers": (
        "x: {type: Block, repeat: 20000, layers: {a: {type: Dropout}}}",
        [(4, "layers", "more than 20,000 layers")],
    ),
}

TEMPLATE = """
input: [14, 14, 8]
blocks:
  pair:
    parameters: [width]
    endpoint: two
    layers:
      one: {type: Convolution, outputs: $width, kernel: 1}
      two: {type: Convolution, outputs: $width, kernel: 1}
"""

# What stands before the layers (from line 2), the layers, and the problems.
FILES: dict[str, tuple[str, str, Expected]] = {
    "no such template": (
        TEMPLATE,
        "x: {type: Block, template: piar, arguments: {width: 8}}\ny: {type: LSTM, outputs: 3}",
        [(11, "layers.x.template", "is 'piar', no block of this file; did you mean 'pair'?")],
    ),
    "an argument is missing": (
        TEMPLATE,
        "x: {type: Block, template: pair}\ny: {type: Block, template: pair, arguments: {widht: 8}}",
        [
            (11, "layers.x.arguments", "lacks 'width', a parameter of block 'pair'"),
            (12, "layers.y.arguments.widht", "is no parameter of block 'pair'; did you mean 'width'?"),
            (12, "layers.y.arguments", "lacks 'width'"),
        ],
    ),
    "a wrong argument": (
        TEMPLATE,
        "x: {type: Block, template: pair, arguments: {width: -8}, repeat: 5}",
        [
            (8, "layers.x_1/one.outputs", "is -8; expected from 1"),
            (9, "layers.x_1/two.outputs", "is -8; expected from 1"),
        ],
    ),
    "an unknown parameter in a template not used": (
        TEMPLATE.replace("outputs: $width, kernel: 1}\n      two", "outputs: $wdith, kernel: 1}\n      two"),
        "x: {type: Dropout}",
        [(8, "blocks.pair.layers", "uses $wdith, which is no parameter; did you mean 'width'?")],
    ),
    "a template's endpoint": (
        TEMPLATE.replace("endpoint: two", "endpoint: too"),
        "x: {type: Block, template: pair, arguments: {width: 8}}",
        [(6, "blocks.pair.endpoint", "is 'too', no layer of the block; did you mean 'two'?")],
    ),
    "a mistake in a template, once": (
        TEMPLATE.replace("kernel: 1}\n      two", "kernal: 1}\n      two"),
        "x: {type: Block, template: pair, arguments: {width: 8}, repeat: 3}\n"
        "y: {type: Block, template: pair, arguments: {width: 9}}",
        [(8, "layers.x_1/one.kernal", "is not a known field; did you mean 'kernel'?")],
    ),
    "layers beside a template": (
        TEMPLATE,
        "x: {type: Block, template: pair, arguments: {width: 8}, layers: {a: {type: Dropout}}, repaet: 2}",
        [
            (11, "layers.x.layers", "has no meaning beside template"),
            (11, "layers.x.repaet", "is not a known field; did you mean 'repeat'?"),
        ],
    ),
    "templates that contain each other": (
        """
        input: [8]
        blocks:
          a: {layers: {x: {type: Block, template: b}}}
          b: {layers: {x: {type: Block, template: a}}}
        """,
        "x: {type: Block, template: a}",
        [(5, "layers.x/x/x.template", "leads back to itself: a -> b -> a")],
    ),
    "a template without layers": (
        "input: [8]\nblocks: {a: {parameters: [x]}, b: {layers: {}}}",
        "x: {type: Block, template: a, arguments: {x: 1}}",
        [(3, "blocks.a.layers", "is missing"), (3, "blocks.b.layers", "has no layers")],
    ),
    "templates that multiply": (
        "input: [8]\nblocks:\n"
        + "".join(
            f"  t{i}: {{layers: {{a: {{type: Block, template: t{i + 1}}}, b: {{type: Block, template: t{i + 1}}}}}}}\n"
            for i in range(30)
        )
        + "  t30: {layers: {a: {type: Dropout}}}",
        "x: {type: Block, template: t0}",
        [(33, "layers", "more than 20,000 layers")],
    ),
    "blocks too deep": (
        "input: [8]\nblocks:\n"
        + "".join(f"  t{i}: {{layers: {{a: {{type: Block, template: t{i + 1}}}}}}}\n" for i in range(60))
        + "  t60: {layers: {a: {type: Dropout}}}",
        "x: {type: Block, template: t0}",
        [(43, "layers.x" + "/a" * 40, "blocks nested more than 40 deep")],
    ),
    "wrong defaults": (
        "input: [8, 8, 3]\ndefaults:\n  Convolutio: {kernel: 3}\n  Pooling: {kernel: 0}\n"
        "  Dropout: {outputs: 3}\n  Block: {}",
        "x: {type: Dropout}\ny: {type: Pooling, kernel: 2}",
        [
            (4, "defaults.Convolutio", "is no type of layer; did you mean 'Convolution'?"),
            (5, "defaults.Pooling.kernel", "is 0; expected from 1"),
            (6, "defaults.Dropout.outputs", "has no meaning for a layer of type Dropout"),
            (7, "defaults.Block", "is no type of layer"),
        ],
    ),
    "no input": ("description: x", f"a: {CONV}", [(1, "input", "is missing")]),
    "a wrong input": ("input: [224, 0, 3]", f"a: {CONV}", [(2, "input", "is 0; expected from 1")]),
    "an input of four": ("input: [1, 2, 3, 4]", f"a: {CONV}", [(2, "input", "has 4 sizes")]),
    "an input that is a word": ("input: big", f"a: {CONV}", [(2, "input", "is 'big'; expected a list")]),
    "an unknown field": (
        "input: [8, 8, 3]\ndescripton: x",
        f"a: {CONV}",
        [(3, "descripton", "is not a known field; did you mean 'description'?")],
    ),
    "an incomplete job": (
        "input: [8, 8, 3]\njob:\n  dataset: x\n  optimizer: adamm\n  epochs: -1\n  max_global_batch: 0\n  sources: []",
        f"a: {CONV}",
        [
            (3, "job.target", "is missing"),
            (3, "job.dataset_samples", "is missing"),
            (5, "job.optimizer", "is 'adamm'; did you mean 'adam'?"),
            (6, "job.epochs", "is -1; expected from"),
            (7, "job.max_global_batch", "is 0; expected from 1"),
            (8, "job.sources", "expected at least one"),
        ],
    ),
    "a job without its length": (
        "input: [8, 8, 3]\n"
        "job: {dataset: x, dataset_samples: 1, optimizer: sgd, max_global_batch: 1, target: t, sources: [s]}",
        f"a: {CONV}",
        [(3, "job", "points; none is given")],
    ),
    "a job with two lengths": (
        "input: [8, 8, 3]\n"
        "job: {dataset: x, dataset_samples: 1, optimizer: sgd, max_global_batch: 1, target: t, sources: [s],\n"
        "      epochs: 1, samples_to_target: 1}",
        f"a: {CONV}",
        [(3, "job", "epochs and samples_to_target are given")],
    ),
    "a job that is nothing": ("input: [8, 8, 3]\njob:", f"a: {CONV}", [(3, "job", "is empty; expected a mapping")]),
}

# Whole files, as bytes.
WHOLE: dict[str, tuple[bytes, Expected]] = {
    "empty": (b"", [(0, "", "the file is empty")]),
    "only a comment": (b"# nothing\n", [(0, "", "the file is empty")]),
    "a list": (b"- a\n", [(1, "", "is a list; expected a mapping")]),
    "malformed": (b"name: net\nlayers: {a: [}\n", [(2, "", "not valid YAML")]),
    "a tab": (b"name: net\nlayers:\n\ta: 1\n", [(3, "", "not valid YAML")]),
    "two documents": (b"name: net\n---\nname: net\n", [(2, "", "another document")]),
    "a control character": (b"name: \x00\n", [(0, "", "not valid YAML")]),
    "not UTF-8": ("name: é".encode("latin-1"), [(0, "", "is not UTF-8 text")]),
    "UTF-16": ("name: net".encode("utf-16"), [(0, "", "is not UTF-8 text")]),
    "huge": (b"#" * 2_000_001, [(0, "", "larger than 2,000,000 bytes")]),
    "deep": (b"name: " + b"[" * 100_000, [(1, "", "nested more than 40 deep")]),
    "deep and closed": (b"name: " + b"[" * 600 + b"]" * 600, [(1, "", "nested more than 40 deep")]),
    "deep in mappings": (b"{a: " * 100_000, [(1, "", "nested more than 40 deep")]),
    "deep by indents": (
        "".join(f"{' ' * i}a:\n" for i in range(41)).encode(),
        [(41, "", "nested more than 40 deep")],
    ),
    "deep by dashes": (b"- " * 50_000 + b"a", [(1, "", "nested more than 40 deep")]),
    "an alias bomb": (
        b"a: &a [x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
        [(7, "", "more than 200,000 values")],
    ),
    "too many aliases": (b"a: &a x\nb: [" + b"*a, " * 1_001 + b"]\n", [(2, "", "more than 1000 aliases")]),
    "an alias of itself": (b"a: &a {b: [*a]}\n", [(1, "", "an alias contains itself")]),
    "another name": (
        b"name: ten\ninput: [8]\nlayers: {a: {type: Dropout}}\n",
        [(1, "name", "is 'ten'; expected 'net', as the file is called")],
    ),
    "no layers": (b"name: net\ninput: [8]\n", [(1, "layers", "is missing")]),
    "empty layers": (b"name: net\ninput: [8]\nlayers: {}\n", [(3, "layers", "has no layers")]),
    "null layers": (b"name: net\ninput: [8]\nlayers:\n", [(3, "layers", "is empty; expected a mapping")]),
    "a list of layers": (b"name: net\ninput: [8]\nlayers:\n- a\n", [(3, "layers", "is a list; expected a mapping")]),
}


def check(path: Path, expected: Expected) -> None:
    found = problems(path)
    assert [(problem.line, problem.field) for problem in found] == [(line, field) for line, field, _ in expected]
    for problem, (_, _, part) in zip(found, expected, strict=True):
        assert part in problem.message
        assert problem.file == str(path)


@pytest.mark.parametrize("case", LAYERS)
def test_wrong_layers(tmp_path: Path, case: str) -> None:
    layers, expected = LAYERS[case]
    check(network_file(tmp_path, layers), expected)


@pytest.mark.parametrize("case", FILES)
def test_wrong_templates_defaults_input_and_job(tmp_path: Path, case: str) -> None:
    before, layers, expected = FILES[case]
    check(network_file(tmp_path, layers, before), expected)


@pytest.mark.parametrize("case", WHOLE)
def test_wrong_files(tmp_path: Path, case: str) -> None:
    content, expected = WHOLE[case]
    path = tmp_path / "net.yaml"
    path.write_bytes(content)
    check(path, expected)


def test_a_mistake_has_no_follow_ups(tmp_path: Path) -> None:
    path = network_file(
        tmp_path,
        """
        bad: {type: Convolution, outputs: 0, kernel: 3}
        next: {type: LSTM, outputs: 3}
        join: {type: Elementwise, parents: [next, data]}
        other: {type: Convolution, parents: [data], outputs: 8, kernel: 3, groups: 2}
        end: {type: Elementwise, parents: [other, data]}
        """,
    )
    check(path, [(4, "layers.bad.outputs", "is 0"), (7, "layers.other.groups", "does not divide")])


@pytest.mark.parametrize(
    ("field", "value", "where", "message"),
    [
        ("layers.a.kernel", "0", "layers.a.kernel", "is 0; expected from 1"),
        ("layers.a.kernal", "3", "layers.a.kernal", "is not a known field; did you mean 'kernel'?"),
        ("layers.b", "{type: Dropot}", "layers.b.type", "is 'Dropot'; did you mean 'Dropout'?"),
        ("foo.bar", "1", "foo", "is not a known field"),
        ("input", "[3, 4", "", "not valid YAML"),
        ("input", "", "input", "is empty"),
        ("input[0]", "-1", "input", "is -1; expected from 1"),
        ("input[7]", "1", "", "there is no element [7]: it is a list of 3"),
        ("input[x]", "1", "", "expected a number, such as [0]"),
        ("input.x", "1", "", "there is no field 'x' to set"),
        ("layers[0]", "1", "", "there is no element [0]: it is not a list"),
        ("layers.a.type.x", "1", "", "there is no field 'x' to set"),
        ("", "1", "", "names no field"),
        ("name", "[" * 100_000, "", "nested more than 40 deep"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, field: str, value: str, where: str, message: str) -> None:
    (problem,) = problems(network_file(tmp_path, f"a: {CONV}"), {field: value})
    shown = value if len(value) <= 60 else f"{value[:60]}..."
    assert (problem.file, problem.line, problem.field) == (f"--set {field}={shown}", 0, where)
    assert message in problem.message


def test_a_wrong_argument_from_an_override_is_named(tmp_path: Path) -> None:
    path = network_file(tmp_path, "x: {type: Block, template: pair, arguments: {width: 8}}", TEMPLATE)
    found = problems(path, {"layers.x.arguments.width": "-1"})
    assert {(problem.file, problem.line) for problem in found} == {("--set layers.x.arguments.width=-1", 0)}
    assert [problem.field for problem in found] == ["layers.x/one.outputs", "layers.x/two.outputs"]


def test_files_are_named_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network_file(tmp_path, "a: {type: Drop}")
    monkeypatch.chdir(tmp_path)
    for given in ("net.yaml", "./net.yaml", f"../{tmp_path.name}/net.yaml"):
        with pytest.raises(SpecError) as caught:
            load_network(given)
        assert str(caught.value).startswith(f"{given}:4: layers.a.type: is 'Drop'")


@pytest.mark.parametrize("given", ["{folder}", "{folder}/folder.yaml", "{folder}/none.yaml", "vgg61", ""])
def test_what_is_not_a_file(tmp_path: Path, given: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SpecError, match=r"no such file|no net is called") as caught:
        load_network(given.format(folder=tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_full_of_mistakes_is_read_in_seconds(tmp_path: Path) -> None:
    layers = "\n".join(f"l{i}: {{type: Dropout, parents: [m{i}]}}" for i in range(5_000))
    start = time.perf_counter()
    assert len(problems(network_file(tmp_path, layers))) == 5_000
    assert time.perf_counter() - start < 10
