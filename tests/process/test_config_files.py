"""Configuration files: where they are, how variables are replaced, and how mistakes are shown."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.evm.settings import EvmSettings
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import (
    AnchorsFile,
    AnchorsSource,
    NamespacesSource,
    anchors_path,
    interpolate,
    load_anchors,
    load_namespaces,
    namespaces_path,
    stand_in,
)
from vaultmesh.process.settings import REPOSITORY, Settings
from vaultmesh.process.yaml_source import parse_yaml, read_yaml

SCHEMES = ("btc", "eip155", "rfc3161")
SHIPPED = REPOSITORY / "vmsh" / "config"
EVM = Target.parse("eip155:8453")
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
KEY = "0x" + "ab" * 32
ENVIRONMENT = {
    "EVM_RPC": "http://u:hush@node:8545",
    "EVM_CHAIN_ID": "8453",
    "EVM_CONTRACT": CONTRACT,
    "EVM_ANCHOR_KEY": KEY,
}


def written(folder: Path, text: str, name: str = "file.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def settings(root: Path, **environment: str) -> Settings:
    return Settings.from_environment({"VMSH_ROOT": str(root), **environment})


# --- interpolation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${EMPTY}", ""),
        ("${A:-two}", "one"),
        ("${NONE:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ('${NONE:-""}', ""),
        ("${NONE:-''}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-http://h:1/a}", "http://h:1/a"),
        ("${LOOP}", "${A}"),
        ("$A $ {A}", "$A $ {A}"),
        ("", ""),
    ],
)
def test_a_variable_is_replaced(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "one", "EMPTY": "", "LOOP": "${A}"}) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${NONE}", "variable NONE, which is not set"),
        ("${B}/${C}", "B, C"),
        ("${A", "malformed"),
        ("${}", "malformed"),
        ("${A-B}", "malformed"),
        ("${1A}", "malformed"),
    ],
)
def test_a_variable_that_cannot_be_replaced_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        interpolate(text, {"A": "secret"})


@given(st.text(max_size=30), st.text(max_size=10))
def test_no_text_makes_interpolation_fail_otherwise(text: str, value: str) -> None:
    with suppress(InvalidValue):
        interpolate(text, {"A": value})


# --- YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 12", 12),
        ("a: '12'", "12"),
        ("a: true", True),
        ("a: off", "off"),
        ("a: yes", "yes"),
        ("a: 1:30", "1:30"),
        ("a: 0x1f", "0x1f"),
        ("a: 012", "012"),
        ("a: 1.20", "1.20"),
        ("a: 2026-01-15", "2026-01-15"),
        ("a:", None),
        ("a: ~", None),
        ("a: [1, x]", [1, "x"]),
        ("a: {1: 2}", {"1": 2}),
        ("on: 1\na: 2", 2),
        (f"a: {'9' * 5_000}", "9" * 5_000),
    ],
)
def test_a_scalar_is_typed_as_it_is_meant(text: str, value: object) -> None:
    document = parse_yaml(Path("f"), text.encode()).document
    assert isinstance(document, dict)
    assert document["a"] == value
    assert type(document["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:1 has the key 'a' twice, again on line 3 - remove one"),
        ("x:\n  a: 1\n  a: 3", "f.yaml:1 x: has the key 'a' twice, again on line 3 - remove one"),
        ("a: [1", "is not YAML"),
        ("a: 1\n b: 2", "f.yaml:2 is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("a: *b", "is not YAML"),
        ("a: &b [*b]", "f.yaml:1 a.0: holds an alias"),
        ("a: !!python/object:os.x {}", "f.yaml:1 a: has a tag - remove it"),
        ("a: !secret x", "f.yaml:1 a: has a tag - remove it"),
        ("b: &b {x: 1}\na:\n  <<: *b", "f.yaml:2 a: has a merge key"),
        ("? [a]\n: 1", "has a key that is not a text"),
        ("", "f.yaml:1 is empty"),
        ("# nothing", "f.yaml:1 is empty"),
        ("a: \x01", "f.yaml:1 is not YAML"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_yaml(Path("f.yaml"), text.encode())
    (line,) = caught.value.problems
    assert expected in line
    assert "\n" not in line


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(ConfigurationError, match="f:2 is not UTF-8"):
        parse_yaml(Path("f"), b"a: 1\nb: \xff")


def test_aliases_that_multiply_the_content_are_refused() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match="multiplies"):
        parse_yaml(Path("f"), "\n".join(["l0: &l0 [1]", *levels]).encode())


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        read_yaml(tmp_path / "none.yaml")


@given(st.binary(max_size=40) | st.text("ab:-[]{}&*!'\"# \n\t|>?%@,", max_size=40).map(str.encode))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    with suppress(ConfigurationError):
        parse_yaml(Path("f"), data)


# --- places


def test_a_file_below_the_root_comes_before_the_repositorys(tmp_path: Path) -> None:
    assert namespaces_path(settings(tmp_path)) == SHIPPED / "namespaces.yaml"
    assert anchors_path(settings(tmp_path)) == SHIPPED / "anchors.yaml"
    folder = tmp_path / "vmsh" / "config"
    folder.mkdir(parents=True)
    own = written(folder, "namespaces: {}", "namespaces.yaml")
    assert namespaces_path(settings(tmp_path)) == own
    assert anchors_path(settings(tmp_path)) == SHIPPED / "anchors.yaml"


def test_a_named_file_comes_first_even_if_it_is_missing(tmp_path: Path) -> None:
    there = settings(tmp_path, VMSH_NAMESPACES="/x/n.yaml", VMSH_ANCHORS="/x/a.yaml")
    assert namespaces_path(there) == Path("/x/n.yaml")
    assert anchors_path(there) == Path("/x/a.yaml")


def test_only_a_file_that_nobody_named_or_wrote_stands_in(tmp_path: Path) -> None:
    assert stand_in(settings(tmp_path)) == SHIPPED / "namespaces.yaml"
    assert stand_in(settings(REPOSITORY)) is None
    assert stand_in(settings(tmp_path, VMSH_NAMESPACES=str(SHIPPED / "namespaces.yaml"))) is None
    folder = tmp_path / "vmsh" / "config"
    folder.mkdir(parents=True)
    written(folder, "namespaces: {}", "namespaces.yaml")
    assert stand_in(settings(tmp_path)) is None


# --- namespaces.yaml


def test_the_shipped_namespaces_are_read() -> None:
    file = load_namespaces(SHIPPED / "namespaces.yaml", {})
    assert {
        name: [str(c.target) for c in spec.cadences.values()] for name, spec in file.specs.items()
    } == {
        "dao:vaultmesh": ["eip155:8453", "btc:mainnet", "rfc3161:tsa"],
        "fin:clearing": ["eip155:1", "btc:mainnet", "rfc3161:tsa"],
    }
    assert file.specs["dao:vaultmesh"].periods["strong"] == timedelta(seconds=34 * 89)
    assert file.specs["fin:clearing"].periods["fast"] == timedelta(minutes=2)
    assert file.warnings == ()


BROKEN = """\
namespaces:
  dao:example:
    colour: red
    cadence:
      fast:
        target: eip155:1
        every: 89S
      warm: {target: "btc:regtest", every: 1d}
"""


def test_every_mistake_is_shown_with_file_line_key_and_mend(tmp_path: Path) -> None:
    path = written(tmp_path, BROKEN)
    with pytest.raises(ConfigurationError) as caught:
        load_namespaces(path, {})
    first, second, third = caught.value.problems
    assert first.startswith(f"{path}:3 namespaces.dao:example.colour: unknown key - remove it")
    assert second.startswith(f"{path}:7 namespaces.dao:example.cadence.fast.every: ")
    assert third.startswith(f"{path}:8 namespaces.dao:example.cadence.warm: is no cadence")
    assert str(caught.value).splitlines() == list(caught.value.problems)


def test_a_warning_has_its_line_too(tmp_path: Path) -> None:
    text = (
        "namespaces:\n  a:b:\n    schema_policy:\n      allow: []\n      deny: []\n"
        "    cadence: {fast: {target: 'eip155:1', every: 9s}}\n"
    )
    (warning,) = load_namespaces(written(tmp_path, text), {}).warnings
    assert ":5 namespaces.a:b.schema_policy.deny: unknown key, ignored" in warning


TEMPLATE = "namespaces: {'a:b': {cadence: {fast: {target: '${T}', every: '${E:-9s}', confirmations: '${C:-2}'}}}}"


def test_variables_are_replaced_in_namespaces_too(tmp_path: Path) -> None:
    path = written(tmp_path, TEMPLATE)
    fast = load_namespaces(path, {"T": "eip155:5"}).specs["a:b"].cadences["fast"]
    assert (str(fast.target), fast.every, fast.required_depth) == ("eip155:5", "9s", 2)


@pytest.mark.parametrize(
    "environment",
    [{"T": "hush-hush"}, {"T": "eip155:5", "E": "hush-hush"}, {"T": "eip155:5", "C": "hush-hush"}],
)
def test_a_replaced_value_is_never_shown(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_namespaces(written(tmp_path, TEMPLATE), environment)
    assert "hush" not in str(caught.value)
    assert "${" in str(caught.value)


def test_an_unset_variable_is_shown_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fast\.target: needs the environment variable T"):
        load_namespaces(written(tmp_path, TEMPLATE), {})


def test_layout_and_comments_change_no_hash(tmp_path: Path) -> None:
    shipped = SHIPPED / "namespaces.yaml"
    other = written(tmp_path, "# a comment\n" + shipped.read_text(encoding="utf-8"))
    hashes = {load_namespaces(path, {}).content_hash for path in (shipped, other)}
    assert len(hashes) == 1


# --- anchors.yaml


def test_the_shipped_anchors_need_only_the_variables_of_the_targets_in_use() -> None:
    anchors = load_anchors(SHIPPED / "anchors.yaml", ENVIRONMENT)
    read = anchors.settings(EVM, EvmSettings)
    assert read.chain_id == 8453
    assert read.endpoints[0].get_secret_value() == ENVIRONMENT["EVM_RPC"]
    assert read.confirmations == 12


def test_the_shipped_anchors_fit_every_shipped_target() -> None:
    file = load_namespaces(SHIPPED / "namespaces.yaml", {})
    targets = {one.target for spec in file.specs.values() for one in spec.cadences.values()}
    others = {"BTC_RPC": "http://u:hush@node:8332", "TSA_URL": "https://tsa.example/tsr"}
    one_chain = {"EVM_CHAIN_ID": ""}  # two chains are named: each has its reference
    anchors = load_anchors(SHIPPED / "anchors.yaml", ENVIRONMENT | others | one_chain)
    anchors.check({target: settings_model(target) for target in targets}, signing=True)
    bitcoin = Target.parse("btc:mainnet")
    assert not anchors.settings(bitcoin, settings_model(bitcoin)).disagreements(bitcoin)


def test_the_shipped_anchors_need_no_key_to_verify() -> None:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "EVM_ANCHOR_KEY"}
    anchors = load_anchors(SHIPPED / "anchors.yaml", environment)
    assert anchors.settings(EVM, EvmSettings, signing=False).key is None
    with pytest.raises(ConfigurationError, match=r"eip155\.default\.key: needs .* EVM_ANCHOR_KEY"):
        anchors.settings(EVM, EvmSettings)


def test_unset_variables_are_all_shown_at_once() -> None:
    path = SHIPPED / "anchors.yaml"
    with pytest.raises(ConfigurationError) as caught:
        load_anchors(path, {}).settings(EVM, EvmSettings)
    names = ["EVM_RPC", "EVM_CONTRACT", "EVM_ANCHOR_KEY"]
    assert [next(name for name in names if name in line) for line in caught.value.problems] == names
    assert all(line.startswith(f"{path}:") for line in caught.value.problems)


def test_a_section_without_a_model_of_its_own_is_left_alone(tmp_path: Path) -> None:
    path = written(
        tmp_path, "btc: {default: {rpcUrl: '${BTC_RPC}', anything: 1}}\neip155: {default: {}}"
    )
    assert load_anchors(path, {}).path == path


def test_problems_of_several_targets_are_shown_once_each(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"eip155:\n  default: {{rpcUrl: 'node', contract: '{CONTRACT}'}}\n  '1': {{gas: 1}}\n",
    )
    models: dict[Target, type[CommonSettings]] = {
        EVM: EvmSettings,
        Target.parse("eip155:1"): EvmSettings,
        Target.parse("eip155:5"): EvmSettings,
    }
    with pytest.raises(ConfigurationError) as caught:
        load_anchors(path, {}).check(models)
    assert len(caught.value.problems) == 2
    assert f"{path}:3 eip155.1.gas: unknown key" in str(caught.value)


def test_no_error_of_the_whole_way_holds_a_secret(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "eip155: {default: {rpcUrl: '${R}', contract: '${R}', key: '${R}', chainId: '${R}'}}",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_anchors(path, {"R": "ftp://hush"}).settings(EVM, EvmSettings)
    assert len(caught.value.problems) == 4
    assert "hush" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_a_wrong_outline_of_anchors_is_shown_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "eip155:\n  default: {}\nevm:\n  default: {}\n")
    with pytest.raises(
        ConfigurationError, match=":3 evm: unknown scheme - remove it, or use one of: btc"
    ):
        load_anchors(path, {})


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    text = f"eip155: {{default: {{rpcUrl: 'http://a', contract: '{CONTRACT}', maxLeaves: 5}}}}"
    path = written(tmp_path, text)
    source = AnchorsSource(path, {})
    version, anchors = source.current()
    assert source.current() == (version, anchors)
    written(tmp_path, text.replace("5}", "6}"))
    newer_version, newer = source.current()
    assert newer_version != version
    assert newer.settings(EVM, EvmSettings).max_leaves == 6


def test_an_anchors_file_that_was_never_right_is_an_error(tmp_path: Path) -> None:
    source = AnchorsSource(tmp_path / "file.yaml", {})
    with pytest.raises(ConfigurationError):
        source.current()
    assert str(tmp_path) in source.refused
    written(tmp_path, "eip155: {default: {}}")
    source.current()
    assert source.refused == ""


def test_an_anchors_file_that_breaks_or_vanishes_leaves_the_last_good_one_in_use(
    tmp_path: Path,
) -> None:
    def check(file: AnchorsFile) -> None:
        file.check({EVM: EvmSettings}, signing=False)

    good = "eip155: {default: {rpcUrls: ['http://127.0.0.1:1'], contract: '0x%s', maxLeaves: %s}}"
    path = written(tmp_path, good % ("11" * 20, 5))
    source = AnchorsSource(path, {}, check)
    version, _ = source.current()
    for broken in ("{", "eip155: 1", "eip155: {}", good % ("11" * 20, "many")):
        path.write_text(broken)
        assert source.current()[0] == version, broken
        assert str(path) in source.refused
    path.unlink()
    assert source.current()[0] == version
    assert source.refused
    written(tmp_path, good % ("11" * 20, 6))
    assert source.current()[1].settings(EVM, EvmSettings, signing=False).max_leaves == 6
    assert source.refused == ""


def test_a_namespaces_file_with_a_target_that_nobody_can_reach_is_refused_until_it_can(
    tmp_path: Path,
) -> None:
    unreachable = True

    def check(specs: Mapping[str, NamespaceSpec]) -> None:
        if "dao:two" in specs and unreachable:
            raise ConfigurationError(["no such target"])

    folder = tmp_path / "vmsh/config"
    folder.mkdir(parents=True)
    path = written(folder, _namespaces("dao:one"), "namespaces.yaml")
    source = NamespacesSource(settings(tmp_path), check)
    assert set(source.look()) == {"dao:one"}
    path.write_text(_namespaces("dao:one", "dao:two"))
    assert set(source.look()) == {"dao:one"}
    assert source.refused == "no such target"
    unreachable = False
    assert set(source.look()) == {"dao:one", "dao:two"}
    assert source.refused == ""


def _namespaces(*names: str) -> str:
    entries = (
        f"  '{name}': {{cadence: {{fast: {{target: 'eip155:1', every: 1h}}}}}}" for name in names
    )
    return "\n".join(["namespaces:", *entries, ""])


def test_the_names_of_namespaces_follow_the_file_and_a_broken_one_hides_none(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "vmsh/config"
    folder.mkdir(parents=True)
    path = written(folder, _namespaces("dao:one"), "namespaces.yaml")
    source = NamespacesSource(settings(tmp_path))
    assert set(source.names()) == {"dao:one"}
    path.write_text(_namespaces("dao:one", "dao:two"))
    assert set(source.names()) == {"dao:one", "dao:two"}
    for broken in ("namespaces: nonsense", "{", _namespaces("dao:one").replace("1h", "soon")):
        path.write_text(broken)
        assert set(source.names()) == {"dao:one", "dao:two"}
    path.unlink()
    assert set(source.names()) == {"dao:one", "dao:two"}  # not those of the repository's own file
    path.write_text(_namespaces("dao:three"))
    assert set(source.names()) == {"dao:three"}
