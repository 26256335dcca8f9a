from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import SpaceError
from planner.proxy import ProxySpec, load_proxy
from planner.space import SearchSpace, dump_space, load_space

QUICKSTART = """\
study: quickstart
seed: 0
proxy: {name: gpt, options: {context: 128, head: untied, parametrization: sp}}
data: {source: python-source}
sizes: {width: [16, 24, 32, 48], depth: 2}
lr: {log: [1.0e-3, 6.4e-2], factor: 2}
batch_tokens: {log: [256, 4096], factor: 4}
horizons: {tokens_per_run: [1M, 2M, 4M], forks: true}
stages: {finder: on, seeds: 3, lr_batch: on, confirm: off, warmup: on, held_out: {compute: 2x}}
budget: {flops: 2e13}
target: {flops: 1e15}
executor: {name: local, workers: 2}
"""

SMALLEST = "sizes: {params: [1e4, 20k]}\nbudget: {flops: 2e13}\n"

SHIPPED = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return path

    return write


def test_the_contracts_example(write):
    space = load_space(write(QUICKSTART))
    assert space.shapes[1] == {"width": 24, "depth": 2}
    assert space.lr.values() == pytest.approx([1e-3 * 2**i for i in range(7)])
    assert space.batch_tokens.values() == (256, 1024, 4096)
    assert space.horizons.tokens_per_run == (1_000_000, 2_000_000, 4_000_000)
    assert space.stages.finder
    assert not space.stages.confirm
    assert space.stages.held_out is not None
    assert space.stages.held_out.compute == 2
    assert space.budget.flops == 2e13
    assert space.target == {"flops": 1e15}


def test_defaults_fill_all_but_sizes_and_budget(write):
    space = load_space(write(SMALLEST))
    assert space.study == "x"
    assert space.shapes == ({"params": 1e4}, {"params": 20_000})
    assert (space.lr.factor, space.batch_tokens.factor) == (2, 4)
    assert space.target == {}
    assert space.executor.processes >= 1


def test_the_spelling_of_wandb_sweeps(write):
    text = SMALLEST + "lr: {distribution: log_uniform_values, min: 1e-3, max: 1e-1, factor: 10}\n"
    assert load_space(write(text)).lr.values() == pytest.approx([1e-3, 1e-2, 1e-1])


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        (
            "{width: [16, 32], depth: [2, 4]}",
            ({"width": 16, "depth": 2}, {"width": 32, "depth": 4}),
        ),
        ("{width: 16, depth: [2, 4]}", ({"width": 16, "depth": 2}, {"width": 16, "depth": 4})),
        ("[{params: 1M, kind: cnn}]", ({"params": 1_000_000, "kind": "cnn"},)),
        ("{params: 5}", ({"params": 5},)),
    ],
)
def test_sizes_broadcast_zip_or_are_listed(write, sizes, shapes):
    assert load_space(write(f"sizes: {sizes}\nbudget: {{flops: 1e12}}\n")).shapes == shapes


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("batch_token: {log: [1, 2]}", "unknown key `batch_token`; did you mean `batch_tokens`?"),
        ("lr: {log: [1e-3, 1], factr: 2}", "unknown key `factr` in `lr`; did you mean `factor`?"),
        (
            "stages: {held_out: {zzz: 1}}",
            "unknown key `zzz` in `stages.held_out`; the keys it knows",
        ),
        ("lr: {log: [1, 0.1]}", "`lr` is reversed: 1 is above 0.1; write [0.1, 1]"),
        ("lr: {log: [1, 1]}", "`lr` is empty: it begins and ends at 1"),
        ("lr: {log: []}", "`lr` needs a lowest and a highest value"),
        ("lr: {log: [0, 1]}", "`lr.low` should be greater than 0"),
        ("lr: {log: [-1, 1]}", "must be finite and not negative"),
        ("lr: {log: [1, 2], factor: 1}", "`lr.factor` should be greater than 1"),
        ("lr: {distribution: uniform, min: 1, max: 2}", "only log_uniform_values is supported"),
        ("lr: {distribution: log_uniform_values, min: 1}", "needs a lowest and a highest value"),
        ("lr: 0.1", "`lr` must be a mapping of keys, not 0.1"),
        ("seed: -1", "`seed` should be greater than or equal to 0"),
        ("study: a/b", "`study` string should match"),
        ("horizons: {tokens_per_run: [2M, 1M]}", "must rise from one to the next"),
        ("horizons: {tokens_per_run: []}", "should have at least 1 item"),
        ("horizons: {tokens_per_run: [4Q]}", "'4Q' is not a count such as 300M"),
        ("horizons: {tokens_per_run: [true]}", "must be a number"),
        ("stages: {finder: maybe}", "`stages.finder` should be a valid boolean"),
        ("stages: {held_out: {compute: 1x}}", "`stages.held_out.compute` should be greater than"),
        ("target: {usd: 3}", "`target` with usd says too little or too much"),
        ("target: {flops: 1e15, days: 3}", "with days, flops says too little or too much"),
        ("target: {gpus: 8, gpu: h100, days: 3, mfu: 40}", "`target.mfu` should be less than"),
        (
            "executor: {name: cloud}",
            "`executor.name` should be 'inline', 'local', 'ray' or 'slurm'",
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_number(write, line, says):
    path = write(SMALLEST + line + "\n")
    with pytest.raises(SpaceError) as error:
        load_space(path)
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ("{width: [1, 2], depth: [1, 2, 3]}", "lists 2 of `width` and 3 of `depth`"),
        ("{params: [1, 0]}", "has `params: 0`; it must be positive"),
        ("{params: [5, 5]}", "lists {'params': 5} twice"),
        ("{params: []}", "should have at least 1 item"),
        ("7", "must be a mapping such as {width"),
    ],
)
def test_impossible_sizes(write, sizes, says):
    with pytest.raises(SpaceError, match="line 1: `sizes`") as error:
        load_space(write(f"sizes: {sizes}\nbudget: {{flops: 1e12}}\n"))
    assert says in str(error.value)


def test_lines_are_those_of_nested_keys_and_all_problems_are_told(write):
    path = write("sizes:\n  params: [1]\nlr:\n  log: [1, 2]\n  factor: 0\nbudget: {flop: 1}\n")
    with pytest.raises(SpaceError) as error:
        load_space(path)
    assert sorted(str(error.value).splitlines()) == [
        f"{path}, line 5: `lr.factor` should be greater than 1; got 0",
        f"{path}, line 6: `budget.flops` is missing",
        f"{path}, line 6: unknown key `flop` in `budget`; did you mean `flops`?",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; `planner init`"),
        ("- 1\n", "line 1: a search space is a mapping"),
        ("a: 1\nb: 2\na: 3\n", "line 3: found duplicate key"),
        ("a: 1\nb: [1\nc: 2", "line 3: not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: not valid YAML"),
        ("study: x\n", "x.yaml: `sizes` is missing"),
    ],
)
def test_files_that_are_no_search_space(write, text, says):
    with pytest.raises(SpaceError, match=r"x\.yaml") as error:
        load_space(write(text))
    assert says in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpaceError, match=r"no\.yaml cannot be read: No such file"):
        load_space(tmp_path / "no.yaml")


def test_overrides_win_over_the_file(write):
    overrides = ["lr.factor=4", "stages.held_out=off", "budget.usd=500usd", "sizes.width=[16, 32]"]
    space = load_space(write(QUICKSTART), overrides)
    assert space.lr.factor == 4
    assert space.stages.held_out is None
    assert space.budget.usd == 500
    assert len(space.shapes) == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("lr.factor=1", "--set lr.factor=1: `lr.factor` should be greater than 1; got 1"),
        ("lr.factr=3", "--set lr.factr=3: unknown key `factr` in `lr`; did you mean `factor`?"),
        ("lr={log: [2, 1]}", "--set lr={log: [2, 1]}: `lr` is reversed"),
        ("lr.factor.x=1", "--set lr.factor.x=1: `lr.factor` holds a value, not keys"),
        ("lr.factor", "write it as --set key.path=value"),
        ("lr.factor=[1", "the value '[1' is not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(write, override, says):
    with pytest.raises(SpaceError) as error:
        load_space(write(QUICKSTART), [override])
    assert says in str(error.value)


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=6)
"""Text without control characters: YAML folds some of them."""

plain = st.recursive(
    st.booleans() | st.integers(-9, 10**12) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(words, plain, max_size=3)
grid = st.tuples(st.floats(1e-6, 1.0), st.floats(1.5, 1e4), st.floats(1.01, 16)).map(
    lambda t: {"log": [t[0], t[0] * t[1]], "factor": t[2]}
)
targets = st.sampled_from(
    [None, {"flops": 1e15}, {"gpus": 8, "gpu": "h100", "days": 14}, {"usd": 2e4, "gpu": "h100"}]
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    tokens = draw(st.sets(st.integers(1, 10**12), min_size=1, max_size=4))
    params = draw(st.sets(st.integers(1, 10**12), min_size=1, max_size=4))
    held_out = st.sampled_from([None, {"compute": 4, "sizes": 5}])
    return SearchSpace.model_validate(
        {
            "study": draw(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True)),
            "seed": draw(st.integers(0, 99)),
            "proxy": {"name": draw(words), "options": draw(options)},
            "data": draw(options),
            "sizes": [{"params": n} for n in sorted(params)],
            "lr": draw(grid),
            "batch_tokens": draw(grid),
            "horizons": {"tokens_per_run": sorted(tokens), "forks": draw(st.booleans())},
            "stages": {"finder": draw(st.booleans()), "held_out": draw(held_out)},
            "budget": {
                "flops": draw(st.floats(1, 1e30)),
                "wall": draw(st.sampled_from([None, 9.5])),
            },
            "target": draw(targets),
            "executor": {"name": "inline", "workers": 3},
        }
    )


@settings(deadline=None)
@given(spaces())
def test_a_space_survives_being_written(tmp_path_factory, space):
    path = tmp_path_factory.mktemp("spaces") / "space.yaml"
    path.write_text(dump_space(space), encoding="utf-8")
    assert load_space(path) == space


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_spaces_load(path):
    space = load_space(path)
    assert space.study == path.stem
    assert len(space.shapes) >= 3


def test_the_command_and_synthetic_spaces_name_sizes_their_proxy_can_build():
    for name in ("synthetic", "command"):
        space = load_space(next(path for path in SHIPPED if path.stem == name))
        proxy = load_proxy(ProxySpec(space.proxy.name, space.data, space.proxy.options))
        assert all(proxy.size(shape).params_matmul > 0 for shape in space.shapes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{name: local, address: auto}", "are for --executor ray"),
        ("{name: inline, gpus_per_trial: 0.5}", "are for --executor ray"),
        ("{name: ray, gpus_per_trial: 1.5}", "above 1 they are whole devices"),
    ],
)
def test_an_executor_is_asked_for_nothing_it_cannot_do(write, line, message):
    with pytest.raises(SpaceError, match=message):
        load_space(write(f"{SMALLEST}executor: {line}\n"))


def test_the_address_of_a_cluster_stays_out_of_the_study(write):
    space = load_space(write(SMALLEST + "executor: {name: ray, address: here:1}\n"))
    assert space.executor.address == "here:1"
    assert "here:1" not in dump_space(space)
